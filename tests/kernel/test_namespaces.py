"""A container is a process in namespaces of its own: seven of them, nobody else's, and two kept over a restart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel import inside
from tests.support import TestStack, eventually

KINDS = ("user", "pid", "mnt", "uts", "ipc", "net", "cgroup")


@pytest.fixture(scope="module")
def stack(place: TestStack) -> TestStack:
    place.write("services:\n  one:\n    command: sleep MARK\n  two:\n    command: sleep MARK\n    hostname: second\n")
    place.run("up", "-d")
    return place


def namespaces(pid: int | str) -> dict[str, str]:
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_each_container_has_its_own_namespace(stack: TestStack, kind: str) -> None:
    pids = stack.pids()
    found = [namespaces(pid)[kind] for pid in ("self", stack.launcher_pid(), pids["one-1"], pids["two-1"])]
    if kind == "cgroup":
        found.pop(1)  # the launcher makes no groups, and stays where it was started
    assert len(set(found)) == len(found)


def test_a_command_runs_in_the_namespaces_of_its_container(stack: TestStack) -> None:
    program = f"answer = {{kind: os.readlink(f'/proc/self/ns/{{kind}}') for kind in {KINDS}}}"
    assert inside.python(stack, "one", program) == namespaces(stack.pids()["one-1"])


def test_restart_keeps_the_user_and_network_namespaces(stack: TestStack) -> None:
    before = stack.pids()["one-1"]
    kept = namespaces(before)
    stack.run("restart", "one")
    after = stack.pids()["one-1"]
    assert after != before
    now = namespaces(after)
    assert (now["user"], now["net"]) == (kept["user"], kept["net"])


def test_the_program_is_pid_1_and_sees_only_its_own_processes(stack: TestStack) -> None:
    assert stack.container("one")["InnerPid"] == 1
    program = (
        "answer = {}\n"
        "for entry in os.listdir('/proc'):\n"
        "    if entry.isdigit():\n"
        "        answer[entry] = open(f'/proc/{entry}/cmdline').read().split(chr(0))[0]\n"
    )
    assert set(inside.python(stack, "one", program).values()) == {"sleep", "python3"}
    assert inside.python(stack, "one", program)["1"] == "sleep"


def test_the_name_of_the_machine_is_the_containers(stack: TestStack) -> None:
    assert inside.run(stack, "one", "uname", "-n").stdout.strip() == f"{stack.name}-one-1"
    assert inside.run(stack, "two", "uname", "-n").stdout.strip() == "second"
    assert os.uname().nodename not in ("second", f"{stack.name}-one-1")


def test_shared_memory_and_message_queues_are_not_shared(stack: TestStack) -> None:
    inside.run(stack, "one", "touch", "/dev/shm/mine", "/dev/mqueue/mine")
    assert inside.run(stack, "two", "ls", "/dev/shm", "/dev/mqueue").stdout.split() == ["/dev/mqueue:", "/dev/shm:"]
    assert not os.path.exists("/dev/shm/mine")


def test_the_network_holds_the_containers_interfaces_and_nothing_of_the_host(stack: TestStack) -> None:
    assert inside.python(stack, "one", "answer = sorted(name for _, name in socket.if_nameindex())") == ["eth0", "lo"]
    assert inside.python(stack, "one", "answer = sorted(os.listdir('/sys/class/net'))") == ["eth0", "lo"]
    inside.python(stack, "one", "socket.create_server(('127.0.0.1', 0)).close()")


def test_the_control_group_looks_like_the_root(stack: TestStack) -> None:
    for line in inside.run(stack, "one", "cat", "/proc/self/cgroup").stdout.splitlines():
        assert line.rpartition(":")[2] == "/", line


def test_death_of_pid_1_ends_everything_in_the_container(stack: TestStack) -> None:
    mark = f"{stack.mark}7"
    inside.run(stack, "two", "sh", "-c", f"sleep {mark} >/dev/null 2>&1 &")
    alive = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit() and _runs(entry, mark)]
    assert len(alive) == 1
    stack.run("restart", "two")
    eventually(lambda: not any(_runs(entry, mark) for entry in alive))


def _runs(entry: Path, mark: str) -> bool:
    try:
        return mark.encode() in (entry / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
