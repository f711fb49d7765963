"""The fixture `host`: every test of this folder runs on the fake host and on this kernel."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.contract.hosts import Fake, Host, Linux

_numbers = itertools.count(1)


@pytest.fixture(params=["fake", "linux"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    if request.param == "fake":
        yield Fake()
        return
    with TemporaryDirectory(prefix="contract") as base:
        Path(base).chmod(0o755)
        linux = Linux(f"{base}/state", f"c{os.getpid()}x{next(_numbers)}")
        yield linux
        linux.end()
