"""What this machine can do for stackup: one verdict per capability, and what to do about each that is missing.

Reads and tries (host/trial.py, in a process of its own); changes nothing and prints nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from stackup.errors import StackupError
from stackup.host.cgroups import find_layout
from stackup.statedir import StateDir

OLDEST_KERNEL = (5, 15)
_PROFILE = "/etc/apparmor.d/stackup"
_TRIAL_SECONDS = 30
_RANGE = 65536
_INOTIFY_ENOUGH = {"max_user_instances": 128, "max_user_watches": 8192}


class Verdict(str, Enum):
    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Capability:
    """One line of `doctor`. `needed`: without it the default way of running a stack cannot work."""

    name: str
    verdict: Verdict
    detail: str
    advice: str | None = None
    needed: bool = False


def apparmor_command() -> str:
    """The command that lets an unprivileged stackup make user namespaces on Ubuntu 23.10 and later.

    A named profile without a path: it confines nothing and attaches to nothing; the launcher asks for it (aa-exec(1)).
    """
    profile = "abi <abi/4.0>,\\nprofile stackup flags=(unconfined) {\\n  userns,\\n}\\n"
    return f"sudo sh -c 'printf \"{profile}\" >{_PROFILE} && apparmor_parser -r {_PROFILE}'"


def apparmor_restricts() -> bool:
    """Whether AppArmor keeps this unprivileged process from using user namespaces without a profile."""
    return os.geteuid() != 0 and read_sysctl("kernel.apparmor_restrict_unprivileged_userns") == "1"


def read_sysctl(name: str) -> str | None:
    """The value of a sysctl; None where this kernel has none of that name, or hides it."""
    try:
        return Path("/proc/sys", name.replace(".", "/")).read_text().strip()
    except OSError:
        return None


def probe(state: StateDir) -> tuple[Capability, ...]:
    """All capabilities of this machine, for this user and this state directory. Takes about 0.2 s."""
    outcomes = run_trial(existing_parent(state.path))
    return (
        kernel_version(os.uname().release),
        *(judge_trial(outcomes)),
        judge_cgroups(),
        judge_subordinate_ids(),
        judge_low_ports(read_sysctl("net.ipv4.ip_unprivileged_port_start")),
        judge_state(state),
        *(judge_inotify(name, read_sysctl(f"fs.inotify.{name}")) for name in _INOTIFY_ENOUGH),
        judge_uplink(),
    )


def existing_parent(path: str) -> str:
    """`path`, or the nearest directory above it that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


# --- the trial --------------------------------------------------------------------------------------------------------


def run_trial(directory: str) -> dict[str, Any]:
    """The outcomes of host/trial.py, under the AppArmor profile where that is needed and installed.

    Raises:
        StackupError: the trial itself could not be run.
    """
    prefix = ["aa-exec", "-p", "stackup", "--"] if apparmor_restricts() and os.path.exists(_PROFILE) else []
    command = [*prefix, sys.executable, "-P", "-m", "stackup.host.trial", directory]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackupError(f"cannot try what this machine can do: {error}") from error
    if done.returncode != 0:
        raise StackupError(f"cannot try what this machine can do: {done.stderr.strip() or f'exit {done.returncode}'}")
    outcomes: dict[str, Any] = json.loads(done.stdout)
    return outcomes


_TRIALS = {
    "user namespace": "isolate without root",
    "mount namespace": "give each container its own file system",
    "pid namespace": "give each container its own processes",
    "network namespace": "give each container its own network",
    "ipc namespace": "separate shared memory",
    "uts namespace": "give each container its own host name",
    "cgroup namespace": "hide the host's control groups",
    "proc": "mount /proc in a container",
    "mount API": "open_tree and mount_setattr",
    "bridge and veth": "connect containers",
    "clone3": "start containers",
    "pidfd": "watch and signal processes without races",
    "close_range": "leak no descriptor into a container",
    "memfd exec": "run the launcher from a sealed copy",
}
_ADVICE = {
    "proc": "an outer container covers parts of /proc: run it with --security-opt unmask=ALL, or privileged",
    "mount API": "use Linux 5.15 or later; in a container, allow these calls in its seccomp profile",
    "clone3": "use Linux 5.15 or later; in a container, allow clone3 in its seccomp profile",
    "memfd exec": "set the sysctl vm.memfd_noexec to 0 or 1",
    "bridge and veth": "load the kernel modules: sudo modprobe -a bridge veth",
}


def judge_trial(outcomes: Mapping[str, Any]) -> list[Capability]:
    """Verdicts on what was tried; what could not be tried for lack of a user namespace is left out."""
    found = []
    for name, purpose in _TRIALS.items():
        if name not in outcomes:
            continue
        failure = outcomes[name]
        if failure is None:
            found.append(Capability(name, Verdict.OK, purpose, needed=True))
            continue
        advice = (explain_userns() if name == "user namespace" else _ADVICE.get(name)) or _general_advice(name)
        found.append(Capability(name, Verdict.MISSING, f"{purpose}: {failure['text']}", advice, needed=True))
    for name, purpose in (("idmapped mounts", "shared directories as root"), ("overlay", "copy-on-write roots")):
        if name in outcomes:
            failure = outcomes[name]
            detail = purpose if failure is None else f"{purpose}: {failure['text']}"
            remedy = None if failure is None else "put the state directory (STACKUP_STATE) on ext4, xfs or btrfs"
            needed = name == "idmapped mounts"
            found.append(Capability(name, Verdict.OK if failure is None else Verdict.LIMITED, detail, remedy, needed))
    return found


