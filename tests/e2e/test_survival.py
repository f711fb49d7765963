"""What is left when parts of stackup are killed, at rest and at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import COMMAND, TestStack, eventually, processes_matching

FILE = """
services:
  db:
    command: sleep MARK
    healthcheck: {test: ["CMD", "true"], interval: 1s}
  api:
    command: sleep MARK
    scale: 3
    restart: always
    depends_on: {db: {condition: service_healthy}}
  web:
    command: sleep MARK
    depends_on: [api]
"""


def test_services_survive_the_supervisor_and_the_next_command_adopts_them(stack: TestStack) -> None:
    stack.write(FILE)
    stack.run("up", "-d", "--wait")
    before = stack.pids()
    (supervisor,) = stack.supervisor_pids()
    stack.kill(supervisor)
    eventually(lambda: not stack.supervisor_pids())
    assert stack.pids() == before
    assert "nothing to do" in stack.run("up", "-d").all
    assert stack.pids() == before
    (supervisor,) = stack.supervisor_pids()
    stack.kill(supervisor)
    stack.run("restart", "web")
    after = stack.pids()
    assert {name for name in before if before[name] != after[name]} == {"web-1"}


def test_a_crash_while_nobody_supervises_is_repaired_by_the_next_supervisor(stack: TestStack) -> None:
    stack.write(FILE)
    stack.run("up", "-d", "--wait")
    (supervisor,) = stack.supervisor_pids()
    stack.kill(supervisor)
    eventually(lambda: not stack.supervisor_pids())
    stack.kill(stack.pids()["api-2"])
    eventually(lambda: "api-2" not in stack.pids())
    assert stack.ps()[f"{stack.name}-api-2"]["ExitCode"] == 137
    stack.run("up", "-d", "--wait")
    assert len(stack.pids()) == 5


def test_killing_the_launcher_ends_everything_within_a_second(stack: TestStack) -> None:
    stack.write(FILE)
    stack.run("up", "-d", "--wait")
    stack.kill(stack.launcher_pid())
    eventually(lambda: not processes_matching(f"sleep {stack.mark}"), timeout=1)
    eventually(lambda: not [item for item in stack.leftovers() if item.startswith(("process", "mount"))], timeout=5)
    stack.run("up", "-d", "--wait")
    assert len(stack.pids()) == 5


def test_killing_a_foreground_up_ends_its_stack_within_a_second(stack: TestStack) -> None:
    stack.write(FILE)
    process = stack.start("up")
    eventually(lambda: len(stack.pids()) == 5)
    process.kill()
    process.wait()
    eventually(lambda: not processes_matching(f"sleep {stack.mark}"), timeout=1)
    eventually(lambda: stack.leftovers() == [], timeout=5)


def test_a_detached_stack_survives_its_terminal(stack: TestStack) -> None:
    stack.write(FILE)
    session = subprocess.Popen(
        ["setsid", "sh", "-c", " ".join(COMMAND) + " up -d --wait >/dev/null 2>&1; kill -HUP 0"],
        cwd=stack.directory,
        env=stack.environment,
    )
    session.wait(timeout=60)
    assert len(stack.pids()) == 5


def test_ps_tells_the_truth_of_a_stack_whose_launcher_is_gone(stack: TestStack) -> None:
    stack.write(FILE)
    stack.run("up", "-d", "--wait")
    for pid in (*stack.supervisor_pids(), stack.launcher_pid()):
        stack.kill(pid)
    eventually(lambda: not processes_matching(f"sleep {stack.mark}"))
    assert stack.ps() == {}
    stack.run("down")
    assert stack.leftovers() == []


def test_two_ups_at_once_make_one_stack(stack: TestStack) -> None:
    stack.write(FILE)
    first, second = stack.start("up", "-d", "--wait"), stack.start("up", "-d", "--wait")
    outputs = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert len(stack.pids()) == 5
    assert len(processes_matching(f"sleep {stack.mark}")) == 5


@pytest.mark.parametrize("victim", ["cli", "supervisor", "launcher"])
@pytest.mark.parametrize("verb", ["up", "down"])
def test_kill_matrix(stack: TestStack, victim: str, verb: str) -> None:
    """SIGKILL at random moments of up and down; then `down` leaves nothing. Five moments for each of six cells."""
    seed = int(os.environ.get("STACKUP_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
    moments = random.Random(f"{seed} {victim} {verb}")
    stack.write(FILE)
    for _ in range(5):
        if verb == "down":
            stack.run("up", "-d", "--wait")
        process = stack.start(verb, *(["-d"] if verb == "up" else []))
        delay = moments.uniform(0, 0.6 if verb == "up" else 0.25)
        try:
            process.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            _kill(stack, victim, process)
        output, _ = process.communicate(timeout=60)
        down = stack.run("down", check=False)
        left = stack.leftovers()
        assert not left, f"seed {seed}, {verb}, {victim} killed after {delay:.3f} s: {left}\n{output}\n{down.all}"


def _kill(stack: TestStack, victim: str, cli: subprocess.Popen[str]) -> None:
    if victim == "cli":
        cli.kill()
    elif victim == "supervisor":
        for pid in stack.supervisor_pids():
            _kill_if_there(pid)
    else:
        for pid in processes_matching(rf"stackup/launcher \d+ {stack.name}$"):
            parent = Path(f"/proc/{pid}/status")
            if parent.exists():
                _kill_if_there(pid)


def _kill_if_there(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
