"""Standard output and standard error: whether they take colours, and how a line gets there. Decides no text."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from stackup.cli.invocation import Ansi

RESET = "\x1b[0m"
BOLD, DIM, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = (f"\x1b[{code}m" for code in (1, 2, 31, 32, 33, 34, 35, 36))
PALETTE = (CYAN, YELLOW, GREEN, MAGENTA, BLUE, *(f"\x1b[{code}m" for code in (96, 93, 92, 95, 94)))
"""Colours that tell services apart; red is kept for errors."""


def wants_colour(stream: TextIO, ansi: Ansi) -> bool:
    """Whether `stream` gets escapes: as told, else a terminal that is not dumb and has no NO_COLOR (no-color.org)."""
    if ansi is not Ansi.AUTO:
        return ansi is Ansi.ALWAYS
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")


def paint(text: str, colour: str, enabled: bool) -> str:
    return f"{colour}{text}{RESET}" if enabled and text else text


class Output:
    """Where a verb writes: data to standard output, everything else to standard error."""

    def __init__(self, ansi: Ansi) -> None:
        self.out_colour = wants_colour(sys.stdout, ansi)
        self.err_colour = wants_colour(sys.stderr, ansi)

    def line(self, text: str) -> None:
        """Data: one line or several. Raises BrokenPipeError when the reader has gone."""
        sys.stdout.write(text + "\n")

    def flush(self) -> None:
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Anything that is not data. A closed or full standard error is no reason to stop working."""
        try:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
        except OSError:
            return

    def warn(self, text: str) -> None:
        self.note(paint("warning: ", YELLOW, self.err_colour) + text)
