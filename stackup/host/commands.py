"""Finds programs that the caller can see and a container on the host's root cannot, before anything starts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from stackup.core.types import ContainerSpec
from stackup.errors import HostError
from stackup.host.orders import DEFAULT_PATH, Facts


def check_commands(specs: Iterable[ContainerSpec], facts: Facts, caller_path: str) -> None:
    """Refuse a service whose program lies in a directory that containers do not see.

    `caller_path` is the PATH of whoever asks. A program that nobody has is not found here but by its launch.

    Raises:
        HostError: with the line for the stack file that shows the program.
    """
    checked: set[tuple[str, str, tuple[str, ...]]] = set()
    for spec in specs:
        path = dict(spec.environment).get("PATH", DEFAULT_PATH)
        key = (spec.command[0], path, spec.show)
        if key in checked:
            continue
        checked.add(key)
        hidden = _find_hidden(spec, facts, path, caller_path)
        if hidden is not None:
            line = f"x-stackup: {{rootfs: {{show: [{_directory_to_show(hidden)}]}}}}"
            by_name = (
                ""
                if "/" in spec.command[0]
                else f", and its directory to PATH (environment: PATH: {os.path.dirname(hidden)}:{path})"
            )
            raise HostError(
                "run",
                spec.command[0],
                f"{hidden} lies in a directory that containers do not see",
                hint=f"add to service {spec.service}: {line}{by_name}",
            )


def _find_hidden(spec: ContainerSpec, facts: Facts, path: str, caller_path: str) -> str | None:
    name = spec.command[0]
    if "/" in name:
        candidate = os.path.join(spec.working_dir, name)
        return candidate if os.path.exists(candidate) and _is_hidden(candidate, spec, facts) else None
    for directory in path.split(":"):
        candidate = os.path.join(directory, name)
        if os.path.exists(candidate) and not _is_hidden(candidate, spec, facts):
            return None
    found = shutil.which(name, path=caller_path)
    return found if found is not None and _is_hidden(found, spec, facts) else None


def _is_hidden(path: str, spec: ContainerSpec, facts: Facts) -> bool:
    """Whether a host path is covered: below a hidden directory, and not shown, mounted over or part of the project."""
    shown = [*spec.show, *(mount.target for mount in spec.mounts)]
    if facts.project.shared:
        shown.append(facts.project.directory)
    hidden = (*facts.hidden, "/tmp", "/var/tmp", "/run")
    return _below(path, hidden) and not _below(path, shown)


def _below(path: str, directories: Iterable[str]) -> bool:
    return any(path == directory or path.startswith(directory.rstrip("/") + "/") for directory in directories)


def _directory_to_show(program: str) -> str:
    """The smallest directory that makes a program work: its own, or its installation's where it lies in `bin`."""
    directory = os.path.dirname(program)
    parent, name = os.path.split(directory)
    if name in ("bin", "sbin", "shims") and os.path.basename(parent) not in (".local", ""):
        return parent
    return directory
