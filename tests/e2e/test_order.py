"""Gates: who starts when, and what is said when a dependency fails."""

from __future__ import annotations

import json
import time

from tests.support import TestStack, eventually


def events(stack: TestStack) -> list[dict[str, object]]:
    log = stack.state / "stacks" / stack.name / "events.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


def position(stack: TestStack, **wanted: object) -> int:
    """The place of the first event that has these fields."""
    for number, event in enumerate(events(stack)):
        if all(event.get(key) == value for key, value in wanted.items()):
            return number
    raise AssertionError(f"no event {wanted} in {events(stack)}")


def test_each_condition_is_met_before_its_dependent_starts(stack: TestStack) -> None:
    stack.write(
        """
services:
  slow:
    command: ["sh", "-c", "sleep 0.3; touch /tmp/ready; exec sleep MARK"]
    healthcheck: {test: ["CMD", "test", "-e", "/tmp/ready"]}
  seed:
    command: ["sh", "-c", "sleep 0.2"]
  web:
    command: sleep MARK
    depends_on:
      slow: {condition: service_healthy}
      seed: {condition: service_completed_successfully}
"""
    )
    began = time.monotonic()
    stack.run("up", "-d", "--wait")
    assert time.monotonic() - began < 10, "the default interval of 30 s must not delay the first success"
    start = position(stack, type="action", action="start", object=f"{stack.name}-web-1")
    assert position(stack, container=f"{stack.name}-slow-1", health="healthy") < start
    assert position(stack, container=f"{stack.name}-seed-1", state="exited") < start


def test_independent_services_start_together(stack: TestStack) -> None:
    stack.write("services:\n" + "".join(f"  s{number}:\n    command: sleep MARK\n" for number in range(8)))
    stack.run("up", "-d")
    starts = [n for n, event in enumerate(events(stack)) if event.get("action") == "start"]
    running = [n for n, event in enumerate(events(stack)) if event.get("state") == "running"]
    assert len(starts) == len(running) == 8
    assert max(starts) < min(running), "no start waited for another's exec"


FAILING = """
services:
  db:
    command: ["sh", "-c", "for n in $$(seq 30); do echo line $$n; done; echo broken >&2; exit 3"]
  api:
    command: sleep MARK
    depends_on: {db: {condition: CONDITION}}
  web:
    command: sleep MARK
    depends_on: [api]
"""


def test_a_failed_dependency_ends_up_at_once_with_everything_known(stack: TestStack) -> None:
    stack.write(FAILING.replace("CONDITION", "service_completed_successfully"))
    began = time.monotonic()
    failed = stack.run("up", "-d", check=False)
    assert time.monotonic() - began < 10
    assert failed.code == 1
    for part in ("db", "service_completed_successfully", "exited 3", "line 30", "broken", "api", "web"):
        assert part in failed.stderr, failed.stderr
    assert "line 11\n" not in failed.stderr, "only the last 20 lines"
    assert stack.pids() == {}


def test_an_unhealthy_dependency_shows_its_last_probe(stack: TestStack) -> None:
    stack.write(
        """
services:
  db:
    command: sleep MARK
    healthcheck: {test: ["CMD-SHELL", "echo no connection; exit 1"], interval: 100ms, retries: 2}
  web:
    command: sleep MARK
    depends_on: {db: {condition: service_healthy}}
"""
    )
    failed = stack.run("up", "-d", check=False)
    assert failed.code == 1
    assert "no connection" in failed.stderr
    assert "unhealthy" in failed.stderr
    assert list(stack.pids()) == ["db-1"]


def test_a_foreground_up_that_fails_leaves_nothing(stack: TestStack) -> None:
    stack.write(FAILING.replace("CONDITION", "service_completed_successfully"))
    process = stack.start("up")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "exited 3" in output
    assert stack.leftovers() == []


def test_an_optional_dependency_only_warns(stack: TestStack) -> None:
    stack.write(
        """
services:
  extra:
    command: "false"
  web:
    command: sleep MARK
    depends_on: {extra: {condition: service_completed_successfully, required: false}}
"""
    )
    done = stack.run("up", "-d")
    assert "extra" in done.stderr
    eventually(lambda: "web-1" in stack.pids())


def test_gates_hold_on_restart_too(stack: TestStack) -> None:
    stack.write(
        """
services:
  db:
    command: ["sh", "-c", "rm -f /tmp/ready; sleep 0.3; touch /tmp/ready; exec sleep MARK"]
    healthcheck: {test: ["CMD", "test", "-e", "/tmp/ready"], interval: 1s}
  web:
    command: sleep MARK
    depends_on: {db: {condition: service_healthy, restart: true}}
"""
    )
    stack.run("up", "-d", "--wait")
    before = stack.pids()
    stack.run("restart", "db")
    after = eventually(lambda: len(now := stack.pids()) == 2 and now)
    assert before["web-1"] != after["web-1"]
    log = events(stack)
    web = [
        n for n, event in enumerate(log) if event.get("action") == "start" and str(event["object"]).endswith("web-1")
    ]
    healthy = [n for n, event in enumerate(log) if event.get("health") == "healthy"]
    stopped = [n for n, event in enumerate(log) if event.get("action") == "stop"]
    assert log[stopped[0]]["object"] == f"{stack.name}-web-1", "dependents stop first"
    assert healthy[1] < web[1], "the dependent's new run waits for the new health"


def test_a_command_that_does_not_exist_is_said(stack: TestStack) -> None:
    stack.write("services:\n  web:\n    command: no-such-program\n")
    failed = stack.run("up", "-d", check=False)
    assert failed.code == 1
    assert "no-such-program: not found" in failed.stderr
    assert stack.container("web")["ExitCode"] == 127
