"""The gate in front of every start: have the dependencies of a container come as far as its `depends_on` asks?

Verdicts are found once per service and condition. A gate is open, closed for now, or closed for good (a failure).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from stackup.core.fate import Fate, Wanted, completed
from stackup.core.types import Condition, ContainerSpec, Dependency, Health, State


class Pass(Enum):
    """The verdict on one container of a dependency."""

    YES = "yes"
    NOT_YET = "not yet"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a service: `waits` names what is missing, `failed` the (container, reason) that will not come."""

    waits: str | None = None
    failed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate of one container. `text` is the reason of its hold, or (open) of its start.

    `failed` holds (container, condition, reason) of required dependencies that will not come.
    """

    is_open: bool
    text: str
    failed: tuple[tuple[str, Condition, str], ...] = ()
    warnings: tuple[str, ...] = ()


class Gates:
    """All gates of one plan. `fates` by container name."""

    def __init__(self, wanted: Wanted, fates: Mapping[str, Fate]) -> None:
        self._wanted, self._fates = wanted, fates
        self._verdicts: dict[tuple[str, Condition], Verdict] = {}

    def of(self, spec: ContainerSpec) -> Gate:
        """The gate in front of a container with this spec."""
        waits: list[str] = []
        opened: list[str] = []
        failed: list[tuple[str, Condition, str]] = []
        warnings: list[str] = []
        for dependency in sorted(spec.depends_on, key=lambda dependency: dependency.service):
            if dependency.service not in self._wanted.services:
                continue
            verdict = self._verdict(dependency)
            if verdict.failed and dependency.required:
                failed += [(container, dependency.condition, reason) for container, reason in verdict.failed]
            elif verdict.failed:
                warnings += [
                    f"{spec.name} starts without its optional dependency: {container} {reason}"
                    for container, reason in verdict.failed
                ]
            elif verdict.waits is not None:
                waits.append(verdict.waits)
            else:
                opened.append(_came_true(dependency))
        if failed:
            return Gate(False, f"cannot start: {_list([f'{name} {why}' for name, _, why in failed])}", tuple(failed))
        if waits:
            return Gate(False, f"waits for {_list(waits)}")
        return Gate(True, _list(opened), warnings=tuple(warnings))

    def _verdict(self, dependency: Dependency) -> Verdict:
        key = dependency.service, dependency.condition
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._judge(*key)
        return verdict

    def _judge(self, service: str, condition: Condition) -> Verdict:
        waits, failed = None, []
        for spec in self._wanted.services[service]:
            passed, reason = self._pass(self._fates[spec.name], condition)
            if passed is Pass.NEVER:
                failed.append((spec.name, reason))
            elif passed is Pass.NOT_YET and waits is None:
                waits = reason
        return Verdict(waits, tuple(failed))

    def _pass(self, fate: Fate, condition: Condition) -> tuple[Pass, str]:
        seen, later = fate.seen, _awaited(fate.service, condition)
        if condition is Condition.COMPLETED and self._has_completed(fate):
            return Pass.YES, ""
        if fate.service in self._wanted.stopped:
            return Pass.NOT_YET, f"{fate.service}, which was stopped"
        if fate.unsettled or seen is None or seen.state in (State.CREATED, State.STOPPING):
            return Pass.NOT_YET, later
        if seen.state is State.EXITED:
            if fate.wait is not None:
                return Pass.NOT_YET, f"{fate.service}, which runs again soon ({fate.wait.reason})"
            if condition is Condition.STARTED and not fate.failed_to_launch:
                return Pass.YES, ""
            return Pass.NEVER, fate.rest or str(seen.exit)
        match condition:
            case Condition.STARTED:
                return Pass.YES, ""
            case Condition.COMPLETED:
                return Pass.NOT_YET, later
            case Condition.HEALTHY:
                if seen.spec.healthcheck is None:
                    return Pass.NEVER, "has no healthcheck"
                if seen.health is Health.UNHEALTHY:
                    return Pass.NEVER, "is unhealthy"
                return (Pass.YES, "") if seen.health is Health.HEALTHY else (Pass.NOT_YET, later)
        assert_never(condition)

    def _has_completed(self, fate: Fate) -> bool:
        """A run that the restart policy adds does not take the completion back; a request or a new spec does."""
        seen = fate.seen
        return seen is not None and fate.remove is None and completed(seen) and self._wanted.pending(seen) is None


def _awaited(service: str, condition: Condition) -> str:
    match condition:
        case Condition.STARTED:
            return f"{service} to start"
        case Condition.HEALTHY:
            return f"{service} to be healthy"
        case Condition.COMPLETED:
            return f"{service} to complete"
    assert_never(condition)


def _came_true(dependency: Dependency) -> str:
    match dependency.condition:
        case Condition.STARTED:
            return f"{dependency.service} has started"
        case Condition.HEALTHY:
            return f"{dependency.service} is healthy"
        case Condition.COMPLETED:
            return f"{dependency.service} has completed"
    assert_never(dependency.condition)


def _list(items: list[str], limit: int = 4) -> str:
    if len(items) <= limit:
        return ", ".join(items)
    return f"{', '.join(items[:limit])} and {len(items) - limit} more"
