"""One inotify(7) instance, by ctypes: the standard library has none. Knows nothing of what is watched."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator

from stackup.errors import HostError

MODIFY = 0x2
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
OVERFLOW = 0x4000
IGNORED = 0x8000
ONLYDIR = 0x1000000

_EVENT = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Inotify:
    """Raises HostError where the kernel refuses, with the limit to raise."""

    def __init__(self) -> None:
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _refused("create an inotify instance", "for stackup", "fs.inotify.max_user_instances")

    def fileno(self) -> int:
        return self._fd

    def watch(self, path: str, mask: int) -> int:
        """Watch a path; returns the number of the watch. Raises FileNotFoundError, NotADirectoryError, HostError."""
        number: int = _libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
        if number < 0:
            error = OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise error
            raise _refused("watch", path, "fs.inotify.max_user_watches")
        return number

    def unwatch(self, number: int) -> None:
        """Stop a watch; harmless where the kernel already has."""
        _libc.inotify_rm_watch(self._fd, number)

    def read(self) -> Iterator[tuple[int, int, str]]:
        """All events that have happened: (watch, mask, name in the watched directory). Does not block."""
        while True:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return
            offset = 0
            while offset < len(data):
                watch, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size
                yield watch, mask, os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
                offset += length

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _refused(operation: str, subject: str, limit: str) -> HostError:
    number = ctypes.get_errno()
    return HostError(operation, subject, os.strerror(number), errno=number, hint=f"raise the sysctl {limit}")
