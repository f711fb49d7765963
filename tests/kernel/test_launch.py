"""Launches that fail say which step and why, with the exit code of shells; `init: true` puts a reaper in front."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel import inside
from tests.support import IS_ROOT, TestStack, eventually

NewStack = Callable[[], TestStack]

FILE = """
services:
  not-found:
    command: no-such-program
  path-not-found:
    command: /no/such/program
  not-executable:
    command: ./plain-file
  directory:
    command: /etc
  no-interpreter:
    command: ./orphan-script
  no-format:
    command: ./garbage
  relative:
    command: ./hello
  own-path:
    command: hello
    environment: {PATH: "bin:/usr/bin:/bin"}
  no-directory:
    command: sleep MARK
    working_dir: /no/such/directory
"""


@pytest.fixture(scope="module")
def stack(place: TestStack) -> TestStack:
    for name, text, mode in (
        ("plain-file", "no program", 0o644),
        ("orphan-script", "#!/no/such/interpreter\n", 0o755),
        ("garbage", "\x01\x02\x03", 0o755),
        ("hello", "#!/bin/sh\necho hello\n", 0o755),
        ("bin/hello", "#!/bin/sh\necho from bin\n", 0o755),
    ):
        path = place.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    place.write(FILE)
    place.run("up", "-d", check=False)
    return place


CASES = {
    "not-found": (127, "no-such-program: not found in the container's PATH"),
    "path-not-found": (127, "/no/such/program: not found"),
    "not-executable": (126, "plain-file is not executable"),
    "directory": (126, "/etc is not executable"),
    "no-interpreter": (127, "orphan-script exists, but its interpreter or loader does not"),
    "no-format": (126, "garbage is no program"),
    "no-directory": (125, "the working directory /no/such/directory does not exist in the container"),
}


@pytest.mark.parametrize("service", CASES)
def test_a_launch_that_fails_has_the_shells_code_and_names_its_reason(stack: TestStack, service: str) -> None:
    code, reason = CASES[service]
    ended = eventually(lambda: (now := stack.container(service))["State"] == "exited" and now)
    assert ended["ExitCode"] == code
    events = (stack.state / "stacks" / stack.name / "events.jsonl").read_text()
    assert reason in events


def test_programs_of_the_project_are_found_by_path(stack: TestStack) -> None:
    assert inside.output(stack, "relative") == "hello\n"
    assert inside.output(stack, "own-path") == "from bin\n"


def test_up_ends_with_the_failure_of_a_launch(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.write(
        "services:\n  db:\n    command: no-such-program\n"
        "  web:\n    command: sleep MARK\n    depends_on: {db: {condition: service_completed_successfully}}\n"
    )
    failed = stack.run("up", "-d", "--wait", check=False)
    assert failed.code == 1
    for words in ("db", "no-such-program: not found", "web"):
        assert words in failed.all
    assert stack.pids() == {}


@pytest.mark.skipif(IS_ROOT and not os.path.isdir("/root"), reason="needs a hidden directory that we may write to")
def test_a_program_that_containers_do_not_see_is_an_error_with_the_line_that_shows_it(new_stack: NewStack) -> None:
    stack = new_stack()
    tools = Path.home() / f".stackup-test-{os.getpid()}" / "bin"
    tools.mkdir(parents=True)
    try:
        tool = tools / "tool"
        tool.write_text("#!/bin/sh\necho shown\n")
        tool.chmod(0o755)
        stack.environment["PATH"] = f"{tools}:{stack.environment['PATH']}"
        stack.write("services:\n  web:\n    command: tool\n")
        failed = stack.run("up", "-d", check=False)
        assert failed.code == 1
        assert f"{tool} lies in a directory that containers do not see" in failed.stderr
        assert f"show: [{tools.parent}]" in failed.stderr
        assert stack.ps() == {}
        path = f"{tools}:{inside.PATH}"
        stack.write(
            "services:\n  web:\n    command: tool\n"
            f"    environment: {{PATH: '{path}'}}\n    x-stackup: {{rootfs: {{show: ['{tools.parent}']}}}}\n"
        )
        if os.stat(Path.home()).st_mode & 0o001 or not IS_ROOT:
            stack.run("up", "-d")
            assert inside.output(stack, "web") == "shown\n"
    finally:
        shutil.rmtree(tools.parent)


@pytest.fixture
def with_init(new_stack: NewStack) -> TestStack:
    if not (shutil.which("tini") or shutil.which("catatonit")):
        pytest.skip("no init program is installed: apt-get install tini")
    stack = new_stack()
    stack.write(
        "services:\n  web:\n    init: true\n"
        '    command: ["sh", "-c", "trap \'echo bye; exit 3\' TERM; echo up; while :; do sleep 0.05; done"]\n'
    )
    stack.run("up", "-d")
    eventually(lambda: "up" in stack.logs())
    return stack


def test_init_is_pid_1_and_reaps_orphans(with_init: TestStack) -> None:
    assert inside.run(with_init, "web", "cat", "/proc/1/comm").stdout.strip() in ("tini", "catatonit")
    inside.run(with_init, "web", "sh", "-c", "(sh -c 'exec sleep 0' &) ; true")
    program = (
        "answer = [entry for entry in os.listdir('/proc') if entry.isdigit()\n"
        "          and open(f'/proc/{entry}/stat').read().rpartition(')')[2].split()[0] == 'Z']"
    )
    eventually(lambda: inside.python(with_init, "web", program) == [])


def test_init_forwards_the_stop_signal_and_the_exit_code(with_init: TestStack) -> None:
    with_init.run("stop")
    assert "bye" in with_init.logs()
    assert with_init.container("web")["ExitCode"] == 3


def test_exit_codes_and_signals_of_programs(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.write(
        """
services:
  zero: {command: ["true"]}
  five: {command: ["sh", "-c", "exit 5"]}
  killed: {command: ["sh", "-c", "sleep MARK"]}
"""
    )
    stack.run("up", "-d")
    stack.kill(stack.pids()["killed-1"])
    for service, code in (("zero", 0), ("five", 5), ("killed", 137)):
        ended = eventually(lambda service=service: (now := stack.container(service))["State"] == "exited" and now)  # type: ignore[misc]
        assert ended["ExitCode"] == code
