"""The benchmark's report: what is said follows from what was measured."""

from __future__ import annotations

import pytest

from bench.harness import Figure
from bench.report import LIMIT, OURS, Results, Row, number, render
from bench.subject import UP


def results(seconds: float) -> Results:
    return Results(
        machine={"kernel": "6.1"},
        versions={OURS: "1.0", LIMIT: "bench/limit.c", "docker compose": "2.0"},
        missing={"podman-compose": "not installed"},
        timings={
            (UP, 1): {OURS: Figure([0.2]), LIMIT: Figure([0.001]), "docker compose": Figure([1.0])},
            (UP, 30): {OURS: Figure([seconds]), LIMIT: Figure([0.03]), "docker compose": Figure([5.0])},
        },
    )


@pytest.mark.parametrize(("seconds", "verdict"), [(0.3, "yes / yes"), (0.5, "yes / **no**"), (0.7, "**no** / **no**")])
def test_target_and_goal_are_compared_with_the_median(seconds: float, verdict: str) -> None:
    line = next(line for line in render(results(seconds)).splitlines() if line.startswith("| 30 |"))
    assert f"| {verdict} |" in line


def test_ratios_are_to_the_limit_and_of_peers_to_stackup() -> None:
    line = next(line for line in render(results(0.5)).splitlines() if line.startswith("| 30 |"))
    assert "| 16.7x |" in line
    assert "5,000, 10.0x" in line


def test_what_was_not_measured_is_named_with_its_reason_and_has_no_section() -> None:
    page = render(results(0.5))
    assert "| podman-compose | not measured: not installed |" in page
    assert "## Memory" not in page


def test_each_further_service_is_the_slope_between_the_sizes() -> None:
    assert "stackup 10.3 ms" in render(results(0.5))


def test_spread_and_goal_of_a_row() -> None:
    page = results(0.5)
    page.reactions.append(Row("crash", "ms", Figure([4.0, 6.0, 20.0]), goal=5.0))
    assert "| crash | 5.00 ms | 6.00 (4.00-20.0) ms | **no** |" in render(page)


@pytest.mark.parametrize(("value", "text"), [(0.004, "0.00"), (9.994, "9.99"), (9.996, "10.0"), (1234.5, "1,234")])
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
