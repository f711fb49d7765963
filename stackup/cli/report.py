"""Errors as text: the problems of stack files with the line they are in, the block for a failed dependency, hints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stackup.cli.output import BOLD, CYAN, RED, paint
from stackup.errors import DependencyError, Problem, StackFileError, StackupError

_EXCERPT_WIDTH = 120
_CONDITIONS = {
    "service_started": "to start",
    "service_healthy": "to be healthy",
    "service_completed_successfully": "to complete successfully",
}


def render_error(error: StackupError, *, colour: bool = False, excerpts: bool = False) -> str:
    """Everything that is said about an error, hint included. `excerpts`: also show the lines of the files."""
    if isinstance(error, StackFileError):
        return _problems(error.problems, colour=colour, excerpts=excerpts)
    # The block of a failed dependency begins with that word by itself, once for each of them.
    start = "" if isinstance(error, DependencyError) else paint("error: ", RED + BOLD, colour)
    return f"{start}{error.message}" + (f"\n{paint('hint: ', CYAN, colour)}{error.hint}" if error.hint else "")


def _problems(problems: Sequence[Problem], *, colour: bool, excerpts: bool) -> str:
    lines: list[str] = []
    sources: dict[str, list[str]] = {}
    for problem in problems:
        lines.append(str(problem))
        if excerpts:
            lines += _excerpt(problem, sources, colour)
    found = len(problems)
    lines.append(f"{paint('error: ', RED + BOLD, colour)}{found} {'problem' if found == 1 else 'problems'}")
    return "\n".join(lines)


def _excerpt(problem: Problem, sources: dict[str, list[str]], colour: bool) -> list[str]:
    """The line of a problem with a caret below its column; nothing where the file cannot be shown."""
    if problem.file not in sources:
        try:
            with open(problem.file, encoding="utf-8", errors="replace") as file:
                sources[problem.file] = file.read(4 * 1024 * 1024).split("\n")
        except OSError:  # the problem may be that very file; its place has been named already
            sources[problem.file] = []
    lines = sources[problem.file]
    if not 0 < problem.line <= len(lines):
        return []
    # One blank per character, so that the caret stays below its column; control characters never reach the terminal.
    shown = "".join(char if char.isprintable() else " " for char in lines[problem.line - 1])
    start = max(0, problem.column - _EXCERPT_WIDTH + 20)
    number = str(problem.line)
    gutter = f"  {number} | "
    caret = " " * (len(gutter) + problem.column - 1 - start) + paint("^", RED + BOLD, colour)
    return [gutter + shown[start : start + _EXCERPT_WIDTH].rstrip(), caret]


def dependency_block(failures: Sequence[Mapping[str, Any]]) -> str:
    """The block for dependencies that failed: what, how, its last probe, its last lines, and who waits for it."""
    return "\n".join(line for failure in failures for line in _failure(failure))


def _failure(failure: Mapping[str, Any]) -> list[str]:
    condition = _CONDITIONS.get(failure.get("condition") or "", "")
    lines = [f"error: {failure['container']} failed: {failure['reason']}"]
    lines.append(f"  service     {failure['service']}")
    if failure.get("waiters"):
        lines.append(f"  condition   {failure['condition']}")
    if failure.get("exit"):
        lines.append(f"  exit        {failure['exit']}")
    probe = failure.get("probe")
    if probe:
        lines.append(f"  last probe  {'succeeded' if probe['ok'] else 'failed'}")
        lines += [f"              {line}" for line in _printable(probe.get("output") or "")]
    if failure.get("log"):
        count = len(failure["log"])
        lines.append(f"  last {count} log {'line' if count == 1 else 'lines'}")
        lines += [f"    | {line}" for text in failure["log"] for line in _printable(text)]
    if failure.get("waiters"):
        names = ", ".join(failure["waiters"])
        lines.append(
            f"  waiting     {names} ({'waits' if len(failure['waiters']) == 1 else 'wait'} for it {condition})"
        )
    return lines


def _printable(text: str) -> list[str]:
    """The lines of foreign text without anything that a terminal would obey."""
    return [
        "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in line)
        for line in text.splitlines()
    ]