def _general_advice(name: str) -> str:
    return f"the kernel lacks it, or an outer container forbids it: allow {name} there, or run stackup outside of it"


def explain_userns() -> str | None:
    """What to do where user namespaces are refused, by the sysctl that refuses them; None where no sysctl does."""
    if apparmor_restricts():
        return f"AppArmor forbids it (kernel.apparmor_restrict_unprivileged_userns=1). Run once: {apparmor_command()}"
    if read_sysctl("kernel.unprivileged_userns_clone") == "0" and os.geteuid() != 0:
        return "kernel.unprivileged_userns_clone is 0. Run: sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if read_sysctl("user.max_user_namespaces") == "0":
        return "user.max_user_namespaces is 0. Run: sudo sysctl -w user.max_user_namespaces=10000"
    return None


# --- what is read -----------------------------------------------------------------------------------------------------


def kernel_version(release: str) -> Capability:
    """Verdict on a release such as `6.1.0-18-amd64`."""
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in release.split("-")[0].split(".")[:2])
    if numbers >= OLDEST_KERNEL:
        return Capability("kernel", Verdict.OK, release, needed=True)
    oldest = ".".join(map(str, OLDEST_KERNEL))
    return Capability("kernel", Verdict.MISSING, release, f"use Linux {oldest} or later", needed=True)


def judge_cgroups() -> Capability:
    layout = find_layout()
    roots = ", ".join(map(str, layout.roots))
    if layout.version == 2:
        controllers = Path(layout.roots[0], "cgroup.controllers").read_text().split()
        if "pids" in controllers:
            return Capability("cgroups", Verdict.OK, f"v2 in {roots}: {' '.join(controllers)}")
        advice = "delegate the controllers: systemd-run --user --scope -p Delegate=yes stackup up"
        return Capability("cgroups", Verdict.LIMITED, f"v2 in {roots}: no pids controller, so no limit", advice)
    if layout.version == 1:
        return Capability(
            "cgroups", Verdict.LIMITED, f"v1 in {roots}", "limits work; pause and kill are slower than v2"
        )
    advice = "stacks run without limits; for limits: systemd-run --user --scope -p Delegate=yes stackup up"
    return Capability("cgroups", Verdict.LIMITED, "none that this user may change", advice)


def judge_subordinate_ids() -> Capability:
    """Ranges of /etc/subuid and /etc/subgid (subuid(5)). Root takes a range of stackup's own."""
    if os.geteuid() == 0:
        return Capability("id ranges", Verdict.OK, f"root: {_RANGE} ids for each stack")
    names = {str(os.geteuid()), os.environ.get("USER", "")}
    counts = [_ids_in(Path(path), names) for path in ("/etc/subuid", "/etc/subgid")]
    tools = all(shutil.which(tool) for tool in ("newuidmap", "newgidmap"))
    if min(counts) >= _RANGE and tools:
        return Capability("id ranges", Verdict.OK, f"{min(counts)} subordinate ids (not used yet)")
    return Capability("id ranges", Verdict.LIMITED, "one id: each container has one user, the one its `user:` names")


def _ids_in(path: Path, names: set[str]) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    entries = [line.split(":") for line in lines]
    return sum(int(entry[2]) for entry in entries if len(entry) == 3 and entry[0] in names and entry[2].isdigit())


def judge_low_ports(start: str | None) -> Capability:
    if os.geteuid() == 0 or start == "0":
        return Capability("low ports", Verdict.OK, "any port can be published")
    detail = f"ports below {start or 1024} cannot be published"
    return Capability(
        "low ports", Verdict.LIMITED, detail, "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=80, or publish higher"
    )


def judge_state(state: StateDir) -> Capability:
    try:
        state.stacks()
    except StackupError as error:
        return Capability("state directory", Verdict.MISSING, error.message, error.hint, needed=True)
    if not os.access(existing_parent(state.path), os.W_OK | os.X_OK):
        detail = f"{existing_parent(state.path)} is not writable"
        advice = "set STACKUP_STATE to a directory of your own"
        return Capability("state directory", Verdict.MISSING, detail, advice, needed=True)
    return Capability("state directory", Verdict.OK, state.path, needed=True)


def judge_inotify(name: str, value: str | None) -> Capability:
    enough = _INOTIFY_ENOUGH[name]
    title = "inotify " + name.removeprefix("max_user_")
    if value is None or not value.isdigit() or int(value) >= enough:
        return Capability(title, Verdict.OK, value or "unknown")
    return Capability(title, Verdict.LIMITED, value, f"sudo sysctl -w fs.inotify.{name}={enough * 8}")


def judge_uplink() -> Capability:
    for tool in ("pasta", "slirp4netns"):
        path = shutil.which(tool)
        if path:
            return Capability("uplink", Verdict.OK, f"{path} (not used yet)")
    return Capability("uplink", Verdict.LIMITED, "neither pasta nor slirp4netns is installed (not used yet)")
