"""Verbs against a supervisor that answers, refuses, breaks off, or cannot be started."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from stackup.cli import client
from stackup.cli.client import ConnectionLost, call, connect, open_connection, supervisor_command
from stackup.errors import HostError
from stackup.statedir import StackDir, StateDir

from .conftest import Place
from .fakes import Client, FakeSupervisor


def stop_web(connection: Client) -> None:
    connection.event("action", action="stop", object="demo-web-1", cause="stopped by hand")
    connection.result()


def test_a_request_its_events_and_its_result(place: Place) -> None:
    supervisor = FakeSupervisor(place.control, stop_web)
    done = place.run("stop", "-t", "3", "web")
    supervisor.finish()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "stop demo-web-1  (stopped by hand)\n")
    assert supervisor.requests == [{"verb": "stop", "services": ["web"], "timeout": 3.0}]


def test_up_sends_its_source_and_says_where_to_go(place: Place) -> None:
    published = {"service": "web", "address": "127.0.0.1", "port": 8080, "target": 80, "protocol": "tcp"}
    result = {"containers": ["a", "b"], "published": [published], "warnings": ["the variable X is not set"]}
    supervisor = FakeSupervisor(place.control, lambda connection: connection.result(**result))
    done = place.run("up", "--wait", "--wait-timeout", "9", "-t", "2", "web", "--profile", "dev")
    supervisor.finish()
    assert done.stderr == (
        "warning: the variable X is not set\ndemo: nothing to do (2 containers)\nweb: http://127.0.0.1:8080\n"
    )
    (request,) = supervisor.requests
    source = request.pop("source")
    assert request == {
        "verb": "up",
        "services": ["web"],
        "wait": True,
        "detach": True,
        "attach": False,
        "timeout": 9.0,
        "stop_timeout": 2.0,
    }
    assert (source["directory"], source["profiles"]) == (str(place.project), ["dev"])
    assert source["environ"]["STACKUP_STATE"] == str(place.state)


def test_an_error_of_the_supervisor(place: Place) -> None:
    plain = {
        "kind": "error",
        "message": "cannot bind 127.0.0.1:80: permission denied",
        "hint": "use 8080",
        "exit_code": 1,
    }
    supervisor = FakeSupervisor(place.control, lambda connection: connection.send({"error": plain}))
    done = place.run("up", "-d")
    supervisor.finish()
    assert done.returncode == 1
    assert done.stderr == "error: cannot bind 127.0.0.1:80: permission denied\nhint: use 8080\n"


def test_problems_found_by_the_supervisor_exit_2(place: Place) -> None:
    problem = {"file": "stack.yaml", "line": 3, "column": 5, "path": "services.db", "reason": "is bad"}
    error = {"error": {"kind": "stackfile", "problems": [problem]}}
    supervisor = FakeSupervisor(place.control, lambda connection: connection.send(error))
    done = place.run("up", "-d")
    supervisor.finish()
    assert done.returncode == 2
    assert done.stderr == "stack.yaml:3:5: services.db: is bad\nerror: 1 problem\n"


def test_a_supervisor_that_is_just_ending_is_asked_again(place: Place) -> None:
    supervisor = FakeSupervisor(place.control, Client.close, Client.close, stop_web)
    done = place.run("stop")
    supervisor.finish()
    assert done.returncode == 0
    assert len(supervisor.requests) == 3


def break_off(connection: Client) -> None:
    connection.event("hold", container="demo-web-1", reason="waits for db")
    connection.close()


def test_a_supervisor_that_dies_on_the_way_is_reported(place: Place) -> None:
    supervisor = FakeSupervisor(place.control, break_off)
    done = place.run("stop")
    supervisor.finish()
    assert done.returncode == 1
    assert "the supervisor ended before it had answered" in done.stderr


def test_exec_passes_its_streams_and_the_exit_code(place: Place) -> None:
    def run(connection: Client) -> None:
        stdout, stderr = connection.fds[1:]
        os.write(stdout, b"from the container\n")
        os.write(stderr, b"and an error\n")
        connection.result(exit_code=42)

    supervisor = FakeSupervisor(place.control, lambda connection: connection.result(pid=1), run)
    done = place.run(
        "exec", "-e", "A=1", "-e", "TERM", "-e", "NOSUCH", "-u", "app", "-w", "/x", "web", "ls", "-l", "-h"
    )
    supervisor.finish()
    assert (done.returncode, done.stdout, done.stderr) == (42, "from the container\n", "and an error\n")
    assert supervisor.requests == [
        {"verb": "ping"},
        {
            "verb": "exec",
            "service": "web",
            "index": None,
            "command": ["ls", "-l", "-h"],
            "environment": [["A", "1"], ["TERM", "xterm"]],
            "user": "app",
            "working_dir": "/x",
            "tty": False,
        },
    ]


def test_exec_never_runs_a_command_twice(place: Place) -> None:
    supervisor = FakeSupervisor(place.control, lambda connection: connection.result(), Client.close)
    done = place.run("exec", "web", "ls")
    supervisor.finish()
    assert done.returncode == 1
    assert [request["verb"] for request in supervisor.requests] == ["ping", "exec"]


def test_down_with_volumes_of_a_stack_that_is_gone(place: Place) -> None:
    volume = place.state / "volumes" / "demo_data"
    volume.mkdir(parents=True)
    (volume / "volume.json").write_text(json.dumps({"stack": "demo"}))
    assert place.run("down").stderr == "demo: nothing to do\n"
    supervisor = FakeSupervisor(place.control, lambda connection: connection.result())
    assert place.run("down", "-v").returncode == 0
    supervisor.finish()
    assert supervisor.requests == [{"verb": "down", "volumes": True, "timeout": None, "kill": False}]


def test_the_name_is_remembered_and_forgotten_with_the_file(place: Place) -> None:
    supervisor = FakeSupervisor(place.control, stop_web)
    place.run("stop")
    supervisor.finish()
    assert len(list((place.state / "names").iterdir())) == 1
    (place.project / "stack.yaml").write_text("name: other\nservices: {web: {command: x}}\n")
    assert place.run("down").stderr == "other: nothing to do\n"
    (place.project / "stack.override.yaml").write_text("name: third\nservices: {}\n")
    assert place.run("down").stderr == "third: nothing to do\n"


def test_a_name_made_from_variables_is_not_remembered(place: Place) -> None:
    (place.project / "stack.yaml").write_text("name: ${WHO:-me}\nservices: {web: {command: x}}\n")
    assert place.run("down").stderr == "me: nothing to do\n"
    assert place.run("down", WHO="you").stderr == "you: nothing to do\n"


# --- starting a supervisor --------------------------------------------------------------------------------------------


@pytest.fixture
def stack(place: Place) -> StackDir:
    return StateDir(str(place.state)).stack("demo")


def use_program(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(client, "supervisor_command", lambda name, launch: [sys.executable, "-I", "-c", code])


def test_the_real_command_cannot_be_hijacked_by_the_current_directory() -> None:
    command = supervisor_command("demo", launch=True)
    assert command[:4] == [sys.executable, "-P", "-m", "stackup.supervisor"]
    assert command[4:] == ["demo", "--ready-fd", "3", "--launch"]


SERVER = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.bind(PATH)
sock.listen()
os.write(3, b"1")
os.close(3)
for _ in range(2):
    client, _ = sock.accept()
    if client.recv(4096):
        facts = b'"leader":%d,"stdin":"%s"' % (os.getsid(0) == os.getpid(), os.readlink("/proc/self/fd/0").encode())
        client.sendall(b'{"event":{"type":"note"}}\\n{"result":{' + facts + b'}}\\n')
    client.close()
"""


