"""Packs changed files for `sync`. Containers may write to the directories that are read here: no link is followed."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable

from stackup.core.watch import Copy
from stackup.launcher import syscalls as kernel


def pack(copies: Iterable[Copy]) -> int:
    """A memfd with a tar archive of the files and directories that still exist, under the names of their targets.

    Sources are real paths: a link on the way to one was put there by a container, to read what it may not.

    Raises:
        OSError: a file cannot be read; ELOOP where a link is on the way.
    """
    memory = os.memfd_create("stackup-sync")
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file, tarfile.open(fileobj=file, mode="w") as archive:
            for copy in copies:
                parent, name = os.path.split(copy.source)
                try:
                    directory = kernel.open_beneath(root, parent.lstrip("/") or ".", os.O_PATH | os.O_DIRECTORY)
                except FileNotFoundError:
                    continue  # gone meanwhile, which is an event of its own
                try:
                    _add(archive, directory, name, copy.target.lstrip("/"))
                finally:
                    os.close(directory)
        os.lseek(memory, 0, os.SEEK_SET)
    except BaseException:
        os.close(memory)
        raise
    finally:
        os.close(root)
    return memory


def _add(archive: tarfile.TarFile, directory: int, name: str, target: str) -> None:
    """Add the entry `name` of a directory, with all that is below it."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    member = tarfile.TarInfo(target)
    member.mode, member.mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
    if stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=directory)
        archive.addfile(member)
    elif stat.S_ISDIR(status.st_mode):
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
        inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            for child in sorted(os.listdir(inside)):
                _add(archive, inside, child, f"{target}/{child}")
        finally:
            os.close(inside)
    elif stat.S_ISREG(status.st_mode):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        with open(fd, "rb") as file:
            data = file.read()  # whole: a file that is being written has no size to rely on
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
