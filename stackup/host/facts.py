"""Looks at the machine for what containers' orders depend on: which directories are hidden, what /run holds."""

from __future__ import annotations

import os
import shutil

from stackup.core.types import Bind, Desired
from stackup.host.orders import Facts
from stackup.host.users import Accounts, Caller

_HIDDEN = (
    "/home",
    "/media",
    "/mnt",
    "/root",
    "/srv",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/spool/cron",
)
_NOT_IN_RUN = {"user", "docker", "containerd", "stackup"}


def find_facts(caller: Caller, desired: Desired, state: str, *, cgroup2: bool) -> Facts:
    """Collect the facts for a stack of `caller`. `state` is stackup's own directory, which no container sees."""
    accounts, state = Accounts.of_host(), os.path.realpath(state)
    return Facts(
        caller=caller,
        accounts=accounts,
        project=desired.project,
        hidden=_hidden(accounts, state),
        state=state,
        writable=_writable(desired),
        run_directories=_run_directories(),
        init=shutil.which("tini") or shutil.which("catatonit"),
        cgroup2=cgroup2,
    )


def _hidden(accounts: Accounts, state: str) -> tuple[str, ...]:
    """Existing directories to cover, without those that lie inside another one."""
    own_home = os.environ.get("HOME", "")
    named = {*_HIDDEN, *accounts.human_homes(), state, *([own_home] if own_home.startswith("/") else [])}
    # Where they really are: /home may be a link, and what it points to is what must be covered.
    wanted = {os.path.realpath(path) for path in named} - {"/"}
    kept: list[str] = []
    for path in sorted(path for path in wanted if os.path.isdir(path)):
        if not any(path.startswith(f"{outer}/") for outer in kept):
            kept.append(path)
    return tuple(kept)


def _writable(desired: Desired) -> tuple[str, ...]:
    """The host's directories that some container of the stack may write to."""
    mounts = [mount for spec in desired.containers for mount in spec.mounts]
    found = {mount.source for mount in mounts if isinstance(mount, Bind) and not mount.read_only}
    if desired.project.shared:
        found.add(desired.project.directory)
    return tuple(sorted(found))


def _run_directories() -> tuple[str, ...]:
    """The top directories of the host's /run, which programs expect to find; what is in them stays hidden."""
    try:
        with os.scandir("/run") as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return ()
    return tuple(sorted(set(names) - _NOT_IN_RUN))
