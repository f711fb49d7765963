"""Health verdicts of one run: when to probe next, and what a probe's result means. Pure; the caller runs the probes.

Before the first success probes are frequent (100 ms after the start, then 25 ms doubling to 1 s), so that dependents
start early. But only a probe at an instant at which the Compose specification would probe, once the start period is
over, can count as a failure: `retries` means what it means there. After the first success the rhythm is `interval`,
counted from the end of the previous probe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from stackup.core.types import Health, Healthcheck

FIRST_PROBE = 0.1
SHORTEST_GAP = 0.025
LONGEST_GAP = 1.0
KEPT_RESULTS = 5
OUTPUT_LIMIT = 4096
"""Bytes of a probe's output that are kept, as in the specification."""

_LEAST_INTERVAL = 0.001
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class ProbeResult:
    ok: bool
    output: str
    began_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """All that is known of the health of one run.

    `streak` counts consecutive failures that count, `instants` the specified instants that are used up, `probes` all
    probes so far. `results` are the last few, oldest first.
    """

    health: Health
    started_at: float
    streak: int = 0
    succeeded: bool = False
    instants: int = 0
    probes: int = 0
    ended_at: float | None = None
    results: tuple[ProbeResult, ...] = ()


def begin(check: Healthcheck, started_at: float) -> HealthRecord:
    """The record of a run that has just started."""
    return HealthRecord(Health.STARTING, started_at)


def resume(check: Healthcheck, started_at: float, health: Health, now: float) -> HealthRecord:
    """The record of a run whose earlier probes nobody remembers, only the verdict. It is probed at once."""
    known = health is Health.HEALTHY or health is Health.UNHEALTHY
    record = HealthRecord(health if known else Health.STARTING, started_at)
    return replace(record, succeeded=health is Health.HEALTHY, instants=_instants(check, started_at, now))


def next_probe_at(check: Healthcheck, record: HealthRecord) -> float:
    """When the next probe is due. Probes never overlap: ask again after each result."""
    interval = max(check.interval, _LEAST_INTERVAL)
    if record.succeeded:
        return record.started_at if record.ended_at is None else record.ended_at + interval
    if record.ended_at is None:
        return record.started_at + min(FIRST_PROBE, interval)
    gap = min(SHORTEST_GAP * 2.0 ** min(record.probes - 1, 16), LONGEST_GAP, interval)
    specified = record.started_at + (record.instants + 1) * interval
    # An instant that passed while a probe ran is due now.
    return min(record.ended_at + gap, max(specified, record.ended_at))


def after_probe(
    check: Healthcheck, record: HealthRecord, ok: bool, output: str, began_at: float, ended_at: float
) -> HealthRecord:
    """The record with one more result. `ok` is False for a non-zero exit and for a timeout."""
    kept = output.encode(errors="replace")[:OUTPUT_LIMIT].decode(errors="ignore")
    results = (*record.results, ProbeResult(ok, kept, began_at, ended_at))[-KEPT_RESULTS:]
    instants = _instants(check, record.started_at, began_at)
    after = replace(record, results=results, ended_at=ended_at, probes=record.probes + 1, instants=instants)
    if ok:
        return replace(after, health=Health.HEALTHY, streak=0, succeeded=True)
    if not record.succeeded and not _counts(check, record, began_at):
        return after
    streak = record.streak + 1
    failed = streak >= max(check.retries, 1)
    return replace(after, streak=streak, health=Health.UNHEALTHY if failed else record.health)


def _counts(check: Healthcheck, record: HealthRecord, began_at: float) -> bool:
    """Whether a failure before the first success counts: it stands for an instant that was not used up before."""
    at_instant = _instants(check, record.started_at, began_at) > record.instants
    return at_instant and began_at - record.started_at >= check.start_period - _ROUNDING


def _instants(check: Healthcheck, started_at: float, at: float) -> int:
    """How many of the instants `started_at + k * interval` are not after `at`."""
    return max(math.floor((at - started_at) / max(check.interval, _LEAST_INTERVAL) + _ROUNDING), 0)
