"""What once went wrong, each with the attack or the accident that showed it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support import COMMAND, IS_ROOT, TestStack, eventually


def helper_pid(stack: TestStack, name: str) -> int | None:
    """The host's PID of one of the launcher's helpers."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == stack.launcher_pid() and (entry / "comm").read_text().strip() == f"stackup-{name}":
                    return int(entry.name)
            except OSError:
                continue
    return None


# --- what a container must not reach ----------------------------------------------------------------------------------


def test_a_container_cannot_turn_a_bind_source_into_a_link_to_elsewhere(stack: TestStack) -> None:
    """The next run would have mounted the link's target, writable and as its owner: /etc, or the caller's keys."""
    secret = stack.directory.parent / "secret"
    secret.mkdir()
    (secret / "key").write_text("the secret\n")
    stack.write(
        f"""
services:
  evil:
    command: ["sh", "-c", "cat /x/key; rmdir data && ln -s {secret} data; exit 1"]
    restart: always
    volumes: ["./data:/x"]
"""
    )
    stack.run("up", "-d")
    log = stack.state / "stacks" / stack.name / "events.jsonl"
    eventually(lambda: "symbolic link" in log.read_text())
    assert (stack.directory / "data").is_symlink()
    assert "the secret" not in stack.logs("evil")
    refused = stack.run("up", "-d", check=False)
    assert refused.code == 1
    assert "name the directory that is meant itself" in refused.stderr


def test_a_missing_bind_source_is_not_made_behind_a_link(stack: TestStack) -> None:
    elsewhere = stack.directory.parent / "elsewhere"
    elsewhere.mkdir()
    (stack.directory / "link").symlink_to(elsewhere)
    stack.write('services:\n  web:\n    command: sleep MARK\n    volumes: ["./link/new:/x", "./made/here:/y"]\n')
    refused = stack.run("up", "-d", check=False)
    assert refused.code == 1
    assert "symbolic link" in refused.stderr
    assert list(elsewhere.iterdir()) == []
    (stack.directory / "link").unlink()
    stack.run("up", "-d")
    assert (stack.directory / "made" / "here").is_dir()


def test_protected_files_stay_so_through_every_mount(stack: TestStack) -> None:
    """`.:/app` is the project directory once more: through it a container could write what is run next."""
    file = stack.write('services:\n  web:\n    command: sleep MARK\n    volumes: [".:/app", "./stack.yaml:/one"]\n')
    stack.run("up", "-d")
    before = file.read_text()
    for attempt in ("echo '#' >> /app/stack.yaml", "echo '#' >> /one", "mv /app/stack.yaml /app/x", "touch /app/new"):
        done = stack.run("exec", "-T", "web", "sh", "-c", attempt, check=False)
        assert (done.code == 0) == (attempt == "touch /app/new"), attempt
    assert file.read_text() == before


def test_the_control_sockets_cannot_be_reached_through_a_bind(stack: TestStack) -> None:
    state = stack.directory / "state"
    stack.state, stack.environment["STACKUP_STATE"] = state, str(state)
    stack.write(f'services:\n  web:\n    command: sleep MARK\n    volumes: ["..:/up", "{state}:/direct"]\n')
    stack.run("up", "-d")
    for path in (state, Path("/up", stack.directory.name, "state"), Path("/direct")):
        assert stack.run("exec", "-T", "web", "ls", "-A", str(path)).stdout == ""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names system calls by their x86_64 numbers")
def test_the_callers_keys_stay_with_the_caller(stack: TestStack) -> None:
    """exec passes the session keyring on; a container that has it may read tickets and disk keys."""
    describe = (
        "import ctypes; libc = ctypes.CDLL(None); text = ctypes.create_string_buffer(200); "
        "libc.syscall(250, 6, -3, text, 199, 0); print(text.value.decode())"
    )
    stack.write(f"services:\n  web:\n    command: [python3, -c, {json.dumps(describe)}]\n")
    join = "import ctypes, os, sys; ctypes.CDLL(None).syscall(250, 1, b'callers'); os.execv(sys.argv[1], sys.argv[1:])"
    command = [COMMAND[0], "-c", join, *COMMAND, "up", "-d"]
    subprocess.run(command, cwd=stack.directory, env=stack.environment, check=True, capture_output=True)
    described = eventually(lambda: stack.logs("web"))
    assert described.startswith("keyring;")
    assert "callers" not in described


