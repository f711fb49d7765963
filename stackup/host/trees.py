"""Opens the host's directories and files that become mounts of a container, with the id map that each needs.

As root this happens here, in the initial user namespace, where a mount may be given an id map. Without root there is
one id and nothing to map: the launcher opens the paths itself.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any

from stackup.errors import HostError
from stackup.host.launcher import LauncherLink
from stackup.host.orders import TreeRequest
from stackup.host.users import Caller
from stackup.launcher import sources
from stackup.launcher import syscalls as kernel


class TreeOpener:
    """Opens mount trees for one stack and keeps the user namespaces that their id maps are made of."""

    def __init__(self, caller: Caller, link: LauncherLink) -> None:
        self._caller, self._link = caller, link
        self._namespaces: dict[tuple[str, str], int] = {}
        self.unmapped: set[str] = set()
        """Sources whose file system takes no id map: their files keep the host's owners inside."""

    def make_missing(self, request: TreeRequest) -> bool:
        """Make the source's directory where there is nothing; True if that was so.

        Raises:
            HostError: it cannot be made.
        """
        try:
            os.close(sources.find(request.source, request.beneath))
        except FileNotFoundError:
            try:
                sources.make_directory(request.source, request.beneath)
            except OSError as error:
                raise _refused("create", request, error) from error
            return True
        except OSError as error:
            raise _refused("mount", request, error) from error
        return False

    def open(
        self, requests: Sequence[TreeRequest], order: Mapping[str, Any]
    ) -> tuple[list[tuple[str, str]], list[int]]:
        """What the launcher shall open (see launcher/sources.py), or descriptors of open trees, one for each request.

        Raises:
            HostError: a source is missing or cannot be opened.
        """
        fds: list[int] = []
        for request in requests:
            try:
                if self._caller.one_id:
                    os.close(sources.find(request.source, request.beneath))
                else:
                    fds.append(self._open(request, order["uid"], order["gid"]))
            except OSError as error:
                for fd in fds:
                    os.close(fd)
                raise _refused("mount", request, error) from error
        return [(request.source, request.beneath) for request in requests] if self._caller.one_id else [], fds

    def _open(self, request: TreeRequest, uid: int, gid: int) -> int:
        tree = sources.open_tree(request.source, request.beneath)
        if not (request.owned or request.volume):
            return tree
        if request.volume:
            maps = ("0 0 65536", "0 0 65536")
        else:
            status = os.fstat(tree)
            maps = (f"{status.st_uid} {uid} 1", f"{status.st_gid} {gid} 1")
        try:
            self._map(tree, maps)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self.unmapped.add(request.source)
        return tree

    def _map(self, tree: int, maps: tuple[str, str]) -> None:
        userns = self._namespace(maps)
        try:
            kernel.mount_setattr(tree, 0, recursive=True, userns=userns)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # A mount below it may take no map (proc, sysfs, on old kernels tmpfs): map the directory's own.
            kernel.mount_setattr(tree, 0, userns=userns)

    def _namespace(self, maps: tuple[str, str]) -> int:
        """A user namespace below the stack's with these maps: inside it the file system's ids, outside the stack's."""
        if maps not in self._namespaces:
            _, fds = self._link.call("userns", uid_map=maps[0], gid_map=maps[1])
            self._namespaces[maps] = fds[0]
        return self._namespaces[maps]

    def close(self) -> None:
        """Let go of the user namespaces."""
        for fd in self._namespaces.values():
            os.close(fd)
        self._namespaces.clear()


def _refused(operation: str, request: TreeRequest, error: OSError) -> HostError:
    if error.errno == errno.ELOOP and request.beneath:
        reason = f"it is, or lies behind, a symbolic link below {request.beneath}, which containers can write to"
        hint = "name the directory that is meant itself: a container could turn the link to anywhere"
        return HostError(operation, request.source, reason, errno=error.errno, hint=hint)
    return HostError(operation, request.source, error.strerror or str(error), errno=error.errno)
