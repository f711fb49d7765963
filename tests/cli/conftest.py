"""A state directory, a project and the program, apart from those of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .fakes import PATIENCE

STACK = """\
name: demo
services:
  db:
    command: ["sleep", "60"]
  web:
    command: ["sleep", "60"]
    depends_on: [db]
"""


@dataclass(frozen=True)
class Place:
    """A project directory with a stack file, and the state directory its commands use."""

    project: Path
    state: Path
    environ: dict[str, str]

    @property
    def stack(self) -> Path:
        return self.state / "stacks" / "demo"

    @property
    def control(self) -> str:
        return str(self.stack / "control.sock")

    @property
    def launcher(self) -> str:
        return str(self.stack / "launcher.sock")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-P", "-m", "stackup", *arguments]

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the program; neither of its streams is a terminal."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.project,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Begin the program with pipes for its output."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.project,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    project, state = tmp_path / "project", tmp_path / "state"
    project.mkdir()
    state.mkdir(mode=0o700)
    (project / "stack.yaml").write_text(STACK)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COMPOSE_", "STACKUP_"))}
    return Place(project, state, kept | {"STACKUP_STATE": str(state), "TERM": "xterm"})


@pytest.fixture
def write_log(place: Place) -> Callable[..., None]:
    """Append records to a container's log in the log helper's format."""

    def write(container: str, *records: str) -> None:
        logs = place.stack / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with open(logs / f"{container}.log", "a") as file:
            file.write("".join(f"{record}\n" for record in records))

    return write