def test_a_service_that_is_not_root_may_open_its_own_stdout(stack: TestStack) -> None:
    user = "    user: nobody\n" if IS_ROOT else ""
    stack.write(f'services:\n  web:\n    command: ["sh", "-c", "echo said > /dev/stdout"]\n{user}')
    stack.run("up", "-d")
    eventually(lambda: "said" in stack.logs("web"))


def test_down_finishes_what_a_killed_down_began_to_remove(stack: TestStack) -> None:
    half_removed = stack.state / "stacks" / ".removed-1-1"
    stack.state.mkdir(mode=0o700)
    (half_removed / "logs").mkdir(parents=True)
    stack.write("services:\n  web:\n    command: sleep MARK\n")
    assert "nothing to do" in stack.run("down").all
    assert stack.leftovers() == []


# --- what must go on --------------------------------------------------------------------------------------------------


def test_networks_can_be_added_to_a_stack_that_runs(stack: TestStack) -> None:
    """The kernel numbers links too: a new bridge got the number of a container's link."""
    file = "services:\n" + "".join(f"  s{number}:\n    command: sleep MARK\n" for number in range(4))
    stack.write(file)
    stack.run("up", "-d")
    stack.write(file + "    networks: [one, two, three]\nnetworks: {one: {}, two: {}, three: {}}\n")
    stack.run("up", "-d")
    assert len(stack.container("s3")["Networks"]) == 3


def test_a_probe_may_say_more_than_a_pipe_holds(stack: TestStack) -> None:
    stack.write(
        """
services:
  web:
    command: sleep MARK
    healthcheck: {test: ["CMD-SHELL", "head -c 300000 /dev/zero"], interval: 1s, timeout: 5s, retries: 1}
"""
    )
    stack.run("up", "-d", "--wait")
    assert stack.container("web")["Health"] == "healthy"


def test_helpers_that_are_killed_know_everything_again(stack: TestStack) -> None:
    """A table that was sent to a helper which had just died was lost for good."""
    stack.write("services:\n  a:\n    command: sleep MARK\n  b:\n    command: sleep MARK\n    scale: 1\n")
    stack.run("up", "-d")

    def addresses() -> set[str]:
        said = stack.run("exec", "-T", "a", "getent", "ahostsv4", "b", check=False).stdout
        return {line.split()[0] for line in said.splitlines()}

    eventually(lambda: len(addresses()) == 1)
    for scale in (2, 3):
        dns = eventually(lambda: helper_pid(stack, "dns"))
        os.kill(dns, signal.SIGSTOP)
        stack.write(f"services:\n  a:\n    command: sleep MARK\n  b:\n    command: sleep MARK\n    scale: {scale}\n")
        os.kill(dns, signal.SIGKILL)
        stack.run("up", "-d")
        eventually(lambda expected=scale: len(addresses()) == expected)
    for name in ("logs", "relay", "dns"):
        pid = helper_pid(stack, name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
    stack.run("exec", "-T", "a", "true")
    eventually(lambda: len(addresses()) == 3)


def test_an_environment_that_cannot_be_passed_is_said(stack: TestStack) -> None:
    stack.write('services:\n  web:\n    command: sleep MARK\n    environment: {BROKEN: "a\\0b"}\n')
    failed = stack.run("up", "-d", check=False)
    assert failed.code != 0
    assert "BROKEN" in failed.all or "null byte" in failed.all, failed.all


@pytest.mark.skipif(not IS_ROOT, reason="mounts a small file system")
def test_a_full_disk_neither_ends_supervision_nor_prevents_down(stack: TestStack) -> None:
    stack.state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "small", stack.state], check=True)
    try:
        stack.write("services:\n  web:\n    command: sleep MARK\n    restart: always\n")
        stack.run("up", "-d")
        (supervisor,) = stack.supervisor_pids()
        fill = stack.state / "fill"
        with fill.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        before = stack.pids()["web-1"]
        stack.kill(before)
        eventually(lambda: stack.pids().get("web-1") not in (None, before))
        assert stack.supervisor_pids() == [supervisor]
        stack.run("down")
        assert stack.leftovers() == []
    finally:
        subprocess.run(["umount", "-l", stack.state], check=True)