def test_a_supervisor_is_started_in_its_own_session(stack: StackDir, monkeypatch: pytest.MonkeyPatch) -> None:
    use_program(monkeypatch, SERVER.replace("PATH", repr(stack.control_socket)))
    assert connect(stack) is None
    open_connection(stack).close()
    events: list[dict[str, object]] = []
    result = call(stack, {"verb": "ping"}, events.append)
    assert result == {"leader": 1, "stdin": "/dev/null"}
    assert events == [{"type": "note"}]


def test_a_supervisor_that_cannot_start_says_why(stack: StackDir, monkeypatch: pytest.MonkeyPatch) -> None:
    stack.create()
    Path(stack.supervisor_log).write_text("of an earlier one\n")
    use_program(monkeypatch, "import sys; print('said', flush=True); sys.exit('no namespaces')")
    with pytest.raises(HostError) as caught:
        open_connection(stack)
    assert caught.value.message == "cannot start the supervisor: it ended at once\n  | said\n  | no namespaces"


def test_another_commands_supervisor_is_used_when_it_is_ready_first(
    stack: StackDir, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours waits for the lock for ever; the other one begins to listen meanwhile."""
    stack.create()
    ready = place.state / "waiting"
    use_program(monkeypatch, f"open({str(ready)!r}, 'w').close(); import signal; signal.pause()")
    real = client.connect
    others: list[FakeSupervisor] = []

    def connect_later(directory: StackDir) -> client.Connection | None:
        if ready.exists() and not others:
            others.append(FakeSupervisor(place.control))
        return real(directory)

    monkeypatch.setattr(client, "connect", connect_later)
    open_connection(stack).close()
    others[0].finish()


def test_a_supervisor_that_never_answers_is_given_up(place: Place, stack: StackDir) -> None:
    supervisor = FakeSupervisor(place.control, *[Client.close] * 5)
    with pytest.raises(ConnectionLost):
        call(stack, {"verb": "ping"}, lambda event: None)
    supervisor.finish()


def test_a_long_base_path(tmp_path: Path) -> None:
    """sun_path holds 108 bytes (unix(7))."""
    base = tmp_path / ("x" * 120)
    base.mkdir(mode=0o700)
    stack = StateDir(str(base)).stack("demo")
    supervisor = FakeSupervisor(stack.control_socket, lambda connection: connection.result(pid=1))
    assert call(stack, {"verb": "ping"}, lambda event: None) == {"pid": 1}
    supervisor.finish()
    shutil.rmtree(base)
