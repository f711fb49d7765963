"""What a program is given: capabilities, signals, descriptors, environment and limits, whatever its caller had."""

from __future__ import annotations

import resource
import subprocess

import pytest

from tests.kernel import inside
from tests.support import COMMAND, IS_ROOT, TestStack, eventually

FILE = """
services:
  root:
    command: ["cat", "/proc/self/status"]
  user:
    command: ["cat", "/proc/self/status"]
    user: "1234"
  descriptors:
    command: ["ls", "/proc/self/fd"]
  environment:
    command: ["env"]
  own-environment:
    command: ["env"]
    environment: {COLOUR: blue, PATH: /bin:/usr/bin, EMPTY: ""}
  limits:
    command: ["cat", "/proc/self/limits"]
  session:
    command: ["cat", "/proc/self/stat"]
  stdin:
    command: ["cat"]
  sleeper:
    command: sleep MARK
"""

HOSTILE = """
trap "" HUP INT PIPE TERM USR1 CHLD
umask 000
ulimit -c unlimited 2>/dev/null
ulimit -Sn 4096
exec 7</etc/passwd 8>&1 40</
SECRET=leaked LD_PRELOAD= exec "$@"
"""
"""A caller that leaves everything open that can be: ignored signals, descriptors, limits, its environment."""


@pytest.fixture(scope="module")
def stack(place: TestStack) -> TestStack:
    place.write(FILE)
    command = ["bash", "-c", HOSTILE, "sh", *COMMAND, "up", "-d"]
    done = subprocess.run(
        command, cwd=place.directory, env=place.environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def root(stack: TestStack) -> dict[str, str]:
    return inside.status(inside.output(stack, "root"))


@pytest.fixture(scope="module")
def user(stack: TestStack) -> dict[str, str]:
    return inside.status(inside.output(stack, "user"))


@pytest.fixture(scope="module")
def command(stack: TestStack) -> dict[str, str]:
    """The status of a command that exec starts in a running container."""
    return inside.status(inside.run(stack, "sleeper", "cat", "/proc/self/status").stdout)


@pytest.fixture(params=["root", "user", "command"])
def found(request: pytest.FixtureRequest) -> dict[str, str]:
    status: dict[str, str] = request.getfixturevalue(request.param)
    return status


def test_no_new_privileges(found: dict[str, str]) -> None:
    assert found["NoNewPrivs"] == "1"


def test_the_bounding_set_holds_eleven_capabilities(found: dict[str, str]) -> None:
    assert int(found["CapBnd"], 16) == inside.CAPABILITIES


def test_nothing_is_inheritable_or_ambient(found: dict[str, str]) -> None:
    assert (int(found["CapInh"], 16), int(found["CapAmb"], 16)) == (0, 0)


@pytest.mark.parametrize("name", ["SigBlk", "SigIgn", "SigCgt"])
def test_all_signals_have_their_default_action(found: dict[str, str], name: str) -> None:
    assert int(found[name], 16) == 0


def test_the_umask_is_the_usual_one(found: dict[str, str]) -> None:
    assert found["Umask"] == "0022"


def test_a_user_has_no_capability(user: dict[str, str]) -> None:
    assert (int(user["CapPrm"], 16), int(user["CapEff"], 16)) == (0, 0)
    assert set(user["Uid"].split()) == {"1234"}


@pytest.mark.skipif(not IS_ROOT, reason="with one id a service without `user:` runs as the caller")
def test_root_of_a_container_has_the_bounding_set(root: dict[str, str], command: dict[str, str]) -> None:
    for found in (root, command):
        assert (int(found["CapPrm"], 16), int(found["CapEff"], 16)) == (inside.CAPABILITIES, inside.CAPABILITIES)


def test_there_is_no_tracer_and_one_thread(found: dict[str, str]) -> None:
    assert (found["TracerPid"], found["Threads"]) == ("0", "1")


def test_no_descriptor_is_inherited(stack: TestStack) -> None:
    # The fourth is the directory that ls itself reads.
    assert inside.output(stack, "descriptors").split() == ["0", "1", "2", "3"]
    assert inside.run(stack, "sleeper", "ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]


def test_standard_input_is_empty(stack: TestStack) -> None:
    eventually(lambda: stack.container("stdin")["State"] == "exited")
    assert stack.container("stdin")["ExitCode"] == 0
    assert inside.run(stack, "sleeper", "readlink", "/proc/1/fd/0").stdout.strip() == "/dev/null"


def test_the_environment_is_clean(stack: TestStack) -> None:
    found = dict(line.split("=", 1) for line in inside.output(stack, "environment").splitlines())
    home = inside.run(stack, "sleeper", "sh", "-c", "echo $HOME").stdout.strip()
    assert found == {"PATH": inside.PATH, "HOME": home, "HOSTNAME": f"{stack.name}-environment-1"}


def test_the_environment_is_that_of_the_file(stack: TestStack) -> None:
    found = dict(line.split("=", 1) for line in inside.output(stack, "own-environment").splitlines())
    assert found.keys() == {"PATH", "HOME", "HOSTNAME", "COLOUR", "EMPTY"}
    assert (found["COLOUR"], found["PATH"], found["EMPTY"]) == ("blue", "/bin:/usr/bin", "")


def test_limits_are_not_the_callers(stack: TestStack) -> None:
    found = {line[:26].strip(): line[26:].split()[:2] for line in inside.output(stack, "limits").splitlines()[1:]}
    ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    hard = min(524288, ceiling) if ceiling != resource.RLIM_INFINITY else 524288
    assert found["Max core file size"] == ["0", "0"]
    assert found["Max open files"] == [str(min(1024, hard)), str(hard)]


def test_the_program_leads_its_own_session_without_a_terminal(stack: TestStack) -> None:
    pid, _, fields = inside.output(stack, "session").partition(" ")
    process_group, session, terminal = fields.rpartition(")")[2].split()[2:5]
    assert (pid, process_group, session, terminal) == ("1", "1", "1", "0")


def test_namespaces_give_no_way_back(stack: TestStack) -> None:
    """Root inside can neither mount, nor trace, nor load, nor leave."""
    program = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(name, *arguments):\n"
        "    result = getattr(libc, name)(*arguments)\n"
        "    return errno.errorcode[ctypes.get_errno()] if result < 0 else 'done'\n"
        "answer = {'mount': call('mount', b'x', b'/tmp', b'tmpfs', 0, None), 'umount': call('umount2', b'/root', 2),\n"
        "          'chroot out': call('unshare', 0x20000), 'hostname': call('sethostname', b'x', 1),\n"
        "          'reboot': call('reboot', 0x1234567), 'swap': call('swapon', b'/dev/null', 0)}\n"
    )
    assert set(inside.python(stack, "sleeper", program).values()) == {"EPERM"}
