"""What a running stack uses: the memory of each of its processes, and processor time while nothing happens."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from bench.harness import Figure, children, memory, name_of, pids_of, processor_time
from bench.subject import DOWN, UP, Subject, sleepers

CONTAINER = "container (`sleep`)"
_CALM = 3.0
"""Seconds after which a new stack is taken to be idle: probes have reached their interval."""


def _processes(subject: Subject) -> dict[str, list[int]]:
    """PIDs of a stackup stack by what they are."""
    stack = subject.directory.name
    record = json.loads(Path(subject.environment["STACKUP_STATE"], "stacks", stack, "launcher.json").read_text())
    launcher = int(record["pid"])
    found: dict[str, list[int]] = defaultdict(list)
    found["supervisor"] = pids_of(rf"stackup\.supervisor {stack}( |$)")
    found["launcher"] = [launcher]
    for pid in children(launcher):
        name = name_of(pid)
        if name is not None and name != name_of(launcher):  # a probe between clone and exec still has the launcher's
            found[f"helper {name[8:]}" if name.startswith("stackup-") else CONTAINER].append(pid)
    return dict(found)


def memory_by_process(subject: Subject, count: int, runs: int) -> dict[str, Figure]:
    """MB (PSS) of each kind of process of a stack of `count` services, for one process of the kind."""
    figures: dict[str, Figure] = defaultdict(Figure)
    for _ in range(runs):
        subject.write(sleepers(count))
        subject.run(UP)
        try:
            time.sleep(_CALM)
            for kind, pids in _processes(subject).items():
                figures[kind].samples.append(memory(pids) / len(pids))
        finally:
            subject.run(DOWN)
    return dict(figures)


def overhead(subject: Subject, pids: Callable[[], list[int]], count: int, runs: int) -> Figure:
    """MB (PSS) of everything that a subject runs beside the containers, with `count` of them."""
    figure = Figure()
    subject.write(sleepers(count))
    for _ in range(runs):
        subject.run(UP)
        try:
            time.sleep(_CALM)
            figure.samples.append(memory(pids()))
        finally:
            subject.run(DOWN)
    return figure


def own_pids(subject: Subject) -> list[int]:
    """PIDs of everything that runs for a stackup stack beside its containers."""
    return [pid for kind, pids in _processes(subject).items() if kind != CONTAINER for pid in pids]


def idle(subject: Subject, runs: int, seconds: float, *, probes: bool) -> dict[str, Figure]:
    """Percent of one processor that 20 idle services cost, each with a probe (`true`) every second or without."""
    check = {"healthcheck": {"test": ["CMD", "true"], "interval": "1s"}} if probes else {}
    subject.write(sleepers(20, **check))
    subject.run(UP)
    figures: dict[str, Figure] = defaultdict(Figure)
    try:
        time.sleep(_CALM)
        for _ in range(runs):
            before, began = _times(subject), time.perf_counter()
            time.sleep(seconds)
            passed = time.perf_counter() - began
            after = _times(subject)
            for kind, used in after.items():
                figures[kind].samples.append(100 * (used - before[kind]) / passed)
            figures["everything"].samples.append(100 * (sum(after.values()) - sum(before.values())) / passed)
    finally:
        subject.run(DOWN)
    return dict(figures)


def _times(subject: Subject) -> dict[str, float]:
    processes = _processes(subject)
    times = {}
    for kind, pids in processes.items():
        if kind != CONTAINER:
            times[kind] = sum(processor_time(pid)[0] for pid in pids)
    times["probes"] = processor_time(processes["launcher"][0])[1]
    return times
