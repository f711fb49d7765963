"""The one clock of durations and deadlines."""

from __future__ import annotations

import time


def boottime() -> float:
    """Seconds of CLOCK_BOOTTIME, which also counts while the machine sleeps (clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
