"""Fixtures for the stack file's tests: write files, load them, collect their problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stackup.core.types import ContainerSpec, Desired
from stackup.errors import Problem, StackFileError
from stackup.stackfile import Source, load, resolve
from stackup.stackfile.stack import Stack


class Project:
    """A directory with a stack file and whatever else a test writes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def source(self, *, environ: Mapping[str, str] = {}, **options: Any) -> Source:
        return Source(str(self.directory), {"HOME": "/home/nobody-here", **environ}, **options)

    def load(self, text: str, **options: Any) -> Stack:
        self.write("stack.yaml", text)
        return load(self.source(**options))

    def resolve(self, text: str, *services: str, **options: Any) -> Desired:
        return resolve(self.load(text, **options), services)

    def service(self, keys: str, **options: Any) -> ContainerSpec:
        """The one container of a stack with the service `web`, which has these keys (one line each)."""
        body = "".join(f"    {line}\n" for line in keys.strip("\n").split("\n"))
        command = "" if "command:" in keys or "entrypoint:" in keys else "    command: [run]\n"
        return self.resolve(f"services:\n  web:\n{command}{body}", **options).containers[0]

    def problems(self, text: str, **options: Any) -> tuple[Problem, ...]:
        with pytest.raises(StackFileError) as caught:
            self.resolve(text, **options)
        return caught.value.problems


@pytest.fixture
def project(tmp_path: Path) -> Project:
    directory = tmp_path / "demo"
    directory.mkdir()
    return Project(directory)


@pytest.fixture
def problems(project: Project) -> Callable[..., tuple[Problem, ...]]:
    return project.problems
