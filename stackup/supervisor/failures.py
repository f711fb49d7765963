"""Puts together what is known of a failed dependency: the facts that the CLI's block shows. Reads, decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from stackup import logreader
from stackup.core.plan import Failure
from stackup.core.types import Observed
from stackup.errors import StackupError
from stackup.statedir import StackDir
from stackup.supervisor.probes import Probes

_LINES = 20
_PATIENCE = 1.0
"""Seconds for the log helper to write what a dead container left in its pipes."""


class DependencyFailed(StackupError):
    """`up` cannot finish; `failures` are plain facts for the client."""

    def __init__(self, failures: list[dict[str, Any]]) -> None:
        super().__init__("a dependency failed")
        self.failures = failures


async def describe(
    failures: Sequence[Failure], observed: Observed, directory: StackDir, probes: Probes
) -> list[dict[str, Any]]:
    """One record for each failure: service, condition, exit, last probe, the last 20 log lines, who waits."""
    described = []
    for failure in failures:
        container = observed.by_name.get(failure.container)
        probe = probes.last_result(failure.container)
        described.append(
            {
                "container": failure.container,
                "service": container.spec.service if container else failure.container,
                "condition": failure.condition.value,
                "reason": failure.reason,
                "exit": str(container.exit) if container and container.exit else None,
                "probe": {"output": probe.output, "ok": probe.ok} if probe else None,
                "log": await _last_lines(directory, failure.container, ended=bool(container and container.exit)),
                "waiters": list(failure.waiters),
            }
        )
    return described


async def _last_lines(directory: StackDir, container: str, *, ended: bool) -> list[str]:
    deadline = asyncio.get_running_loop().time() + _PATIENCE
    while True:
        records = logreader.tail(directory.logs, container, _LINES + 1, ends=True)
        complete = not ended or any(record.stream == logreader.END for record in records[-1:])
        if complete or asyncio.get_running_loop().time() > deadline:
            return [logreader.sanitize(record.text) for record in records if record.stream != logreader.END][-_LINES:]
        await asyncio.sleep(0.005)
