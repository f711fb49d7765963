"""Turns a container's spec into the order for the launcher: every value decided, nothing left to look up inside.

Pure apart from the facts it is given (`Facts`). The order's keys are what launcher/sandbox.py and launcher/rootfs.py
read; the two sides change together.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stackup.core.types import Bind, ContainerSpec, Mount, Project, Tmpfs, VolumeMount
from stackup.errors import HostError
from stackup.host.users import Accounts, Caller, Identity

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOFILE = (1024, 524288)

_CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "NET_BIND_SERVICE": 10,
    "SYS_CHROOT": 18,
    "SETFCAP": 31,
}
DEFAULT_CAPABILITIES = sum(1 << number for number in _CAPABILITIES.values())
"""The eleven of capabilities(7) that a container's root keeps: Docker's without MKNOD, NET_RAW and AUDIT_WRITE."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What orders depend on besides the spec.

    `hidden` are host directories that no container sees, and `state` is stackup's own; `writable` are the directories
    that some container of the stack may write to; `run_directories` the names of the host's /run directories.
    """

    caller: Caller
    accounts: Accounts
    project: Project
    hidden: tuple[str, ...]
    state: str
    writable: tuple[str, ...]
    run_directories: tuple[str, ...]
    init: str | None
    cgroup2: bool


@dataclass(frozen=True, slots=True)
class TreeRequest:
    """A host directory or file that becomes a mount of the container.

    `owned` asks for an id map: on disk its owner, inside the service's user. `volume` asks for the stack's own map.
    `beneath` is the directory above it that containers write to (launcher/sources.py), "" for none.
    """

    source: str
    beneath: str = ""
    owned: bool = False
    volume: bool = False


def compose(
    spec: ContainerSpec,
    facts: Facts,
    addresses: Sequence[tuple[str, str]],
    resolver: str | None,
    network: str,
    volumes: Mapping[str, str],
) -> tuple[dict[str, Any], list[TreeRequest]]:
    """The order for one container, and the mount trees that must come with it.

    `addresses` are (network, address) in the order of the interfaces; `network` the messages that bring them up;
    `volumes` the data directory of each named volume by key.

    Raises:
        HostError: an unknown user, or no init program where the spec asks for one.
    """
    identity = facts.accounts.resolve(spec.user, facts.caller)
    trees: list[TreeRequest] = []
    mounts = list(_mounts(spec, facts, volumes, trees))
    command = list(spec.command)
    if spec.init:
        if facts.init is None:
            raise HostError("start", spec.name, "init: true needs a small init program", hint="apt-get install tini")
        command = [facts.init, "--", *command]
    order = {
        "command": command,
        "environment": sorted(_environment(spec, identity).items()),
        "cwd": spec.working_dir,
        "hostname": spec.hostname,
        "uid": identity.uid,
        "gid": identity.gid,
        "groups": list(identity.groups),
        "one_id": facts.caller.one_id,
        "uid_map": identity.uid_map,
        "gid_map": identity.gid_map,
        "capabilities": DEFAULT_CAPABILITIES,
        "nofile": list(_NOFILE),
        "network": network,
        "hide": list(facts.hidden),
        "run_directories": dict.fromkeys(facts.run_directories, 0o755),
        "home": identity.home,
        "tty_group": not facts.caller.one_id,
        "cgroup2": facts.cgroup2,
        "mounts": mounts,
        "files": _files(spec, facts, identity, addresses, resolver),
    }
    return order, trees


def command_order(order: Mapping[str, Any], facts: Facts, request: Mapping[str, Any]) -> dict[str, Any]:
    """The order for a command in a running container, from the order that the container was started with.

    `request` has command, and may have user, working_dir, environment (pairs) and tty.
    """
    changed = dict(order)
    environment = dict(order["environment"])
    if request.get("user"):
        identity = facts.accounts.resolve(request["user"], facts.caller)
        if facts.caller.one_id and (identity.uid, identity.gid) != (order["uid"], order["gid"]):
            raise HostError(
                "run a command as",
                request["user"],
                f"this container has one id only, {order['uid']}",
                hint="run stackup as root to have a range of ids",
            )
        changed |= {"uid": identity.uid, "gid": identity.gid, "groups": list(identity.groups)}
        environment["HOME"] = identity.home
    environment |= dict(request.get("environment") or [])
    tty = bool(request.get("tty"))
    if tty:
        environment.setdefault("TERM", "xterm")
    return changed | {
        "command": list(request["command"]),
        "environment": sorted(environment.items()),
        "cwd": request.get("working_dir") or order["cwd"],
        "tty": tty,
    }


def _environment(spec: ContainerSpec, identity: Identity) -> dict[str, str]:
    defaults = {"PATH": DEFAULT_PATH, "HOSTNAME": spec.hostname, "HOME": identity.home}
    return defaults | dict(spec.environment)


def _mounts(
    spec: ContainerSpec, facts: Facts, volumes: Mapping[str, str], trees: list[TreeRequest]
) -> list[dict[str, Any]]:
    project, result = facts.project, []

    def tree(request: TreeRequest, target: str, read_only: bool) -> dict[str, Any]:
        trees.append(request)
        return {
            "kind": "tree",
            "tree": len(trees) - 1,
            "target": target,
            "read_only": read_only,
            "protect": [],
            "hide": [],
        }

    def bind(source: str, target: str, read_only: bool, owned: bool = True) -> dict[str, Any]:
        """The same files are protected, whatever the way that leads a container to them."""
        guarded = read_only or any(_is_below(source, path) for path in project.protected)
        protect = [posixpath.relpath(path, source) for path in project.protected if _is_below(path, source)]
        hide = [posixpath.relpath(facts.state, source)] if _is_below(facts.state, source) else []
        if _is_below(source, facts.state):
            hide = ["."]
        request = TreeRequest(source, beneath=_writable_above(source, facts), owned=owned)
        return tree(request, target, guarded) | {"protect": [] if guarded else protect, "hide": hide}

    if project.shared:
        result.append(bind(project.directory, project.directory, False))
    result.extend(bind(path, path, True, owned=False) for path in spec.show)
    for mount in sorted(spec.mounts, key=_depth):
        match mount:
            case Tmpfs(target, size, mode):
                result.append({"kind": "tmpfs", "target": target, "mode": mode, "size": size})
            case Bind(source, target, read_only):
                result.append(bind(source, target, read_only))
            case VolumeMount(volume, target, read_only):
                result.append(tree(TreeRequest(volumes[volume], volume=True), target, read_only))
    return result


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _writable_above(source: str, facts: Facts) -> str:
    """The highest directory above `source` that a container may write to, or ""."""
    above = [directory for directory in facts.writable if directory != source and _is_below(source, directory)]
    return min(above, key=len, default="")


def _depth(mount: Mount) -> tuple[int, str]:
    """Mounts nest: the outer one first, whatever their order in the file."""
    return mount.target.rstrip("/").count("/"), mount.target


def _files(
    spec: ContainerSpec,
    facts: Facts,
    identity: Identity,
    addresses: Sequence[tuple[str, str]],
    resolver: str | None,
) -> dict[str, str]:
    own = "".join(f"{address}\t{spec.hostname}\n" for _, address in addresses[:1])
    files = {
        "/etc/hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{own}",
        "/etc/hostname": f"{spec.hostname}\n",
        "/etc/resolv.conf": f"nameserver {resolver}\noptions timeout:1 attempts:2\n" if resolver else "",
    }
    return files | facts.accounts.files(identity)
