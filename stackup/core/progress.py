"""How far a command has come: has it reached what it wished for, or is there something that never will let it?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from stackup.core.fate import Fate, Wanted, done, fates
from stackup.core.plan import Failure, Plan
from stackup.core.types import Condition, Desired, Health, Observed, State


@dataclass(frozen=True, slots=True)
class Up:
    """Everything wanted has started; with `healthy` it is ready as well."""

    healthy: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """The services' containers have begun the runs that were asked for, whatever becomes of other services."""

    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class Stopped:
    """No container of the services runs."""

    services: frozenset[str]


@dataclass(frozen=True, slots=True)
class Gone:
    """No container is left."""


Goal = Up | Begun | Stopped | Gone


def reached(goal: Goal, desired: Desired, observed: Observed, plan: Plan) -> bool:
    """Whether a command has what it wished for. `plan` is the plan for this very pair."""
    match goal:
        case Up(healthy):
            return settled(desired, observed, plan, healthy=healthy)
        case Begun(services):
            wanted = Wanted(desired)
            names = [name for name, spec in wanted.specs.items() if spec.service in services]
            return all(_is_settled(wanted, observed, name, healthy=False) for name in names)
        case Stopped(services):
            return all(
                container.state in (State.EXITED, State.CREATED)
                for container in observed.containers
                if container.spec.service in services
            )
        case Gone():
            return not observed.containers


def obstacles(goal: Goal, desired: Desired, observed: Observed, plan: Plan, now: float) -> tuple[Failure, ...]:
    """What keeps the goal from ever being reached, as far as that is known; empty while it may still come."""
    match goal:
        case Up(healthy):
            return plan.failures or (never_ready(desired, observed, now) if healthy else ())
        case Begun(services):
            return tuple(failure for failure in plan.failures if _concerns(failure, observed, services))
        case Stopped() | Gone():
            return ()


def _concerns(failure: Failure, observed: Observed, services: Collection[str]) -> bool:
    names = {container.name for container in observed.containers if container.spec.service in services}
    return failure.container in names or not names.isdisjoint(failure.waiters)


def settled(desired: Desired, observed: Observed, plan: Plan, *, healthy: bool) -> bool:
    """Whether `up` has done what it promised. `plan` is the plan for this very pair.

    Every wanted container that nobody stopped has begun a run as it is wanted, and what is not wanted is gone. With
    `healthy` they also run and are healthy where there is a healthcheck; a one-shot that completed counts as ready.
    """
    if plan.actions:
        return False
    wanted = Wanted(desired)
    if observed.by_name.keys() - wanted.specs.keys():
        return False
    return all(
        _is_settled(wanted, observed, name, healthy)
        for name, spec in wanted.specs.items()
        if spec.service not in wanted.stopped
    )


def never_ready(desired: Desired, observed: Observed, now: float) -> tuple[Failure, ...]:
    """The containers for which `up --wait` would wait in vain: unhealthy, or ended without having completed."""
    found = []
    for fate in fates(Wanted(desired), observed, now):
        reason = _hopeless(fate)
        if reason is not None:
            found.append(Failure(fate.name, Condition.HEALTHY, reason))
    return tuple(found)


def _is_settled(wanted: Wanted, observed: Observed, name: str, healthy: bool) -> bool:
    container = observed.by_name.get(name)
    if container is None or wanted.changed(container) or wanted.pending(container) is not None:
        return False
    if container.state is State.EXITED:
        return done(container) if healthy else True
    if container.state is not State.RUNNING:
        return False
    return not healthy or container.spec.healthcheck is None or container.health is Health.HEALTHY


def _hopeless(fate: Fate) -> str | None:
    seen = fate.seen
    if seen is None or fate.spec is None or fate.unsettled:
        return None
    if seen.state is State.RUNNING:
        return "is unhealthy" if seen.health is Health.UNHEALTHY else None
    return None if done(seen) else fate.rest
