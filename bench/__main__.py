"""`python -m bench`: measures stackup, the C limit and the peers that are installed, and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench import footprint, limit, reactions
from bench.harness import BenchError, Figure, Load
from bench.peers import Sandbox, peers
from bench.report import LIMIT, OURS, Results, Row, number, render, times
from bench.subject import DOWN, UP, Subject, make_directory, sleepers, stackup

_MANY = 100
_FEW_RUNS = 3
_SLOW, _BUDGET = 60.0, 300.0
"""Seconds: a peer whose round takes longer than the first gets one round only, longer than the second none."""


def _machine() -> dict[str, str]:
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
    return {
        "date": datetime.date.today().isoformat(),
        "processors": f"{os.cpu_count()} x {cpu}",
        "memory": f"{kilobytes / 1024 / 1024:.0f} GiB",
        "kernel": platform.release().partition("-")[0],
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
        "Python": platform.python_version(),
        "user": "root" if os.geteuid() == 0 else "unprivileged",
    }


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


class Bench:
    """One run over everything that was asked for."""

    def __init__(self, work: Path, runs: int) -> None:
        self.work, self.runs, self.load = work, runs, Load()
        self.results = Results(_machine(), load=self.load.seen)
        self.ours = stackup(work)
        self.results.versions[OURS] = self.ours.version
        self.program: Path | None = None
        try:
            self.program = limit.build(work)
            limit.run(self.program, 1)
            self.results.versions[LIMIT] = "bench/limit.c"
        except BenchError as error:
            self.program = None
            self.results.missing[LIMIT] = str(error)
        self.peers: list[tuple[Subject, Sandbox]] = []

    def find_peers(self) -> None:
        self.peers, missing = peers(self.work)
        self.results.missing |= missing
        for subject, _ in self.peers:
            self.results.versions[subject.name] = subject.version
            if subject.remark:
                self.results.remarks.append(subject.remark)

    def close(self) -> None:
        """Leave nothing behind, whatever has happened."""
        for _, sandbox in self.peers:
            sandbox.close()
        with suppress(BenchError):  # nothing was started, or it is down already
            self.ours.run(DOWN)

    # --- starting and stopping ----------------------------------------------------------------------------------------

    def timings(self, counts: Sequence[int]) -> None:
        """All verbs for all sizes. A peer's cost is foreseen from the size before."""
        subjects = [self.ours, *(subject for subject, _ in self.peers)]
        costs = {subject.name: self._round(subject, 1, keep=False) for subject in subjects}
        before = 1
        for count in counts:
            runs = self.runs if count < _MANY else min(self.runs, _FEW_RUNS)
            rounds = {OURS: runs}
            for peer, _ in self.peers:
                foreseen = costs[peer.name] * count / before
                rounds[peer.name] = 0 if foreseen > _BUDGET else 1 if foreseen > _SLOW else runs
                if foreseen > _BUDGET:
                    text = f"{peer.name} with {count} services was left out: a round would take {foreseen:.0f} s."
                    self.results.remarks.append(text)
            for turn in range(runs):
                _say(f"{count} services, round {turn + 1} of {runs}")
                for subject in subjects:
                    if turn < rounds[subject.name]:
                        costs[subject.name] = self._round(subject, count)
                self._limit(count)
            before = count

    def _round(self, subject: Subject, count: int, *, keep: bool = True) -> float:
        subject.write(sleepers(count))
        total = 0.0
        for verb in subject.verbs:
            self.load.settle()
            took = subject.run(verb)
            total += took
            if keep:
                self._note(verb, count, subject.name, took)
        return total

    def _limit(self, count: int) -> None:
        if self.program is not None:
            self.load.settle()
            up, down = limit.run(self.program, count)
            self._note(UP, count, LIMIT, up)
            self._note(DOWN, count, LIMIT, down)

    def _note(self, verb: str, count: int, subject: str, seconds: float) -> None:
        figures = self.results.timings.setdefault((verb, count), {})
        figures.setdefault(subject, Figure()).samples.append(seconds)

    # --- running ------------------------------------------------------------------------------------------------------

    def reactions(self) -> None:
        """Crash to exec for all, save to exec, and what of both is the shell's own start."""
        rows, runs = self.results.reactions, max(self.runs, 5)

        def add(subject: str, figure: Figure, goal: float | None = None, note: str = "") -> None:
            rows.append(Row(subject, "ms", Figure([1000 * sample for sample in figure.samples]), goal, note))

        _say("crash to exec")
        add("start of the shell that tells", reactions.shell_start(self.ours.directory, runs), None, "in all below")
        ours = reactions.crash_to_exec(self.ours, runs)
        add("SIGKILL to the next process", ours, 5)
        for subject, _ in self.peers:
            try:
                theirs = reactions.crash_to_exec(subject, runs)
            except BenchError as error:
                self.results.remarks.append(f"{subject.name}, SIGKILL to the next process: {error}.")
            else:
                ratio = f"{times(theirs.median, ours.median)} stackup"
                add(f"{subject.name}: SIGKILL to the next process", theirs, None, ratio)
        _say("save to exec")
        to_death, to_start = reactions.save_to_exec(self.ours, runs)
        add("saved file to the next process", to_start, 60)
        add("saved file to the end of the old process", to_death, None, "part of the above")

    def memory(self, count: int) -> None:
        """Memory by process, and of all that runs beside the containers, for each subject."""
        _say(f"memory with {count} services")
        rows, runs = self.results.memory, min(self.runs, 5)
        goals = {"supervisor": 60.0, "launcher": 14.0}
        for kind, figure in footprint.memory_by_process(self.ours, count, runs).items():
            rows.append(Row(f"{kind}, stack of {count}", "MB", figure, goals.get(kind)))
        subjects = [(self.ours, lambda: footprint.own_pids(self.ours)), *((s, box.pids) for s, box in self.peers)]
        for subject, pids in subjects:
            one = footprint.overhead(subject, pids, 1, runs)
            many = footprint.overhead(subject, pids, count, runs)
            each = (many.median - one.median) / (count - 1)
            rows.append(Row(f"{subject.name}: all but the containers, stack of 1", "MB", one))
            note = f"{number(each)} MB for each further service"
            rows.append(Row(f"{subject.name}: all but the containers, stack of {count}", "MB", many, None, note))

    def idle(self, seconds: float) -> None:
        """Processor time of idle services, with probes and without."""
        _say("processor time of idle services")
        for probes in (True, False):
            kind = "with a probe every second" if probes else "without probes"
            for process, figure in footprint.idle(self.ours, self.runs, seconds, probes=probes).items():
                if process == "everything" or probes:
                    goal = 1.0 if probes and process == "everything" else None
                    self.results.idle.append(Row(f"{process}, {kind}", "%", figure, goal))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--services", default="1,10,30,100", metavar="N,...", help="sizes of the stacks (%(default)s)")
    parser.add_argument("--runs", type=int, default=5, help="rounds for each figure; 3 at most from 100 services on")
    parser.add_argument("--quick", action="store_true", help="two rounds, sizes 1 and 30, short waits")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="measure the peers too")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks.md"), metavar="FILE")
    arguments = parser.parse_args()
    counts = sorted({int(count) for count in ("1,30" if arguments.quick else arguments.services).split(",")})
    runs = 2 if arguments.quick else arguments.runs
    work = make_directory(Path(tempfile.mkdtemp(prefix="stackup-bench-")))
    bench = Bench(work, runs)
    try:
        if arguments.peers:
            bench.find_peers()
        bench.timings(counts)
        bench.reactions()
        bench.memory(30)
        bench.idle(2.0 if arguments.quick else 10.0)
    except BenchError as error:
        _say(f"stopped: {error}")
        return 1
    finally:
        bench.close()
        shutil.rmtree(work)
    arguments.output.write_text(render(bench.results))
    _say(f"wrote {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
