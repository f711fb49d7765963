"""Renders what was measured as Markdown. It measures nothing and states nothing that was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.harness import Figure
from bench.subject import AGAIN, DOWN, PS, UP

OURS, LIMIT = "stackup", "C limit"

_GOALS: Mapping[tuple[str, int], float] = {
    (UP, 1): 0.25,
    (UP, 30): 0.35,
    (UP, 100): 0.6,
    (AGAIN, 30): 0.15,
    (PS, 30): 0.10,
    (DOWN, 30): 0.15,
}
"""Seconds that the design asks for."""

_TARGETS: Mapping[tuple[str, int], float] = {(UP, 30): 0.6, (AGAIN, 30): 0.15, (DOWN, 30): 0.3}
"""Seconds that this version has to reach."""

_BUSY = 10.0
"""Percent of the machine that others may use before the page must say so."""

_METHOD = """
- A stack is a generated file with N services of `sleep 1000000` on one network. stackup runs them on the host's root,
  the peers in an image that holds a static busybox.
- *Cold*: nothing of the stack runs, neither supervisor nor launcher; files are in the page cache. The daemon of docker
  compose runs all the time and is not counted in its starts.
- A time is that of the whole command, from spawn to exit, its output going to a file.
- The subjects take turns in each round, each after a quiet moment or five seconds of waiting for one.
- From 100 services on there are three rounds, for a peer that needs a minute for a round only one.
- The C limit (bench/limit.c) clones all namespaces, writes the id maps, binds the root read-only, mounts /proc and
  tmpfs, enters it and executes `sleep`: no cgroups, no veth pairs, no names, no logs, no restarts.
- The peers run in namespaces of their own, on the same file system. Their `down` gets `-t 0`: `sleep` as PID 1 does
  not react to SIGTERM, and they would wait ten seconds for it. stackup sees that by itself.
- A crash is SIGKILL from outside after ten seconds of life, when a restart of stackup is immediate. Processes tell of
  their start through a FIFO, by a shell whose own start is in the figure and is given apart.
- A save is one write to a watched file. The old process has no handler for SIGTERM and is ended at once: nothing of
  the figure is the process's own stop time.
""".strip()


@dataclass
class Row:
    """One quantity of stackup alone. `goal` is in the same unit, and None where the design names none."""

    subject: str
    unit: str
    figure: Figure
    goal: float | None = None
    note: str = ""


@dataclass
class Results:
    """Everything that one run has found. `timings`: (verb, services) -> subject -> seconds."""

    machine: Mapping[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    timings: dict[tuple[str, int], dict[str, Figure]] = field(default_factory=dict)
    reactions: list[Row] = field(default_factory=list)
    memory: list[Row] = field(default_factory=list)
    idle: list[Row] = field(default_factory=list)
    load: Sequence[float] = ()
    remarks: list[str] = field(default_factory=list)


def number(value: float) -> str:
    """Three significant digits, and thousands in groups."""
    return f"{value:,.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _spread(figure: Figure, scale: float = 1.0) -> str:
    middle, low, high = (number(value * scale) for value in (figure.median, figure.low, figure.high))
    return middle if len(figure.samples) == 1 else f"{middle} ({low}-{high})"


def times(value: float, base: float) -> str:
    """A ratio, as text."""
    return f"{number(value / base)}x"


def _met(figure: Figure, goal: float | None) -> str:
    return "" if goal is None else "yes" if figure.median <= goal else "**no**"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _goal(wanted: float | None) -> str:
    return "" if wanted is None else number(wanted * 1000)


def _timings(results: Results) -> list[str]:
    peers = [name for name in results.versions if name not in (OURS, LIMIT)]
    head = ["services", "command", "target", "goal", OURS, "reached", LIMIT, "÷ limit", *(f"{name}" for name in peers)]
    rows = []
    for (verb, count), figures in results.timings.items():
        ours, limit = figures[OURS], figures.get(LIMIT)
        target, goal = _TARGETS.get((verb, count)), _GOALS.get((verb, count))
        row = [str(count), verb, _goal(target), _goal(goal), f"**{_spread(ours, 1000)}**"]
        row.append(" / ".join(filter(None, (_met(ours, target), _met(ours, goal)))))
        row += [_spread(limit, 1000), times(ours.median, limit.median)] if limit else ["", ""]
        for name in peers:
            other = figures.get(name)
            row.append(f"{_spread(other, 1000)}, {times(other.median, ours.median)}" if other else "")
        rows.append(row)
    return _table(head, rows)


def _further(results: Results) -> list[str]:
    """What each further service adds to a cold up, from the smallest to the largest stack."""
    counts = sorted(count for verb, count in results.timings if verb == UP)
    if len(counts) < 2:
        return []
    first, last = (results.timings[UP, count] for count in (counts[0], counts[-1]))
    each = {
        name: 1000 * (last[name].median - first[name].median) / (counts[-1] - counts[0])
        for name in last
        if name in first
    }
    text = ", ".join(f"{name} {number(value)} ms" for name, value in each.items())
    return [f"Each further service of a cold `up -d`, from {counts[0]} to {counts[-1]}: {text} (goal: 3 ms).", ""]


def _rows(rows: Sequence[Row]) -> list[str]:
    table = [
        [
            row.subject,
            "" if row.goal is None else f"{number(row.goal)} {row.unit}",
            f"{_spread(row.figure)} {row.unit}",
            _met(row.figure, row.goal),
            row.note,
        ]
        for row in rows
    ]
    return [*_table(["figure", "goal", "measured", "reached", "note"], table), ""]


def render(results: Results) -> str:
    """The whole page."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; run it for your own machine. Every figure is a median, with minimum and maximum in",
        "brackets where there was more than one run.",
        "",
        "## The machine",
        "",
        *_table(["", ""], [[name, value] for name, value in results.machine.items()]),
        *(f"| {name} | {version} |" for name, version in results.versions.items()),
        *(f"| {name} | not measured: {reason} |" for name, reason in results.missing.items()),
    ]
    if results.load:
        busiest = Figure([100 * share for share in results.load])
        lines.append(f"| other work on the machine before each run | {_spread(busiest)} % of all processors |")
        if busiest.median > _BUSY:
            lines += ["", "**The machine was busy during this run: the times are too long, and the ratios uncertain.**"]
    lines += ["", "## Starting and stopping", ""]
    lines += ["Milliseconds. *Target* is what this version has to reach, *goal* what the design asks for in the end. A"]
    lines += ["peer's ratio is to stackup: 10x took ten times as long.", "", *_timings(results), "", *_further(results)]
    if results.reactions:
        lines += ["## Reactions", "", *_rows(results.reactions)]
    if results.memory:
        lines += [
            "## Memory",
            "",
            "PSS: pages that several processes share count in parts.",
            "",
            *_rows(results.memory),
        ]
    if results.idle:
        lines += ["## Processor time of 20 idle services", "", "Percent of one processor.", "", *_rows(results.idle)]
    lines += ["## How it was measured", "", _METHOD, *(f"- {remark}" for remark in results.remarks), ""]
    return "\n".join(lines)
