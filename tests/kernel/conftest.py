"""Fixtures for tests that look at containers from inside. One stack for each module: they only read it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support import TestStack

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def place() -> Iterator[TestStack]:
    """A stack without a file yet, for a whole module; taken down at its end, and then nothing may be left."""
    with TemporaryDirectory(prefix="kernel") as directory:
        Path(directory).chmod(0o755)
        stack = TestStack(Path(directory, "project"), Path(directory, "state"), f"k{os.getpid()}x{next(_numbers)}")
        stack.directory.chmod(0o755)
        yield stack
        stack.destroy()
        left = stack.leftovers()
        assert not left, f"left behind: {left}"
