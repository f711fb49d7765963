"""Compiles and runs limit.c, the lower bound that every figure is compared with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench.harness import BenchError
from bench.subject import tool

_SOURCE = Path(__file__).with_name("limit.c")


def build(work: Path) -> Path:
    """Compile it. Raises BenchError: there is no compiler, or it fails."""
    compiler = tool("cc")
    if compiler is None:
        raise BenchError("there is no C compiler (apt-get install gcc libc6-dev)")
    program = work / "limit"
    done = subprocess.run([compiler, "-O2", "-o", program, _SOURCE], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"cc: {(done.stderr.strip().splitlines() or ['failed'])[0].rpartition('limit.c:')[2]}")
    return program


def run(program: Path, count: int) -> tuple[float, float]:
    """Seconds to start and to end that many containers. Raises BenchError: the kernel refused a step."""
    done = subprocess.run([program, str(count)], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(done.stderr.strip() or f"exited {done.returncode}")
    up, down = done.stdout.split()
    return int(up) / 1e9, int(down) / 1e9
