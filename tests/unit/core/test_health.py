"""Health verdicts: when probes are due, and which results count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackup.core.health import HealthRecord, after_probe, begin, next_probe_at, resume
from stackup.core.types import Health, Healthcheck

CHECK = Healthcheck(("true",), interval=10.0, timeout=5.0, retries=3)


def probe(check: Healthcheck, record: HealthRecord, ok: bool, took: float = 0.0) -> HealthRecord:
    """The next probe, at the moment it is due."""
    at = next_probe_at(check, record)
    return after_probe(check, record, ok, "output", at, at + took)


def fail_until(
    check: Healthcheck, record: HealthRecord, health: Health, limit: int = 1000
) -> tuple[HealthRecord, float]:
    """Failing probes until the verdict is `health`; the record, and when the last probe began."""
    for _ in range(limit):
        at = next_probe_at(check, record)
        record = after_probe(check, record, False, "", at, at)
        if record.health is health:
            return record, at
    raise AssertionError(f"still {record.health} after {limit} probes")


def test_the_first_probes_are_frequent_and_thin_out_to_one_a_second() -> None:
    record, moments = begin(CHECK, 100.0), []
    for _ in range(9):
        moments.append(round(next_probe_at(CHECK, record) - 100.0, 3))
        record = probe(CHECK, record, ok=False)
    assert moments == [0.1, 0.125, 0.175, 0.275, 0.475, 0.875, 1.675, 2.675, 3.675]


def test_probes_never_overlap() -> None:
    record = probe(CHECK, begin(CHECK, 100.0), ok=False, took=4.0)
    assert next_probe_at(CHECK, record) == pytest.approx(104.125)


def test_after_the_first_success_the_interval_counts_from_the_end_of_the_last_probe() -> None:
    record = probe(CHECK, begin(CHECK, 100.0), ok=True, took=2.0)
    assert record.health is Health.HEALTHY
    assert next_probe_at(CHECK, record) == pytest.approx(112.1)


@pytest.mark.parametrize(
    ("options", "unhealthy_after"),
    [
        ({"retries": 3}, 30.0),
        ({"retries": 1}, 10.0),
        ({"retries": 2, "interval": 0.5}, 1.0),
        ({"retries": 2, "start_period": 25.0}, 40.0),
        ({"retries": 2, "start_period": 20.0}, 30.0),
        ({"retries": 3, "interval": 0.05}, 0.15),
    ],
)
def test_only_the_specified_instants_count_before_the_first_success(
    options: dict[str, float], unhealthy_after: float
) -> None:
    check = Healthcheck(("true",), **({"interval": 10.0} | options))  # type: ignore[arg-type]
    _, at = fail_until(check, begin(check, 100.0), Health.UNHEALTHY)
    assert at - 100.0 == pytest.approx(unhealthy_after)


def test_a_success_in_the_start_period_ends_it() -> None:
    check = Healthcheck(("true",), interval=1.0, retries=2, start_period=1000.0)
    record = probe(check, begin(check, 100.0), ok=True)
    assert fail_until(check, record, Health.UNHEALTHY)[1] == pytest.approx(102.1)


def test_a_success_resets_the_streak_and_heals() -> None:
    record = probe(CHECK, begin(CHECK, 0.0), ok=True)
    for _ in range(2):
        record = probe(CHECK, record, ok=False)
    assert (record.health, record.streak) == (Health.HEALTHY, 2)
    record = probe(CHECK, record, ok=True)
    assert record.streak == 0
    record, _ = fail_until(CHECK, record, Health.UNHEALTHY)
    assert probe(CHECK, record, ok=True).health is Health.HEALTHY


def test_the_last_five_results_are_kept_and_their_output_is_cut() -> None:
    record = begin(CHECK, 0.0)
    for number in range(7):
        record = after_probe(CHECK, record, False, f"{number} " + "é" * 5000, float(number), float(number))
    assert [result.output[0] for result in record.results] == ["2", "3", "4", "5", "6"]
    assert all(len(result.output.encode()) <= 4096 for result in record.results)


def test_a_new_supervisor_goes_on_from_the_verdict() -> None:
    record = resume(CHECK, 100.0, Health.HEALTHY, now=500.0)
    assert next_probe_at(CHECK, record) <= 500.0
    record = after_probe(CHECK, record, False, "", 500.0, 500.0)
    assert (record.health, record.streak, next_probe_at(CHECK, record)) == (Health.HEALTHY, 1, 510.0)


def test_a_new_supervisor_does_not_count_the_instants_before_it() -> None:
    record = resume(CHECK, 100.0, Health.STARTING, now=505.0)
    record = after_probe(CHECK, record, False, "", 505.0, 505.0)
    assert record.streak == 0
    record = after_probe(CHECK, record, False, "", 510.0, 510.0)
    assert record.streak == 1


@given(
    st.floats(0, 1e6),
    st.floats(0.001, 100),
    st.lists(st.tuples(st.booleans(), st.floats(0, 40)), max_size=40),
)
def test_time_always_moves_on(start: float, interval: float, results: list[tuple[bool, float]]) -> None:
    check = Healthcheck(("true",), interval=interval)
    record, last_end = begin(check, start), start
    for ok, took in results:
        at = next_probe_at(check, record)
        assert at >= last_end
        last_end = at + took
        before = record
        record = after_probe(check, record, ok, "", at, last_end)
        assert record.instants >= before.instants
        if ok:
            assert record.health is Health.HEALTHY
        if record.health is Health.UNHEALTHY:
            assert record.streak >= check.retries
