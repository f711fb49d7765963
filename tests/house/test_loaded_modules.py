"""What each verb loads: a golden list of everything heavy. The time of a command is the time of its imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.house.source import PACKAGE
from tests.support import COMMAND, TestStack

# Milliseconds to import, measured on a laptop.
HEAVY = {
    "asyncio": 45,
    "ctypes": 5,
    "dnslib": 20,
    "networkx": 130,
    "pydantic": 45,
    "pyroute2": 150,
    "typer": 45,
    "watchfiles": 40,
    "yaml": 20,
}

GOLDEN = {
    "ps": {"typer"},
    "up -d, nothing to do": {"typer"},
    "up -d": {"typer", "yaml"},  # the first one ever in this directory: which stack it is stands in the file
    "logs": {"typer"},
    "exec -T web true": {"typer"},
    "config": {"typer", "yaml", "pydantic"},
    "down": {"typer"},
}
"""Of the command itself; the supervisor has its own row."""

SUPERVISOR = {"asyncio", "ctypes", "pydantic", "yaml"}
"""With a stack that watches no files and has no cycle. Templates spare it pyroute2 (host/templates.py)."""

FILE = "services:\n  web:\n    command: sleep MARK\n"


@pytest.fixture(scope="module")
def stack() -> Iterator[TestStack]:
    with TemporaryDirectory(prefix="house") as directory:
        Path(directory).chmod(0o755)
        stack = TestStack(
            Path(directory, "project"), Path(directory, "state"), f"house{Path(directory).name[5:].lower()}"
        )
        stack.write(FILE)
        yield stack
        stack.destroy()


def heavy(report: str) -> set[str]:
    """The heavy packages in the report of `-X importtime`."""
    loaded = {line.rpartition("|")[2].strip() for line in report.splitlines() if line.startswith("import time:")}
    return {name for name in HEAVY if name in loaded}


def test_each_verb_loads_what_it_needs_and_nothing_else(stack: TestStack) -> None:
    def loads(verb: str) -> set[str]:
        command = [sys.executable, "-X", "importtime", *COMMAND[1:], *verb.split(",")[0].split()]
        done = subprocess.run(command, cwd=stack.directory, env=stack.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return heavy(done.stderr)

    order = ["up -d", "up -d, nothing to do", "ps", "logs", "exec -T web true", "config", "down"]
    assert {verb: loads(verb) for verb in order} == GOLDEN


def test_the_supervisor_loads_what_its_stack_needs_and_nothing_else(stack: TestStack) -> None:
    stack.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    try:
        stack.run("up", "-d")
        said = stack.said()
        stack.run("down")
    finally:
        del stack.environment["PYTHONPROFILEIMPORTTIME"]
    assert heavy(said) == SUPERVISOR


def test_the_launcher_runs_on_the_standard_library_alone() -> None:
    """In the sealed interpreter's own mode: isolated, without `site`; helpers are loaded only when it boots."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from stackup.launcher import boot;"
        "print(*sorted(m for m in sys.modules if m.split('.')[0] not in sys.stdlib_module_names))"
    )
    command = [sys.executable, "-I", "-S", "-E", "-B", "-c", program, str(PACKAGE.parent)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {name for name in loaded if not name.startswith("stackup.launcher")} <= {"stackup", "__main__"}
    threads = subprocess.run(
        [
            *command[:6],
            program.split("print")[0] + "print('threading' in sys.modules, 'subprocess' in sys.modules)",
            command[7],
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert threads.stdout.split() == ["False", "False"]
