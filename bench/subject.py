"""A program that runs Compose files, as the harness drives it: a stack file in a directory and one command per verb."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.harness import timed

Service = Mapping[str, Any]
UP, AGAIN, PS, DOWN = "up -d, cold", "up -d, nothing to do", "ps", "down"


@dataclass(frozen=True)
class Subject:
    """`verbs` are complete commands; `image` is what services run in, None where the host's root is used.

    `remark` is what a reader must know to judge its figures.
    """

    name: str
    version: str
    directory: Path
    verbs: Mapping[str, Sequence[str]]
    environment: Mapping[str, str]
    image: str | None = None
    remark: str = ""

    def write(self, services: Mapping[str, Service]) -> None:
        """Write the stack file. With an image, the directory is bound at its own path, as stackup does by itself."""
        if self.image is not None:
            bound = {"image": self.image, "volumes": [f"{self.directory}:{self.directory}"]}
            services = {name: bound | dict(service) for name, service in services.items()}
        (self.directory / "compose.yaml").write_text(yaml.safe_dump({"services": dict(services)}, sort_keys=False))

    def run(self, verb: str) -> float:
        """Run one command; seconds until it has returned. Raises BenchError."""
        return timed(self.verbs[verb], self.directory, self.environment)


def sleepers(count: int, **more: Any) -> dict[str, Service]:
    """That many services that sleep."""
    return {f"s{number}": {"command": ["sleep", "1000000"]} | more for number in range(1, count + 1)}


def make_directory(path: Path) -> Path:
    """A directory that a container's user can reach, whoever that is on the host."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o755)
    return path


def stackup(work: Path) -> Subject:
    """The program of this repository, with a state directory of its own."""
    from stackup import __version__

    installed = Path(sys.executable).with_name("stackup")
    program = [str(installed)] if installed.exists() else [sys.executable, "-m", "stackup"]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "STACKUP_STATE": str(work / "state"),
    }
    up = [*program, "up", "-d"]
    verbs = {UP: up, AGAIN: up, PS: [*program, "ps"], DOWN: [*program, "down"]}
    return Subject("stackup", __version__, make_directory(work / "stackup-bench"), verbs, environment)


def tool(name: str) -> str | None:
    """Where a program is; sbin included, which is not on everybody's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
