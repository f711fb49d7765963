"""How long a stack takes to react: from the death of a process, or from a saved file, to the next process.

Every service tells of its start through a FIFO in the project directory, which the benchmark reads: no polling, one
context switch. What it tells with is a shell, whose own start is in the figures and is measured apart.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from pathlib import Path

from bench.harness import BenchError, Figure, eventually, pids_of
from bench.subject import DOWN, UP, Service, Subject

_LIFE = 10.5
"""Seconds after which a restart is immediate: those that Compose asks for, and a little."""
_PATIENCE = 30.0


class Starts:
    """The FIFO that services tell of their start through, as lines with their name."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "starts"
        if not self._path.exists():
            os.mkfifo(self._path)
            self._path.chmod(0o666)
        self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)  # O_RDWR: it never ends
        self._told: dict[str, float] = {}

    def service(self, name: str, mark: int, **more: object) -> Service:
        """A service that tells of its start and becomes `sleep MARK`."""
        return {"command": ["sh", "-c", f"echo {name} >{self._path}; exec sleep {mark}"]} | more

    def wait(self, name: str) -> float:
        """The moment at which the service tells of its next start (time.perf_counter). Raises BenchError."""
        deadline = time.perf_counter() + _PATIENCE
        while name not in self._told:
            if not select.select([self._fd], [], [], max(0.0, deadline - time.perf_counter()))[0]:
                raise BenchError(f"{name} did not start within {_PATIENCE:g} s")
            now = time.perf_counter()
            self._told |= dict.fromkeys(os.read(self._fd, 4096).decode().split(), now)
        return self._told.pop(name)

    def close(self) -> None:
        os.close(self._fd)


def _sleeper(mark: int) -> int:
    """The host's PID of the one process `sleep MARK`."""
    eventually(lambda: len(pids_of(rf"^sleep {mark}$")) == 1, f"one process `sleep {mark}`")
    return pids_of(rf"^sleep {mark}$")[0]


def shell_start(directory: Path, runs: int) -> Figure:
    """What a start of the shell that tells costs by itself, on the host."""
    starts, figure = Starts(directory), Figure()
    command = starts.service("host", 0)["command"]
    for _ in range(runs):
        began = time.perf_counter()
        process = subprocess.Popen(command)
        figure.samples.append(starts.wait("host") - began)
        process.wait()
    starts.close()
    return figure


def crash_to_exec(subject: Subject, runs: int) -> Figure:
    """SIGKILL of a process that has lived for ten seconds, to its successor. As many services as runs."""
    starts, figure = Starts(subject.directory), Figure()
    marks = {f"s{number}": os.getpid() * 100 + number for number in range(1, runs + 1)}
    subject.write({name: starts.service(name, mark, restart="always") for name, mark in marks.items()})
    subject.run(UP)
    try:
        for name in marks:
            starts.wait(name)
        time.sleep(_LIFE)
        for name, mark in marks.items():
            pid = _sleeper(mark)
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            figure.samples.append(starts.wait(name) - began)
    finally:
        subject.run(DOWN)
        starts.close()
    return figure


def save_to_exec(subject: Subject, runs: int) -> tuple[Figure, Figure]:
    """A saved file under `develop.watch`: to the death of the old process, and to the start of the new one.

    The old process has no handler for SIGTERM and is ended at once, so none of it is the process's own stop time.
    """
    starts, to_death, to_start = Starts(subject.directory), Figure(), Figure()
    source = subject.directory / "source.txt"
    source.write_text("0")
    mark = os.getpid() * 100
    rule = {"path": "./source.txt", "action": "restart"}
    subject.write({"web": starts.service("web", mark, develop={"watch": [rule]})})
    subject.run(UP)
    try:
        starts.wait("web")
        eventually(_watching, "watching")
        for number in range(1, runs + 1):
            pid = _sleeper(mark)
            time.sleep(0.5)  # a new batch of changes, not the tail of the last one
            pidfd = os.pidfd_open(pid)
            began = time.perf_counter()
            source.write_text(str(number))
            select.select([pidfd], [], [], _PATIENCE)
            to_death.samples.append(time.perf_counter() - began)
            to_start.samples.append(starts.wait("web") - began)
            os.close(pidfd)
    finally:
        subject.run(DOWN)
        starts.close()
    return to_death, to_start


def _watching() -> bool:
    """Whether the supervisor has its inotify watches: a save before that is not seen."""
    for pid in pids_of(r"stackup\.supervisor stackup-bench( |$)"):
        for info in Path(f"/proc/{pid}/fdinfo").iterdir():
            try:
                if "inotify wd" in info.read_text():
                    return True
            except OSError:  # a descriptor that was closed meanwhile
                continue
    return False
