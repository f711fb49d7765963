"""How far `up` has come: is everything started (and, with --wait, ready), or is there something that never will be?"""

from __future__ import annotations

from stackup.core.fate import Fate, Wanted, done, fates
from stackup.core.plan import Failure, Plan
from stackup.core.types import Condition, Desired, Health, Observed, State


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
