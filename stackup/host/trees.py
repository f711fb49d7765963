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
from stackup.host.users import Caller, owner_of
from stackup.launcher import syscalls as kernel


class TreeOpener:
    """Opens mount trees for one stack and keeps the user namespaces that their id maps are made of."""

    def __init__(self, caller: Caller, link: LauncherLink) -> None:
        self._caller, self._link = caller, link
        self._namespaces: dict[tuple[str, str], int] = {}
        self.unmapped: set[str] = set()
        """Sources whose file system takes no id map: their files keep the host's owners inside."""

    def open(self, requests: Sequence[TreeRequest], order: Mapping[str, Any]) -> tuple[list[str | None], list[int]]:
        """For each request the path that the launcher shall open, or None and a descriptor of an open tree.

        Raises:
            HostError: a source is missing or cannot be opened.
        """
        if self._caller.one_id:
            for request in requests:
                if not os.path.lexists(request.source):
                    raise HostError("mount", request.source, "it does not exist", errno=errno.ENOENT)
            return [request.source for request in requests], []
        fds: list[int] = []
        try:
            for request in requests:
                fds.append(self._open(request, order["uid"], order["gid"]))
        except OSError as error:
            for fd in fds:
                os.close(fd)
            subject = str(error.filename or "")
            raise HostError("mount", subject, error.strerror or str(error), errno=error.errno) from error
        return [None] * len(fds), fds

    def _open(self, request: TreeRequest, uid: int, gid: int) -> int:
        tree = kernel.open_tree(request.source, recursive=True)
        if not (request.owned or request.volume):
            return tree
        if request.volume:
            maps = ("0 0 65536", "0 0 65536")
        else:
            owner, group = owner_of(request.source)
            maps = (f"{owner} {uid} 1", f"{group} {gid} 1")
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
