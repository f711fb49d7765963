"""Births and deaths that are quicker than the launcher: real processes, in no namespace, driven without its loop."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import pytest

from stackup.launcher import births, protocol
from stackup.launcher.containers import Container


def _started(live: Callable[[socket.socket], None]) -> Container:
    """A container whose process lives `live` and is dead already, though nobody has looked at it since its start."""
    report, childs = protocol.pair()
    pid = os.fork()
    if pid == 0:
        try:
            live(childs)
        finally:
            os._exit(99)
    childs.close()
    report.setblocking(False)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    container = Container("c-1", record={}, order={}, cgroups=[])
    container.pid, container.pidfd, container.report = pid, os.pidfd_open(pid), report
    container.state, container.run = "starting", 1
    return container


def _die_before_exec(report: socket.socket) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _run_and_exit(report: socket.socket) -> None:
    protocol.send(report, {"starting": True})
    os._exit(7)


def _run_and_be_killed(report: socket.socket) -> None:
    protocol.send(report, {"starting": True})
    os.kill(os.getpid(), signal.SIGUSR1)


def _fail(report: socket.socket) -> None:
    protocol.send(report, {"starting": True})
    protocol.send(report, {"failed": "execute the program", "message": "no such file", "errno": 2, "code": 127})
    os._exit(127)


@pytest.mark.parametrize(
    ("live", "code", "number", "error"),
    [
        (_run_and_exit, 7, None, None),
        (_run_and_be_killed, None, signal.SIGUSR1, None),
        (_die_before_exec, None, signal.SIGKILL, "killed before its program was running"),
        (_fail, 127, None, "execute the program: no such file"),
    ],
)
def test_a_run_that_is_over_before_it_was_seen(
    live: Callable[[socket.socket], None], code: int | None, number: int | None, error: str | None
) -> None:
    container = _started(live)
    container.reap()
    end = container.runs[-1]
    assert (end["code"], end["signal"], end["error"]) == (code, number, error)
    assert container.state == "exited"


def test_a_newborn_that_speaks_before_its_intermediate_is_told_apart() -> None:
    for _ in range(200):
        newborn = births._through_intermediate(lambda: None, _run_and_exit, 0)
        received = protocol.receive(newborn.report)
        assert received is not None and received[0] == {"starting": True}
        assert os.waitstatus_to_exitcode(os.waitpid(newborn.pid, 0)[1]) == 7
        newborn.report.close()
        os.close(newborn.pidfd)
