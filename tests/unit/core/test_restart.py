"""Restart policies and back-off, as tables."""

from __future__ import annotations

import pytest

from stackup.core.restart import GiveUp, RestartAt, RestartNow, decide
from stackup.core.types import Exit, RestartMode, RestartPolicy, Run

NO = RestartPolicy()
ALWAYS = RestartPolicy(RestartMode.ALWAYS)
UNLESS_STOPPED = RestartPolicy(RestartMode.UNLESS_STOPPED)
ON_FAILURE = RestartPolicy(RestartMode.ON_FAILURE)
TWICE = RestartPolicy(RestartMode.ON_FAILURE, 2)

FAILED, DONE, UNKNOWN, KILLED = Exit(code=1), Exit(code=0), Exit(), Exit(signal=9)
NO_PROGRAM = Exit(code=127, error="exec: no such file")


def history(*lives: float, exit: Exit = FAILED, first: int = 1, asked: tuple[int, ...] = ()) -> tuple[Run, ...]:
    """Runs that lived so long, one after the other; the last ends at 100."""
    return tuple(Run(number, 100.0 - life, 100.0, exit, number in asked) for number, life in enumerate(lives, first))


def never_ran(*numbers: int) -> tuple[Run, ...]:
    return tuple(Run(number, None, 100.0, NO_PROGRAM) for number in numbers)


@pytest.mark.parametrize(
    ("policy", "exit", "expected"),
    [
        (NO, FAILED, GiveUp("exited 1")),
        (NO, DONE, GiveUp("exited 0")),
        (NO, UNKNOWN, GiveUp("exited with an unknown status")),
        (ON_FAILURE, DONE, GiveUp("exited 0")),
        (ON_FAILURE, FAILED, RestartNow("exited 1, on-failure 1")),
        (ON_FAILURE, UNKNOWN, RestartNow("exited with an unknown status, on-failure 1")),
        (TWICE, KILLED, RestartNow("killed by signal 9 (137), on-failure 1/2")),
        (ALWAYS, DONE, RestartNow("exited 0, restart always")),
        (UNLESS_STOPPED, FAILED, RestartNow("exited 1, restart unless-stopped")),
    ],
)
def test_after_a_long_life(policy: RestartPolicy, exit: Exit, expected: object) -> None:
    assert decide(policy, history(10.0, exit=exit), now=100.0) == expected


@pytest.mark.parametrize(
    ("shorts", "delay"),
    [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.6), (9, 25.6), (10, 51.2), (11, 60.0), (40, 60.0)],
)
def test_the_delay_doubles_up_to_a_minute(shorts: int, delay: float) -> None:
    runs = history(*[1.0] * shorts)
    assert decide(ALWAYS, runs, now=100.0) == RestartAt(100.0 + delay, "exited 1, restart always")
    assert decide(ALWAYS, runs, now=100.0 + delay) == RestartNow("exited 1, restart always")


def test_a_long_life_ends_the_streak() -> None:
    assert decide(ALWAYS, history(1.0, 1.0, 10.0), now=100.0) == RestartNow("exited 1, restart always")
    assert decide(ALWAYS, history(1.0, 1.0, 10.0, 1.0), now=100.0) == RestartAt(100.1, "exited 1, restart always")


def test_runs_that_are_not_remembered_belong_to_the_streak() -> None:
    assert decide(ALWAYS, history(1.0, first=30), now=100.0) == RestartAt(160.0, "exited 1, restart always")


@pytest.mark.parametrize(
    ("lives", "expected"),
    [
        ((1.0,), RestartAt(100.1, "exited 1, on-failure 1/2")),
        ((1.0, 1.0), RestartAt(100.2, "exited 1, on-failure 2/2")),
        ((1.0, 1.0, 1.0), GiveUp("exited 1, on-failure: gave up after 2 restarts")),
        ((1.0, 1.0, 10.0), RestartNow("exited 1, on-failure 1/2")),
        ((1.0, 10.0, 1.0), RestartAt(100.1, "exited 1, on-failure 2/2")),
        ((1.0, 10.0, 1.0, 1.0), GiveUp("exited 1, on-failure: gave up after 2 restarts")),
    ],
)
def test_on_failure_counts_restarts_in_a_row(lives: tuple[float, ...], expected: object) -> None:
    assert decide(TWICE, history(*lives), now=100.0) == expected


def test_on_failure_gives_up_even_where_the_history_is_shorter_than_its_limit() -> None:
    policy = RestartPolicy(RestartMode.ON_FAILURE, 20)
    assert isinstance(decide(policy, history(*[1.0] * 10, first=11), now=100.0), RestartAt)
    assert isinstance(decide(policy, history(*[1.0] * 10, first=12), now=100.0), GiveUp)


def test_a_run_ended_by_hand_neither_triggers_nor_counts() -> None:
    assert decide(ALWAYS, history(1.0, asked=(1,)), now=100.0) == GiveUp("was stopped")
    after = history(1.0, 1.0, 1.0, 1.0, asked=(3,))
    assert decide(TWICE, after, now=100.0) == RestartAt(100.1, "exited 1, on-failure 1/2")


def test_a_run_begun_by_hand_starts_the_count_anew() -> None:
    gave_up = history(1.0, 1.0, 1.0)
    assert isinstance(decide(TWICE, gave_up, now=100.0), GiveUp)
    again = history(1.0, 1.0, 1.0, 1.0)
    assert decide(TWICE, again, now=100.0, since=3) == RestartAt(100.1, "exited 1, on-failure 1/2")


def test_what_never_ran_is_not_retried() -> None:
    reason = "could not start: exec: no such file"
    assert decide(ALWAYS, never_ran(1), now=100.0) == GiveUp(reason)
    assert decide(ALWAYS, (*history(1.0), *never_ran(2)), now=100.0, since=1) == GiveUp(reason)


def test_what_ran_before_is_retried() -> None:
    assert isinstance(decide(ALWAYS, (*history(1.0), *never_ran(2)), now=100.0), RestartAt)
    assert isinstance(decide(ALWAYS, never_ran(*range(11, 21)), now=100.0), RestartAt)
