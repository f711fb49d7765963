"""How stackup writes to disk: records replaced whole, locks, trees removed, sockets with long paths. Knows no layout.

What a full disk or a kill leaves behind is the old file, never a part of the new one. Errors are HostError with the
path and the errno, except where a docstring says OSError.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from stackup.errors import HostError, StateError

Record = dict[str, Any]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_REMOVED = ".removed-"
_LOCK_POLL = 0.01
_SOCKET_PATH_LIMIT = 107  # unix(7): sun_path holds 108 bytes with its NUL


@contextmanager
def host_errors(operation: str, path: str) -> Iterator[None]:
    """Turn an OSError into a HostError about `path`."""
    try:
        yield
    except OSError as error:
        raise HostError(operation, path, error.strerror or str(error), errno=error.errno) from error


# --- records --------------------------------------------------------------------------------------------------------


def read_record(path: str) -> Record | None:
    """The JSON object in a file; None where there is no file. Raises StateError for anything else in it."""
    with host_errors("read", path):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
    # Records are not synced: after a power failure a file may be empty or zeros. What it described has died with it.
    if not data.strip(b"\0"):
        return None
    try:
        record = json.loads(data)
    except ValueError as error:
        raise StateError(f"the record {path} is damaged: {error}", hint="remove the file") from error
    if not isinstance(record, dict):
        raise StateError(f"the record {path} is damaged: not a JSON object", hint="remove the file")
    return record


def write_record(path: str, data: Mapping[str, Any], *, durable: bool = False) -> None:
    """Replace a record by a temporary file and rename(2). `durable`: synced, for what must outlive a power failure."""
    content = json.dumps(data, separators=(",", ":")).encode()
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    with host_errors("write", path):
        try:
            with open(temporary, "wb", opener=_private) as file:
                file.write(content)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):  # the first error is the one to report
                os.unlink(temporary)
            raise


def append_line(path: str, line: bytes, *, limit: int) -> None:
    """Append one line (without its newline) in a single write. A file beyond `limit` bytes becomes `path`.1.

    A line that did not fit on the disk is left torn, and the next one begins on a line of its own.
    """
    line += b"\n"
    with host_errors("write", path):
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line
            if os.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if size + len(line) > limit:
                os.replace(path, path + ".1")
        finally:
            os.close(fd)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


# --- locks ----------------------------------------------------------------------------------------------------------


class Lock:
    """A held flock(2). Released by `release`, by leaving the `with` block, or by the death of the process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def take_lock(path: str, timeout: float | None = None) -> Lock:
    """Lock the file `path`, making it where it is missing, and write our pid into it.

    `timeout` is in seconds: None waits for ever, 0 not at all.

    Raises:
        TimeoutError: another process holds it.
        FileNotFoundError: the directory is gone, or was removed while we waited. Other OSErrors: as of open(2).
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    lock = Lock(fd)
    try:
        _flock(fd, deadline)
        # The holder before us may have removed the file: then our lock guards something that nobody opens any more.
        if not os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        _write_holder(fd)
    except BaseException:
        lock.release()
        raise
    return lock


def lock_holder(path: str) -> str:
    """The pid that the last holder of a lock file wrote, or `unknown`."""
    try:
        with open(path, "rb") as file:
            return file.read(32).decode("ascii", "replace").strip() or "unknown"
    except FileNotFoundError:
        return "unknown"


def _flock(fd: int, deadline: float | None) -> None:
    if deadline is None:
        fcntl.flock(fd, fcntl.LOCK_EX)
        return
    while True:  # flock(2) has no timeout
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, "held by another process") from error
            time.sleep(min(left, _LOCK_POLL))


def _write_holder(fd: int) -> None:
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except OSError as error:
        # The pid only serves a message; a full disk must not keep `down` from taking the lock.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


# --- removal --------------------------------------------------------------------------------------------------------


def remove_tree(parent: str, name: str | None) -> None:
    """Remove `parent/name`, and whatever a killed call left in `parent`. Safe to repeat, and for two at once.

    With None only the latter.

    The tree is renamed first, so that a half-removed one is never taken for a whole one, nor a new one for the old.
    """
    with host_errors("remove", os.path.join(parent, name or "")):
        try:
            top = os.open(parent, _DIRECTORY)
        except FileNotFoundError:
            return
        try:
            if name is not None:
                with suppress(FileNotFoundError):
                    os.rename(name, _removed_name(), src_dir_fd=top, dst_dir_fd=top)
            for entry in os.listdir(top):
                if entry.startswith(_REMOVED):
                    _remove(top, entry)
        finally:
            os.close(top)


def _removed_name() -> str:
    return f"{_REMOVED}{os.getpid()}-{time.monotonic_ns()}"


def _remove(top: int, first: str) -> None:
    """Remove a tree of any depth without recursion: each subdirectory is moved up beside its parent, then emptied.

    Everything is relative to descriptors and follows no link: the tree's content may be a container's doing.
    """
    pending = [first]
    while pending:
        name = pending.pop()
        with suppress(FileNotFoundError):  # another process removes the same tree
            fd = _open_directory(top, name)
            try:
                with os.scandir(fd) as entries:
                    found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
                for child, is_directory in found:
                    with suppress(FileNotFoundError):
                        if is_directory:
                            pending.append(_move_up(fd, child, top))
                        else:
                            os.unlink(child, dir_fd=fd)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=top)


def _open_directory(top: int, name: str) -> int:
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=top)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=top)
        fd = os.open(name, _DIRECTORY, dir_fd=top)
    if os.fstat(fd).st_uid == os.geteuid():
        os.fchmod(fd, 0o700)
    return fd


def _move_up(fd: int, child: str, top: int) -> str:
    moved = _removed_name()
    try:
        os.rename(child, moved, src_dir_fd=fd, dst_dir_fd=top)
    except PermissionError:  # moving a directory changes its "..": that needs the right to write to it
        os.chmod(child, 0o700, dir_fd=fd)
        os.rename(child, moved, src_dir_fd=fd, dst_dir_fd=top)
    return moved


# --- sockets --------------------------------------------------------------------------------------------------------


def bind_socket(path: str, kind: int = socket.SOCK_STREAM, backlog: int = 128) -> socket.socket:
    """A Unix socket that listens at `path` (0600), of any length, in place of whatever was there.

    It appears by rename(2) when it already listens, so that nobody ever finds one that refuses.
    """
    directory, name = os.path.split(path)
    temporary = f".{name[:40]}.{os.getpid()}"
    with host_errors("listen on", path):
        sock = socket.socket(socket.AF_UNIX, kind)
        try:
            top = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=top)
                sock.bind(f"/proc/self/fd/{top}/{temporary}")
                os.chmod(temporary, 0o600, dir_fd=top)
                sock.listen(backlog)
                os.rename(temporary, name, src_dir_fd=top, dst_dir_fd=top)
            finally:
                os.close(top)
        except BaseException:
            sock.close()
            raise
    return sock


def connect_socket(path: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """Connect to the Unix socket at `path`, of any length.

    Raises:
        FileNotFoundError: there is no socket. ConnectionRefusedError: nobody listens any more. Other OSErrors.
    """
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            sock.connect(path)
            return sock
        directory, name = os.path.split(path)
        top = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{top}/{name}")
        finally:
            os.close(top)
    except BaseException:
        sock.close()
        raise
    return sock
