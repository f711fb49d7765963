"""Fixtures of the layers that run the real program. Tests below tests/unit use none of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import TestStack

_numbers = itertools.count(1)


@pytest.fixture
def new_stack(tmp_path: Path) -> Iterator[Callable[[], TestStack]]:
    """Makes stacks; each is taken down at the end, and must then have left nothing behind."""
    made: list[TestStack] = []
    _open_way(tmp_path)

    def make() -> TestStack:
        number = next(_numbers)
        stack = TestStack(tmp_path / f"project{number}", tmp_path / f"state{number}", f"t{os.getpid()}x{number}")
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.destroy()
    left = [item for stack in made for item in stack.leftovers()]
    assert not left, f"left behind: {left}"


@pytest.fixture
def stack(new_stack: Callable[[], TestStack]) -> TestStack:
    """One stack."""
    return new_stack()


def _open_way(path: Path) -> None:
    """pytest makes its directories 0700; a container whose root is not ours must be able to reach its project."""
    for directory in (path, *path.parents):
        if directory.stat().st_uid == os.geteuid() and directory.name.startswith(("pytest", "test_")):
            directory.chmod(0o755)
