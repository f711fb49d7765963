"""Control groups: a fork bomb ends at its own container's limit, and nothing of a group is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackup.host.cgroups import DEFAULT_PIDS, find_layout
from tests.kernel import inside
from tests.support import TestStack

pytestmark = pytest.mark.skipif(
    find_layout().version == 0, reason="this user may make no control groups on this machine (stackup doctor says more)"
)

BOMB = """
import threading
gate, started = threading.Event(), 0
try:
    while started < 4000:
        threading.Thread(target=gate.wait, daemon=True).start()
        started += 1
except RuntimeError:
    pass
answer = started
gate.set()
"""


@pytest.fixture(scope="module")
def stack(place: TestStack) -> TestStack:
    place.write("services:\n  one:\n    command: sleep MARK\n  two:\n    command: sleep MARK\n")
    place.run("up", "-d")
    return place


def groups(stack: TestStack, service: str) -> list[Path]:
    """The container's groups; the stack's directory carries a mark, since its state directory is not the default."""
    name = f"{stack.name}-{service}-1"
    found = [top / name for root in find_layout().roots for top in (root / "stackup").glob(f"{stack.name}.*")]
    assert found, "no group was made"
    return found


def test_a_fork_bomb_ends_at_the_limit_and_hurts_nobody_else(stack: TestStack) -> None:
    started = inside.python(stack, "one", BOMB)
    assert DEFAULT_PIDS - 100 < started <= DEFAULT_PIDS
    assert inside.run(stack, "two", "true").code == 0


def test_processes_and_commands_are_in_the_containers_group(stack: TestStack) -> None:
    for group in groups(stack, "one"):
        assert str(stack.pids()["one-1"]) in (group / "cgroup.procs").read_text().split()
    # A command's own group, as seen from inside the container's, is the root of it.
    for line in inside.run(stack, "one", "cat", "/proc/self/cgroup").stdout.splitlines():
        assert line.endswith(":/")


def test_a_restarted_container_is_in_its_group_again(stack: TestStack) -> None:
    stack.run("restart", "two")
    for group in groups(stack, "two"):
        assert str(stack.pids()["two-1"]) in (group / "cgroup.procs").read_text().split()


def test_down_removes_the_groups(new_stack: object) -> None:
    stack: TestStack = new_stack()  # type: ignore[operator]
    stack.write("services:\n  one:\n    command: sleep MARK\n")
    stack.run("up", "-d")
    found = groups(stack, "one")
    assert found
    assert all(group.is_dir() for group in found)
    stack.run("down")
    assert not any(group.parent.exists() for group in found)
