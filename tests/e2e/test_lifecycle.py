"""Up, no-op, change, restart, stop and down, through the installed program."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import TestStack, eventually

SLEEPERS = """
services:
  db:
    command: sleep MARK
  api:
    command: sleep MARK
    environment: {LEVEL: "1"}
    depends_on: {db: {condition: service_started, restart: true}}
  web:
    command: sleep MARK
    depends_on: [api]
"""


def test_up_runs_every_service_and_up_again_does_nothing(stack: TestStack) -> None:
    stack.write(SLEEPERS)
    stack.run("up", "-d")
    before = stack.pids()
    assert sorted(before) == ["api-1", "db-1", "web-1"]
    again = stack.run("up", "-d")
    assert "nothing to do" in again.all
    assert stack.pids() == before
    assert "nothing to do" in stack.run("plan").stdout


def test_plan_tells_everything_and_does_nothing(stack: TestStack) -> None:
    stack.write(SLEEPERS)
    plan = stack.run("plan").stdout
    for line in ("create network", f"create {stack.name}-db-1", f"start {stack.name}-web-1"):
        assert line in plan
    assert stack.leftovers() == []


def test_a_changed_service_is_recreated_with_its_cause_and_others_keep_their_pids(stack: TestStack) -> None:
    stack.write(SLEEPERS)
    stack.run("up", "-d")
    before = stack.pids()
    stack.write(SLEEPERS.replace('LEVEL: "1"', 'LEVEL: "2"'))
    assert "environment.LEVEL changed: 1 -> 2" in stack.run("plan").stdout
    assert stack.pids() == before
    assert "environment.LEVEL changed: 1 -> 2" in stack.run("up", "-d").all
    after = stack.pids()
    assert after["db-1"] == before["db-1"]
    assert after["web-1"] == before["web-1"]
    assert after["api-1"] != before["api-1"]


def test_dependents_that_ask_for_it_are_restarted_with_what_was_recreated(stack: TestStack) -> None:
    stack.write(SLEEPERS)
    stack.run("up", "-d")
    before = stack.pids()
    stack.write(SLEEPERS.replace("db:\n    command: sleep MARK", "db:\n    command: sleep MARK\n    labels: {a: b}"))
    stack.run("up", "-d")
    after = stack.pids()
    assert after["db-1"] != before["db-1"]
    assert after["api-1"] != before["api-1"]
    assert after["web-1"] == before["web-1"]


def test_services_that_left_the_file_are_removed(stack: TestStack) -> None:
    stack.write(SLEEPERS)
    stack.run("up", "-d")
    before = stack.pids()
    stack.write("services:\n  db:\n    command: sleep MARK\n")
    stack.run("up", "-d")
    assert stack.pids() == {"db-1": before["db-1"]}


def test_stop_start_and_restart(stack: TestStack) -> None:
    stack.write(SLEEPERS)
    stack.run("up", "-d")
    before = stack.pids()
    stack.run("stop", "web")
    assert sorted(stack.pids()) == ["api-1", "db-1"]
    stack.run("start", "web")
    started = stack.pids()
    assert sorted(started) == ["api-1", "db-1", "web-1"]
    assert started["db-1"] == before["db-1"]
    stack.run("restart", "api")
    restarted = stack.pids()
    assert restarted["api-1"] != started["api-1"]
    assert restarted["web-1"] == started["web-1"]
    assert stack.container("api")["Networks"] == stack.container("api")["Networks"]


def test_replicas_scale_up_and_down(stack: TestStack) -> None:
    stack.write("services:\n  web:\n    command: sleep MARK\n    scale: 3\n")
    stack.run("up", "-d")
    before = stack.pids()
    assert sorted(before) == ["web-1", "web-2", "web-3"]
    stack.write("services:\n  web:\n    command: sleep MARK\n    scale: 2\n")
    stack.run("up", "-d")
    assert stack.pids() == {name: before[name] for name in ("web-1", "web-2")}


def test_a_crashed_service_is_restarted_by_its_policy(stack: TestStack) -> None:
    stack.write("services:\n  web:\n    command: sleep MARK\n    restart: always\n  other:\n    command: sleep MARK\n")
    stack.run("up", "-d")
    first = stack.container("web")
    stack.kill(first["Pid"])
    second = eventually(
        lambda: (now := stack.container("web"))["State"] == "running" and now["Pid"] != first["Pid"] and now
    )
    assert second["Networks"] == first["Networks"]
    assert second["Restarts"] == 1
    other = stack.pids()["other-1"]
    stack.kill(other)
    ended = eventually(lambda: (now := stack.container("other"))["State"] == "exited" and now)
    assert ended["ExitCode"] == 137


def test_on_failure_gives_up_after_its_attempts(stack: TestStack) -> None:
    stack.write('services:\n  web:\n    command: ["sh", "-c", "echo run; exit 3"]\n    restart: on-failure:2\n')
    stack.run("up", "-d", check=False)
    eventually(lambda: stack.logs().count("run") == 3)
    ended = eventually(lambda: (now := stack.container("web"))["State"] == "exited" and now)
    assert (ended["ExitCode"], ended["Restarts"]) == (3, 2)


def test_a_service_with_a_handler_gets_its_grace_and_one_without_is_not_waited_for(stack: TestStack) -> None:
    stack.write(
        """
