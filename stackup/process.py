"""The identity of a process that outlives its pid: boot id, pid and start time. Reads /proc and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ProcessId:
    """`start_time` is in clock ticks since the boot `boot_id` (proc_pid_stat(5), field 22)."""

    boot_id: str
    pid: int
    start_time: int

    def alive(self) -> bool:
        """Whether this very process still runs. A zombie does not."""
        return process_id(self.pid) == self

    def to_plain(self) -> dict[str, Any]:
        return {"boot_id": self.boot_id, "pid": self.pid, "start_time": self.start_time}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> ProcessId:
        return cls(data["boot_id"], data["pid"], data["start_time"])


def process_id(pid: int) -> ProcessId | None:
    """The identity of the process that has `pid` now; None where there is none, or only a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name in parentheses, may contain anything, also parentheses and blanks.
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return ProcessId(boot_id(), pid, int(fields[19]))


def boot_id() -> str:
    """The random id of this boot (random(4))."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()
