"""What every measurement needs: samples, timed commands, processes as /proc shows them, quiet moments.

It knows nothing of any subject.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

_TICK = os.sysconf("SC_CLK_TCK")
_QUIET = 0.10
"""Share of the machine that others may use in a quiet moment."""
_LOOK = 0.2
_PATIENCE = 5.0


class BenchError(Exception):
    """A measurement that could not be made; the text is the reason, for the report."""


@dataclass
class Figure:
    """Samples of one quantity; the unit is the table's."""

    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.samples)

    @property
    def low(self) -> float:
        return min(self.samples)

    @property
    def high(self) -> float:
        return max(self.samples)


@dataclass
class Load:
    """How busy others kept the machine just before each timed command: shares of all its processors, 0 to 1."""

    seen: list[float] = field(default_factory=list)

    def settle(self) -> None:
        """Wait for a quiet moment, but not for ever; note what there was."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            idle, total = _processor_ticks()
            time.sleep(_LOOK)
            idle_after, total_after = _processor_ticks()
            busy = 1 - (idle_after - idle) / max(1, total_after - total)
            if busy <= _QUIET or time.monotonic() > deadline:
                self.seen.append(busy)
                return


def _processor_ticks() -> tuple[int, int]:
    """Idle and total ticks of all processors (proc_stat(5))."""
    values = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return values[3] + values[4], sum(values)


def timed(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> float:
    """Seconds from spawn to exit of a command, its output to a file.

    Raises:
        BenchError: it failed; with the end of what it said.
    """
    output = directory / "output.log"
    with output.open("w") as file:
        began = time.perf_counter()
        code = subprocess.run(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        ).returncode
        took = time.perf_counter() - began
    if code != 0:
        said = output.read_text(errors="replace").strip().splitlines()
        raise BenchError(f"`{Path(command[0]).name} … {command[-1]}` exited {code}: {' / '.join(said[-3:])}")
    return took


def version(command: Sequence[str], after: str = "") -> str | None:
    """The first version number that a command prints after a word; None where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(rf"{after}\D*(\d+\.\d+(\.\d+)?)", done.stdout)
    return found[1] if done.returncode == 0 and found else None


def eventually(look: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait until `look` is true.

    Raises:
        BenchError: it did not become so in time.
    """
    deadline = time.monotonic() + timeout
    while not look():
        if time.monotonic() > deadline:
            raise BenchError(f"{what} did not happen within {timeout:g} s")
        time.sleep(0.005)


# --- processes --------------------------------------------------------------------------------------------------------


def processes() -> Iterator[tuple[int, str]]:
    """PID and command line of every process that has one."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                line = Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue
            if line:
                yield int(entry), line.replace(b"\0", b" ").decode(errors="replace").strip()


def pids_of(pattern: str) -> list[int]:
    """PIDs of the processes whose command line matches."""
    return [pid for pid, line in processes() if re.search(pattern, line)]


def children(parent: int) -> list[int]:
    """PIDs of the children of a process, in the order of their birth."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(pid) for pid in text.split()]


def name_of(pid: int) -> str | None:
    """The name a process has given itself (comm); None where it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return None


def memory(pids: Sequence[int]) -> float:
    """MB of memory that processes use, shared pages divided among all who share them: PSS (proc_pid_smaps(5))."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def processor_time(pid: int) -> tuple[float, float]:
    """Seconds of processor time that a process has used, and that its children used that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own, waited = (sum(map(int, fields[first : first + 2])) for first in (11, 13))
    return own / _TICK, waited / _TICK
