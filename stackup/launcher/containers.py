"""What the launcher remembers of one container, and the few things that can happen to it.

The launcher decides nothing: it begins runs, delivers signals, reaps, and keeps the record (`docs/architecture.md`).
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from stackup.launcher import births, protocol
from stackup.launcher.births import Newborn

_REMEMBERED_RUNS = 10


def boottime() -> float:
    """Seconds of CLOCK_BOOTTIME, which also counts while the machine sleeps (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Container:
    """One container. `state` is creating, created, starting, running or exited; others see the first as created."""

    name: str
    record: dict[str, Any]
    order: dict[str, Any]
    cgroups: list[int]
    state: str = "exited"
    run: int = 0
    pid: int | None = None
    host_pid: int | None = None
    started_at: float | None = None
    stop: dict[str, Any] | None = None
    note: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    pidfd: int = -1
    userns: int = -1
    netns: int = -1
    report: socket.socket | None = None
    failure: dict[str, Any] | None = None
    start_wanted: bool = False
    prepared: bool = False

    def view(self, *, full: bool) -> dict[str, Any]:
        """What is told about this container; `full` adds the record that its creator left with it."""
        visible = {"creating": "created", "starting": "created"}.get(self.state, self.state)
        view = {
            "name": self.name,
            "state": visible,
            "run": self.run,
            "pid": self.host_pid if self.state in ("running", "created", "starting") else None,
            "started_at": self.started_at,
            "stop": self.stop,
            "note": self.note,
            "runs": self.runs,
        }
        if full:
            view["record"] = self.record
        return view

    def begin(self, logs: list[int], trees: list[int], host_proc: int) -> None:
        """Bring forth the process of the next run; it prepares itself and waits for `release`.

        Raises:
            OSError: the kernel refused; the container is as before.
        """
        fds = {"stdio": logs, "cgroups": self.cgroups, "trees": trees, "host_proc": [host_proc]}
        newborn: Newborn
        if self.userns < 0:
            newborn, self.userns, self.netns = births.first_run(self.order, fds)
        else:
            newborn = births.next_run(self.order, fds, self.userns, self.netns)
        newborn.report.setblocking(False)
        self.pid, self.pidfd, self.report = newborn.pid, newborn.pidfd, newborn.report
        self.state, self.stop, self.failure, self.note = "creating", None, None, {}
        self.host_pid, self.started_at, self.start_wanted, self.prepared = None, None, False, False

    def release(self) -> None:
        """Let the process of a created container become the program, as soon as it is ready: its run begins now."""
        if not self.start_wanted:
            self.start_wanted, self.run = True, self.run + 1
        if self.state == "created" and self.report is not None:
            self._tell_start()

    def _tell_start(self) -> None:
        assert self.report is not None
        self.state = "starting"
        try:
            self.report.send(b"start")
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):  # it died: its pidfd tells
                raise

    def hear(self) -> bool:
        """Read the report socket. True when what others see has changed."""
        changed = False
        while self.report is not None:
            try:
                answer = protocol.receive(self.report)
            except BlockingIOError:
                break
            except OSError:
                answer = None
            if answer is None:
                self.report.close()
                self.report = None
                if self.state == "starting" and self.failure is None and self.prepared:
                    self.state, self.started_at, changed = "running", boottime(), True
                break
            message = answer[0]
            if "created" in message:
                self.state, self.host_pid, changed = "created", message["created"], True
                if self.start_wanted:
                    self._tell_start()
            elif "starting" in message:
                self.prepared = True  # without it the end of the report is no exec but a death (SIGKILL, out of memory)
            elif "failed" in message:
                self.failure = message
        return changed

    def reap(self) -> None:
        """Collect the exit status of the process, and remember the run."""
        self.hear()
        status = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)
        if self.report is not None:
            self.report.close()
        self.report, self.pidfd, self.pid = None, -1, None
        if not self.start_wanted:
            self.run += 1  # a run that failed before it began is a run all the same
        killed = status is not None and status.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        end: dict[str, Any] = {
            "number": self.run,
            "started_at": self.started_at,
            "ended_at": boottime(),
            "code": None if killed or status is None else status.si_status,
            "signal": status.si_status if killed and status is not None else None,
            "error": None,
            "asked": self.stop is not None,
        }
        if self.failure is not None:
            end["code"] = self.failure["code"]
            end["error"] = f"{self.failure['failed']}: {self.failure['message']}"
        elif self.started_at is None and self.stop is None:
            end["error"] = "killed before its program was running"
        self.runs = [*self.runs[-_REMEMBERED_RUNS + 1 :], end]
        self.state, self.host_pid, self.started_at, self.stop = "exited", None, None, None

    def signal(self, number: int) -> None:
        """Send a signal to the first process. One that is gone already needs none."""
        if self.pidfd >= 0:
            try:
                signal.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """Kill what still runs and let go of the namespaces: the kernel removes the links with them."""
        if self.pidfd >= 0:
            self.signal(signal.SIGKILL)
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
            os.close(self.pidfd)
        if self.report is not None:
            self.report.close()
        for fd in (self.userns, self.netns, *self.cgroups):
            if fd >= 0:
                os.close(fd)
