"""Every path, lock and JSON record that stackup keeps on disk. Standard library only; decides nothing about stacks.

    <base>/stacks/<stack>/   lock  stack.json  desired.json  launcher.json  launcher.sock  control.sock
                             supervisor.log  events.jsonl  logs/<container>.log[.1...]
    <base>/volumes/<name>/   volume.json  data/
    <base>/ranges.json       the id range of each stack (root)
    <base>/names/            which stack a set of files names, so that `ps` parses no YAML

Reading changes nothing. What a full disk or a kill leaves behind is the old record, never a part of the new one.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from stackup.errors import StateError
from stackup.files import (
    Lock,
    Record,
    append_line,
    bind_socket,
    connect_socket,
    host_errors,
    lock_holder,
    read_record,
    remove_tree,
    take_lock,
    write_record,
)
from stackup.idranges import choose_range, subordinate_ranges
from stackup.process import ProcessId, process_id

__all__ = [
    "FileStamp",
    "Lock",
    "ProcessId",
    "Record",
    "StackDir",
    "StateDir",
    "VolumeDir",
    "bind_socket",
    "connect_socket",
    "default_base",
    "file_stamp",
    "process_id",
]

FileStamp = tuple[str, int | None, int | None, int | None]
"""(path, mtime in ns, size in bytes, inode); the numbers are None where there is no such file."""

EVENTS_LIMIT = 8 * 1024 * 1024
"""Bytes of events.jsonl before it becomes events.jsonl.1, which replaces an older one."""

IDENTITIES_LIMIT = 1000
"""Remembered identities before the oldest are forgotten."""

_STACK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,199}", re.ASCII)
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}", re.ASCII)
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,199}", re.ASCII)


def default_base(environment: Mapping[str, str] = os.environ) -> str:
    """$STACKUP_STATE; /var/lib/stackup for root; else below $XDG_STATE_HOME (XDG base directory specification)."""
    chosen = environment.get("STACKUP_STATE")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/var/lib/stackup"
    home = environment.get("XDG_STATE_HOME", "")
    if not home.startswith("/"):  # the specification: a relative path is invalid and to be ignored
        home = os.path.expanduser("~/.local/state")
    if not home.startswith("/"):
        raise StateError("there is no home directory for stackup's state", hint="set STACKUP_STATE to a directory")
    return os.path.join(home, "stackup")


class StateDir:
    """The state of one user. `base` is None for the default place.

    The base is verified before its first use: a directory, ours, and writable by nobody else. Otherwise somebody could
    plant the sockets and records that we trust; every method raises StateError then.
    """

    def __init__(self, base: str | None = None) -> None:
        self.path = os.path.abspath(base) if base is not None else default_base()
        self._verified = False

    def create(self) -> None:
        """Make the base directory. Raises HostError, StateError."""
        if not self._verify():
            with host_errors("create", self.path):
                os.makedirs(os.path.dirname(self.path), exist_ok=True)
                _make_directory(self.path)
            self._verify()

    def stack(self, name: str) -> StackDir:
        """The directory of a stack, which need not exist. Raises StateError for a name that is no stack's name."""
        if not _STACK_NAME.fullmatch(name):
            hint = "use at most 200 lower-case letters, digits, - and _, beginning with a letter or digit"
            raise StateError(f"not a stack name: {name!r}", hint)
        self._verify()
        return StackDir(self, name)

    def stacks(self) -> list[str]:
        """Names of the stacks that have a directory, sorted."""
        return [name for name in self._list("stacks") if _STACK_NAME.fullmatch(name)]

    def finish_removals(self) -> None:
        """Remove what killed commands had begun to remove. Safe at any time. Raises HostError, StateError."""
        if self._verify():
            for directory in ("stacks", "volumes"):
                remove_tree(os.path.join(self.path, directory), None)

    def volume(self, name: str) -> VolumeDir:
        """The directory of a volume, which need not exist. Raises StateError for a name that is no volume's name."""
        if not _VOLUME_NAME.fullmatch(name):
            hint = "use at most 200 letters, digits, -, _ and ., beginning with a letter or digit"
            raise StateError(f"not a volume name: {name!r}", hint)
        self._verify()
        return VolumeDir(self, name)

    def volumes(self) -> list[str]:
        """Real names of the volumes, sorted."""
        return [name for name in self._list("volumes") if _VOLUME_NAME.fullmatch(name)]

    def allocate_range(self, stack: str) -> int:
        """The first id of the 65536 that belong to `stack` (stackup/idranges.py), the same in every call.

        Raises StateError when none is left, HostError.
        """
        self.stack(stack)
        self.create()
        path = os.path.join(self.path, "ranges.json")
        with host_errors("lock", path), take_lock(os.path.join(self.path, "ranges.lock")):
            ranges: dict[str, int] = read_record(path) or {}
            if stack not in ranges:
                idle = [name for name in ranges if not self._keeps_ids(name)]
                first, forgotten = choose_range(ranges, idle, subordinate_ranges())
                if forgotten is not None:
                    del ranges[forgotten]
                ranges[stack] = first
                write_record(path, ranges, durable=True)
            return ranges[stack]

    def remember_identity(self, key: str, files: Sequence[FileStamp], name: str) -> None:
        """Remember that what `key` describes, with `files` as they were before they were read, is stack `name`."""
        self.create()
        path = self._identity_path(key)
        directory = os.path.dirname(path)
        with host_errors("create", directory):
            _make_directory(directory)
        if len(entries := self._list("names")) >= IDENTITIES_LIMIT:
            self._forget_oldest(directory, entries)
        write_record(path, {"key": key, "files": [list(stamp) for stamp in files], "name": name})

    def recall_identity(self, key: str) -> str | None:
        """The remembered stack name, if every file still is what it was (or still is missing)."""
        if not self._verify():
            return None
        record = read_record(self._identity_path(key))
        if record is None or record["key"] != key:
            return None
        if any(file_stamp(stamp[0]) != tuple(stamp) for stamp in record["files"]):
            return None
        name: str = record["name"]
        return name

    def _keeps_ids(self, stack: str) -> bool:
        """Whether files that belong to ids of the stack's range may exist."""
        if os.path.lexists(self.stack(stack).path):
            return True
        for name in self.volumes():
            if name.startswith(stack + "_") or (self.volume(name).read() or {}).get("stack") == stack:
                return True
        return False

    def _identity_path(self, key: str) -> str:
        import hashlib  # loads OpenSSL: 3 ms that most commands need not pay

        return os.path.join(self.path, "names", hashlib.sha256(key.encode()).hexdigest()[:32] + ".json")

    @staticmethod
    def _forget_oldest(directory: str, entries: Sequence[str]) -> None:
        aged = []
        for entry in entries:
            with suppress(FileNotFoundError):
                path = os.path.join(directory, entry)
                aged.append((os.stat(path).st_mtime_ns, path))
        for _, path in sorted(aged)[: len(aged) // 2]:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def _list(self, directory: str) -> list[str]:
        path = os.path.join(self.path, directory)
        if not self._verify():
            return []
        with host_errors("list", path):
            try:
                return sorted(os.listdir(path))
            except FileNotFoundError:
                return []

    def _verify(self) -> bool:
        """Whether the base exists; StateError if it must not be trusted."""
        if self._verified:
            return True
        hint = "remove it, or set STACKUP_STATE to a directory of your own"
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            reason = "not a directory" if error.errno in (errno.ELOOP, errno.ENOTDIR) else error.strerror
            raise StateError(f"cannot use the state directory {self.path}: {reason}", hint) from error
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        if found.st_uid != os.geteuid():
            raise StateError(f"cannot use the state directory {self.path}: it belongs to uid {found.st_uid}", hint)
        if found.st_mode & 0o022:
            reason = f"others may write to it (mode {stat.S_IMODE(found.st_mode):o})"
            raise StateError(f"cannot use the state directory {self.path}: {reason}", f"chmod 700 {self.path}")
        self._verified = True
        return True


class StackDir:
    """The directory of one stack. One process changes it at a time: the holder of `acquire_lock`."""

    def __init__(self, state: StateDir, name: str) -> None:
        self.state, self.name = state, name
        self.path = os.path.join(state.path, "stacks", name)
        self.lock_file = os.path.join(self.path, "lock")
        self.launcher_socket = os.path.join(self.path, "launcher.sock")
        self.control_socket = os.path.join(self.path, "control.sock")
        self.supervisor_log = os.path.join(self.path, "supervisor.log")
        self.events_file = os.path.join(self.path, "events.jsonl")
        self.logs = os.path.join(self.path, "logs")

    def exists(self) -> bool:
        return os.path.isdir(self.path)

    def create(self) -> None:
        """Make the directory and `logs` in it. Raises HostError, StateError."""
        with host_errors("create", self.path):
            self._make()

    def log_file(self, container: str) -> str:
        """The newest log segment of a container. Raises StateError for a name that is no container's name."""
        if not _CONTAINER_NAME.fullmatch(container):
            raise StateError(f"not a container name: {container!r}")
        return os.path.join(self.logs, container + ".log")

    def record_file(self, record: str) -> str:
        """`record` is stack, desired or launcher."""
        return os.path.join(self.path, record + ".json")

    def read(self, record: str) -> Record | None:
        """The record, or None where there is none (or a power failure emptied it). Raises HostError, StateError."""
        return read_record(self.record_file(record))

    def write(self, record: str, data: Mapping[str, Any]) -> None:
        """Replace the record at once and whole. Raises HostError; the old record is intact then."""
        write_record(self.record_file(record), data)

    def acquire_lock(self, timeout: float | None = None) -> Lock:
        """Take the stack's lock, making the directory where it is missing.

        `timeout` is in seconds: None waits for ever, 0 not at all.

        Raises:
            StateError: another command has it; the message says its pid.
            HostError: the directory or the lock cannot be made.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            with host_errors("create", self.path):
                try:
                    self._make()
                    return take_lock(self.lock_file, left)
                except FileNotFoundError:
                    continue  # the previous holder removed the directory
                except TimeoutError as error:
                    pid = lock_holder(self.lock_file)
                    hint = "wait until it has finished, then try again"
                    raise StateError(
                        f"stack {self.name} is being changed by another command (pid {pid})", hint
                    ) from error

    def remove(self) -> None:
        """Remove the directory with everything in it, and what a killed remove() left. Safe to repeat."""
        remove_tree(os.path.dirname(self.path), self.name)

    def append_event(self, event: Mapping[str, Any]) -> None:
        """Append one line to the event log. Raises HostError; the log stays readable then."""
        append_line(self.events_file, json.dumps(event, separators=(",", ":")).encode(), limit=EVENTS_LIMIT)

    def events(self) -> Iterator[Record]:
        """All events that are kept, oldest first; torn lines are left out."""
        for path in (self.events_file + ".1", self.events_file):
            with host_errors("read", path), suppress(FileNotFoundError), open(path, "rb") as file:
                for line in file:
                    with suppress(ValueError):
                        yield json.loads(line)

    def _make(self) -> None:
        self.state.create()
        for path in (os.path.dirname(self.path), self.path, self.logs):
            _make_directory(path)


class VolumeDir:
    """The directory of one named volume: `data` is what containers see, the record says whose it is.

    The record's "stack" keeps that stack's id range from being given away.
    """

    def __init__(self, state: StateDir, name: str) -> None:
        self.state, self.name = state, name
        self.path = os.path.join(state.path, "volumes", name)
        self.data = os.path.join(self.path, "data")
        self.record_file = os.path.join(self.path, "volume.json")

    def exists(self) -> bool:
        """True once the record is written, which is the last step of making a volume."""
        return os.path.exists(self.record_file)

    def create(self) -> None:
        """Make the directory and `data` in it. Raises HostError, StateError."""
        self.state.create()
        with host_errors("create", self.path):
            for path in (os.path.dirname(self.path), self.path):
                _make_directory(path)
            with suppress(FileExistsError):
                os.mkdir(self.data, 0o755)

    def read(self) -> Record | None:
        return read_record(self.record_file)

    def write(self, data: Mapping[str, Any]) -> None:
        write_record(self.record_file, data, durable=True)

    def remove(self) -> None:
        """Remove the volume and its data. Safe to repeat. Raises HostError, for example for files of other ids."""
        remove_tree(os.path.dirname(self.path), self.name)


def _make_directory(path: str) -> None:
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)


def file_stamp(path: str) -> FileStamp:
    """What identifies the present content of a file, without reading it."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return path, None, None, None
    return path, found.st_mtime_ns, found.st_size, found.st_ino