services:
  polite:
    command: ["sh", "-c", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"]
  deaf:
    command: sleep MARK
    stop_grace_period: 1m
"""
    )
    stack.run("up", "-d")
    eventually(lambda: stack.pids().keys() >= {"polite-1", "deaf-1"})
    began = time.monotonic()
    said = stack.run("stop").all
    assert time.monotonic() - began < 30
    assert "has no handler for SIGTERM" in said
    assert "bye" in stack.logs("polite")
    assert stack.container("polite")["ExitCode"] == 0
    assert stack.container("deaf")["ExitCode"] == 137


def test_stop_goes_in_reverse_order(stack: TestStack) -> None:
    script = "trap 'echo stopped; exit 0' TERM; while :; do sleep 0.05; done"
    stack.write(
        f"""
services:
  db:
    command: ["sh", "-c", "{script}"]
  web:
    command: ["sh", "-c", "{script}"]
    depends_on: [db]
"""
    )
    stack.run("up", "-d")
    said = stack.run("down").all
    assert said.index(f"stop {stack.name}-web-1") < said.index(f"stop {stack.name}-db-1")
    assert stack.leftovers() == []


def test_named_volumes_survive_down_and_go_with_minus_v(stack: TestStack) -> None:
    stack.write(
        """
services:
  web:
    command: ["sh", "-c", "cat /data/file; echo kept > /data/file; exec sleep MARK"]
    volumes: ["data:/data"]
volumes: {data: {}}
"""
    )
    stack.run("up", "-d")
    eventually(lambda: "No such file" in stack.logs())
    stack.run("down")
    stack.run("up", "-d")
    eventually(lambda: "kept" in stack.logs())
    stack.run("down", "-v")
    stack.run("up", "-d")
    eventually(lambda: "No such file" in stack.logs())


def test_foreground_up_streams_logs_and_ctrl_c_stops_in_order(stack: TestStack) -> None:
    stack.write(SLEEPERS.replace("command: sleep MARK", 'command: ["sh", "-c", "echo hello; exec sleep MARK"]'))
    process = stack.start("up")
    eventually(lambda: len(stack.pids()) == 3)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert output.count("| hello") == 3
    assert "\x1b" not in output
    assert stack.leftovers() == []


def test_foreground_up_ends_by_itself_when_everything_has_exited(stack: TestStack) -> None:
    stack.write('services:\n  one:\n    command: ["sh", "-c", "echo done"]\n')
    process = stack.start("up")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert "| done" in output
    assert "exited with code 0" in output
    eventually(lambda: stack.leftovers() == [])


def test_completed_one_shots_are_not_run_again(stack: TestStack) -> None:
    stack.write(
        """
services:
  seed:
    command: ["sh", "-c", "echo seeded"]
  web:
    command: sleep MARK
    depends_on: {seed: {condition: service_completed_successfully}}
"""
    )
    stack.run("up", "-d", "--wait")
    stack.run("up", "-d")
    assert stack.logs("seed").count("seeded") == 1
    assert stack.container("seed")["State"] == "exited"


def test_exec_passes_streams_and_exit_codes(stack: TestStack) -> None:
    stack.write("services:\n  web:\n    command: sleep MARK\n    environment: {COLOUR: blue}\n")
    stack.run("up", "-d")
    assert stack.run("exec", "-T", "web", "sh", "-c", "echo $COLOUR; exit 7", check=False).code == 7
    assert stack.run("exec", "-T", "-e", "COLOUR=red", "web", "sh", "-c", "echo $COLOUR").stdout == "red\n"
    assert stack.run("exec", "-T", "web", "cat", input="through\n").stdout == "through\n"
    missing = stack.run("exec", "-T", "web", "no-such-program", check=False)
    assert missing.code == 127
    assert "no-such-program" in missing.all
    assert stack.run("exec", "-T", "web", "/etc/hosts", check=False).code == 126


def test_ps_json_has_the_keys_of_compose_and_our_own(stack: TestStack) -> None:
    stack.write("services:\n  web:\n    command: sleep MARK\n")
    stack.run("up", "-d")
    record = json.loads(stack.run("ps", "--format", "json").stdout)
    assert record.keys() >= set(
        "Command CreatedAt ExitCode Health ID Image Labels Mounts Name Networks Ports Project Publishers RunningFor "
        "Service State Status Pid InnerPid Restarts".split()
    )
    assert (record["InnerPid"], record["State"], record["Service"]) == (1, "running", "web")
    assert stack.mark in Path(f"/proc/{record['Pid']}/cmdline").read_text()


def test_two_stacks_live_side_by_side(new_stack: Callable[[], TestStack]) -> None:
    first, second = new_stack(), new_stack()
    for each in (first, second):
        each.write(SLEEPERS)
        each.run("up", "-d")
    assert first.container("db")["Networks"].keys() != second.container("db")["Networks"].keys()
    first.run("down")
    assert len(second.pids()) == 3
