"""Opens the host's files and directories that become mounts of a container. In the launcher; for root, outside of it.

A container may have changed what it can write to since its neighbour was last started. A source below such a place is
reached without following a link: else a container would choose what the next run mounts, `/etc` as well.
"""

from __future__ import annotations

import os

from stackup.launcher import syscalls as kernel


def find(path: str, beneath: str) -> int:
    """An O_PATH descriptor of `path`. `beneath` is the directory above it that containers write to, "" for none.

    Raises:
        OSError: it cannot be opened; ELOOP where a link is on the way from `beneath`.
    """
    if not beneath:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    top = _open_directory(beneath)
    try:
        return kernel.open_beneath(top, os.path.relpath(path, beneath), os.O_PATH)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(top)


def open_tree(path: str, beneath: str) -> int:
    """A detached mount of `path` and all that is mounted below it. Raises OSError, as `find`."""
    found = find(path, beneath)
    try:
        return kernel.open_tree("", dir_fd=found, recursive=True)
    finally:
        os.close(found)


def make_directory(path: str, beneath: str) -> None:
    """Make a missing directory and those above it, by the same rule. Raises OSError, as `find`."""
    if not beneath:
        os.makedirs(path, exist_ok=True)
        return
    directory = _open_directory(beneath)
    try:
        for name in os.path.relpath(path, beneath).split("/"):
            try:
                below = kernel.open_beneath(directory, name, os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                os.mkdir(name, dir_fd=directory)
                below = kernel.open_beneath(directory, name, os.O_PATH | os.O_DIRECTORY)
            os.close(directory)
            directory = below
    finally:
        os.close(directory)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
