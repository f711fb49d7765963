"""Looks at the machine for what containers' orders depend on: which directories are hidden, what /run holds."""

from __future__ import annotations

import os
import shutil

from stackup.core.types import Project
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


def find_facts(caller: Caller, project: Project, state: str, *, cgroup2: bool) -> Facts:
    """Collect the facts for stacks of `caller`. `state` is stackup's own directory, which no container sees."""
    accounts = Accounts.of_host()
    return Facts(
        caller=caller,
        accounts=accounts,
        project=project,
        hidden=_hidden(accounts, state),
        run_directories=_run_directories(),
        init=shutil.which("tini") or shutil.which("catatonit"),
        cgroup2=cgroup2,
    )


def _hidden(accounts: Accounts, state: str) -> tuple[str, ...]:
    """Existing directories to cover, without those that lie inside another one."""
    own_home = os.environ.get("HOME", "")
    wanted = {*_HIDDEN, *accounts.human_homes(), os.path.realpath(state)}
    if own_home.startswith("/") and own_home != "/":
        wanted.add(os.path.realpath(own_home))
    kept: list[str] = []
    for path in sorted(path for path in wanted if os.path.isdir(path) and not os.path.islink(path)):
        if not any(path.startswith(f"{outer}/") for outer in kept):
            kept.append(path)
    return tuple(kept)


def _run_directories() -> tuple[str, ...]:
    """The top directories of the host's /run, which programs expect to find; what is in them stays hidden."""
    try:
        with os.scandir("/run") as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return ()
    return tuple(sorted(set(names) - _NOT_IN_RUN))
