"""Whether and when an exited container runs again by itself: restart policies and back-off. Times are passed in.

A run that lived 10 s is restarted at once; after shorter ones the delay doubles from 100 ms to 60 s. `on-failure:N`
counts automatic restarts in a row. A run that somebody began or ended by hand starts the count anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stackup.core.types import RestartMode, RestartPolicy, Run

LONG_ENOUGH = 10.0
FIRST_DELAY = 0.1
LONGEST_DELAY = 60.0


@dataclass(frozen=True, slots=True)
class RestartNow:
    reason: str


@dataclass(frozen=True, slots=True)
class RestartAt:
    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


Decision = RestartNow | RestartAt | GiveUp


def decide(policy: RestartPolicy, runs: Sequence[Run], now: float, *, since: int = 0) -> Decision:
    """What follows the last of `runs` (oldest first, not empty).

    `since` is the number of the last run that ended with a request for another one: the runs after it are those that
    the policy answers for. `runs` may lack the oldest; those are taken for part of the streak.
    """
    last = runs[-1]
    reason = str(last.exit)
    if last.asked:
        return GiveUp("was stopped")
    if policy.mode is RestartMode.NO or (policy.mode is RestartMode.ON_FAILURE and last.exit.succeeded):
        return GiveUp(reason)
    since = max([since, *(run.number for run in runs if run.asked)])
    own = [run for run in runs if run.number > since]
    if own and own[0].number == since + 1 and all(run.exit.error is not None for run in own):
        return GiveUp(reason)
    restarts, shorts = _streak(own, since)
    if policy.mode is RestartMode.ON_FAILURE:
        limit = policy.max_attempts
        if limit is not None and restarts >= limit:
            return GiveUp(f"{reason}, on-failure: gave up after {limit} restart{'s' if limit != 1 else ''}")
        reason += f", on-failure {restarts + 1}" + (f"/{limit}" if limit is not None else "")
    else:
        reason += f", restart {policy.mode.value}"
    if not shorts:
        return RestartNow(reason)
    at = last.ended_at + min(FIRST_DELAY * 2.0 ** min(shorts - 1, 16), LONGEST_DELAY)
    return RestartNow(reason) if now >= at else RestartAt(at, reason)


def _streak(own: Sequence[Run], since: int) -> tuple[int, int]:
    """(automatic restarts in a row so far, short runs in a row) up to the last of `own`."""
    shorts = 0
    for run in reversed(own):
        if _lived_long(run):
            return shorts, shorts
        shorts += 1
    shorts += own[0].number - since - 1 if own else 0
    return max(shorts - 1, 0), shorts


def _lived_long(run: Run) -> bool:
    return run.started_at is not None and run.ended_at - run.started_at >= LONG_ENOUGH
