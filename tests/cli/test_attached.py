"""`up` in the foreground against a scripted supervisor: output, Ctrl-C, a supervisor that dies, failures."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import Place
from .fakes import PATIENCE, Client, FakeSupervisor

WriteLog = Callable[..., None]


def state(connection: Client, name: str, state: str, **fields: Any) -> None:
    connection.event("state", container=f"demo-{name}-1", service=name, state=state, run=1, **fields)


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=PATIENCE)


def test_lines_notices_and_the_end(place: Place, write_log: WriteLog) -> None:
    write_log("demo-web-1", "1 1 1 o of an earlier run")

    def serve(connection: Client) -> None:
        state(connection, "web", "running")
        connection.result(containers=["demo-web-1"])
        state(connection, "web", "exited", exit={"code": 3, "signal": None, "error": None})
        write_log("demo-web-1", "2 2 2 o first", "3 3 2 e second\x1b[31m", "4 4 1 x ")
        write_log("demo-database-1", "5 1 1 o other")
        connection.event("end", reason="every container has exited")

    supervisor = FakeSupervisor(place.control, serve)
    out, err = finish(place.start("up"))
    supervisor.finish()
    assert out.splitlines()[0] == "web-1  | first"
    assert set(out.splitlines()) == {
        "web-1  | first",
        "web-1  | second",
        "web-1 exited with code 3",
        "database-1  | other",
    }
    assert out.index("second") < out.index("exited with code 3")
    assert err == "demo-web-1  running\ndemo: nothing to do (1 container)\ndemo: every container has exited\n"


def test_the_supervisor_gets_a_pidfd_of_the_command(place: Place) -> None:
    said: list[str] = []

    def serve(connection: Client) -> None:
        with open(f"/proc/self/fdinfo/{connection.fds[0]}") as info:
            said.extend(line.split()[1] for line in info if line.startswith("Pid:"))
        connection.result()
        connection.event("end")

    supervisor = FakeSupervisor(place.control, serve)
    process = place.start("up", "web")
    finish(process)
    supervisor.finish()
    assert said == [str(process.pid)]
    assert process.returncode == 0
    (request,) = supervisor.requests
    assert (request["detach"], request["attach"], request["services"]) == (False, True, ["web"])


def test_only_the_chosen_services_are_shown(place: Place, write_log: WriteLog) -> None:
    def serve(connection: Client) -> None:
        connection.result()
        write_log("demo-db-1", "1 1 1 o hidden")
        write_log("demo-web-1", "2 1 1 o shown")
        connection.event("end")

    supervisor = FakeSupervisor(place.control, serve)
    out, _ = finish(place.start("up", "web"))
    supervisor.finish()
    assert out == "web-1  | shown\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_the_stack_in_order(place: Place, write_log: WriteLog, number: int, code: int) -> None:
    attached: list[Client] = []

    def serve(connection: Client) -> None:
        attached.append(connection)
        connection.result()
        connection.event("note", text="up")

    def stop(connection: Client) -> None:
        attached[0].event("action", action="stop", object="demo-web-1", cause="the stack goes down")
        write_log("demo-web-1", "1 1 1 o goodbye")
        attached[0].event("end", reason="the stack has ended")
        connection.result()

    supervisor = FakeSupervisor(place.control, serve, stop)
    process = place.start("up", "-t", "5")
    assert process.stderr is not None
    assert process.stderr.readline() == "demo: nothing to do (0 containers)\n"
    assert process.stderr.readline() == "up\n"
    process.send_signal(number)
    out, err = finish(process)
    supervisor.finish()
    assert process.returncode == code
    assert out == "web-1  | goodbye\n"
    assert err == "Stopping...\nstop demo-web-1  (the stack goes down)\ndemo: the stack has ended\n"
    assert supervisor.requests[1] == {"verb": "down", "volumes": False, "timeout": 5.0, "kill": False}


def test_the_second_ctrl_c_kills(place: Place) -> None:
    def serve(connection: Client) -> None:
        connection.result()
        connection.event("note", text="up")

    slow: list[Client] = []

    def kill(connection: Client) -> None:
        connection.result()
        slow[0].result()

    supervisor = FakeSupervisor(place.control, serve, slow.append, kill)
    process = place.start("up")
    assert process.stderr is not None
    while process.stderr.readline() != "up\n":
        continue
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "Stopping...\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "Killing...\n"
    finish(process)
    supervisor.finish()
    assert process.returncode == 130
    assert [request.get("kill") for request in supervisor.requests] == [None, False, True]


def test_a_supervisor_that_dies_is_told_the_same_again(place: Place) -> None:
    def first(connection: Client) -> None:
        connection.result()
        state(connection, "web", "running")
        connection.close()

    def second(connection: Client) -> None:
        state(connection, "web", "running")
        connection.result()
        connection.event("end")

    supervisor = FakeSupervisor(place.control, first, Client.close, second)
    process = place.start("up")
    _, err = finish(process)
    supervisor.finish()
    assert process.returncode == 0
    assert err.count("the supervisor of demo ended; another one takes over\n") == 1
    assert err.count("demo-web-1  running\n") == 1
    assert supervisor.requests[0] == supervisor.requests[1] == supervisor.requests[2]


def test_a_supervisor_that_dies_while_stopping(place: Place) -> None:
    attached: list[Client] = []

    def serve(connection: Client) -> None:
        attached.append(connection)
        connection.result()
        connection.event("note", text="up")

    def die(connection: Client) -> None:
        attached[0].sock.close()
        connection.close()

    supervisor = FakeSupervisor(place.control, serve, die, lambda connection: connection.result())
    process = place.start("up")
    assert process.stderr is not None
    while process.stderr.readline() != "up\n":
        continue
    process.send_signal(signal.SIGINT)
    finish(process)
    supervisor.finish()
    assert process.returncode == 130
    assert [request["verb"] for request in supervisor.requests] == ["up", "down", "down"]


def test_a_failed_dependency_takes_the_stack_down(place: Place) -> None:
    failure = {"container": "demo-db-1", "service": "db", "condition": "service_healthy", "reason": "is unhealthy"}
    attached: list[Client] = []

    def serve(connection: Client) -> None:
        attached.append(connection)
        connection.send({"error": {"kind": "dependency", "failures": [failure | {"waiters": ["demo-web-1"]}]}})

    supervisor = FakeSupervisor(place.control, serve, lambda connection: connection.result())
    process = place.start("up")
    _, err = finish(process)
    supervisor.finish()
    assert process.returncode == 1
    assert err.startswith("error: demo-db-1 failed: is unhealthy\n  service     db\n")
    assert err.endswith("demo-web-1 (waits for it to be healthy)\nStopping...\n")
    assert supervisor.requests[1]["verb"] == "down"


def test_a_wrong_file_leaves_a_running_stack_alone(place: Place) -> None:
    problem = {"file": "stack.yaml", "line": 1, "column": 1, "path": "", "reason": "is bad"}
    error = {"error": {"kind": "stackfile", "problems": [problem]}}
    supervisor = FakeSupervisor(place.control, lambda connection: connection.send(error))
    process = place.start("up")
    assert finish(process) == ("", "stack.yaml:1:1: is bad\nerror: 1 problem\n")
    supervisor.finish()
    assert process.returncode == 2
    assert len(supervisor.requests) == 1


def test_nobody_reads_the_output_any_more(place: Place, write_log: WriteLog) -> None:
    """`stackup up | head -1`: the stack ends when its output goes nowhere."""
    gone = threading.Event()

    def serve(connection: Client) -> None:
        connection.result()
        write_log("demo-web-1", "1 1 1 o one")
        assert gone.wait(PATIENCE)
        write_log("demo-web-1", "2 2 1 o two")

    supervisor = FakeSupervisor(place.control, serve, lambda connection: connection.result())
    process = place.start("up")
    assert process.stdout is not None
    assert process.stdout.readline() == "web-1  | one\n"
    process.stdout.close()
    gone.set()
    assert process.wait(PATIENCE) == 1
    supervisor.finish()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert supervisor.requests[1]["verb"] == "down"


def test_nothing_is_left_waiting_when_the_command_is_killed(place: Place) -> None:
    """SIGKILL: the pidfd that the supervisor holds tells."""
    dead: list[bool] = []
    attached = threading.Event()

    def serve(connection: Client) -> None:
        connection.result()
        attached.set()
        dead.append(bool(select.select([connection.fds[0]], [], [], PATIENCE)[0]))

    supervisor = FakeSupervisor(place.control, serve)
    process = place.start("up")
    assert attached.wait(PATIENCE)
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    supervisor.finish()
    assert dead == [True]