def test_a_network_keeps_its_hardware_address_when_containers_join(stack: TestStack) -> None:
    """A bridge took the lowest address of its ports: those who knew another one were cut off for half a minute."""
    file = "services:\n  a:\n    command: sleep MARK\n  b:\n    command: sleep MARK\n    scale: {scale}\n"
    stack.write(file.replace("{scale}", "1"))
    stack.run("up", "-d")
    look = ["exec", "-T", "a", "sh", "-c", "getent hosts b > /dev/null; grep 0x2 /proc/net/arp"]
    before = stack.run(*look).stdout
    stack.write(file.replace("{scale}", "12"))
    stack.run("up", "-d")
    gateway = before.split()[0]
    assert f"{gateway} " in before
    assert stack.run("exec", "-T", "a", "getent", "hosts", f"{stack.name}-b-12").code == 0
    assert stack.run(*look).stdout.split()[3] == before.split()[3]


def test_what_is_watched_may_be_replaced(stack: TestStack) -> None:
    """An editor's save by rename and a git checkout make new inodes: the watch stayed with the old ones."""
    source, single = stack.directory / "src", stack.directory / "one.conf"
    source.mkdir()
    single.write_text("0")
    stack.write(
        """
services:
  copied:
    command: sleep MARK
    develop: {watch: [{path: src, action: sync, target: /tmp/app}]}
  restarted:
    command: sleep MARK
    develop: {watch: [{path: one.conf, action: restart}]}
"""
    )
    stack.run("up", "-d")

    def content() -> str:
        return stack.run("exec", "-T", "copied", "cat", "/tmp/app/page", check=False).stdout

    def save(text: str) -> str:
        (source / "page").write_text(text)
        return text

    first = eventually(lambda: content() == save("first"))  # until the watch is there
    for text in ("second", "third"):
        shutil.rmtree(source)
        source.mkdir()
        eventually(lambda text=text: content() == save(text))
    assert first
    for count in (1, 2):
        new = single.with_suffix(".new")
        new.write_text(str(count))
        new.rename(single)
        eventually(lambda count=count: stack.container("restarted")["Restarts"] == count)


def test_what_the_host_refused_is_tried_again(stack: TestStack) -> None:
    stack.write(
        """
services:
  web:
    command: sleep MARK
    volumes: [{type: bind, source: ./later, target: /srv/later, bind: {create_host_path: false}}]
"""
    )
    failed = stack.run("up", "-d", check=False)
    assert failed.code == 1
    assert "later" in failed.stderr
    (stack.directory / "later").mkdir()
    eventually(lambda: "web-1" in stack.pids())


def test_a_helper_that_does_not_listen_is_replaced(stack: TestStack) -> None:
    stack.write('services:\n  web:\n    command: ["sh", "-c", "echo hello; exec sleep MARK"]\n')
    stack.run("up", "-d")
    helper = eventually(lambda: helper_pid(stack, "logs"))
    stack.kill(helper, signal.SIGSTOP)
    eventually(lambda: stack.run("restart", "-t", "0").code == 0 and helper_pid(stack, "logs") != helper, 120)
    eventually(lambda: "hello" in stack.logs())
