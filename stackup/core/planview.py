"""A plan as text, one line per node, and as JSON. The text is what `stackup plan` prints and what golden tests hold."""

from __future__ import annotations

from typing import Any, assert_never

from stackup.core.plan import (
    Action,
    AdoptSpec,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Failure,
    Hold,
    KillContainer,
    Plan,
    RemoveContainer,
    RemoveNetwork,
    StartContainer,
    StopContainer,
)
from stackup.core.simulate import forecast
from stackup.core.types import Condition

__all__ = ["forecast", "render", "subject", "to_plain", "verb"]

_AWAITED = {
    Condition.STARTED: "to start",
    Condition.HEALTHY: "to be healthy",
    Condition.COMPLETED: "to complete",
}


def verb(action: Action) -> str:
    """The action's name in texts, events and JSON."""
    match action:
        case CreateNetwork():
            return "create network"
        case RemoveNetwork():
            return "remove network"
        case CreateVolume():
            return "create volume"
        case CreateContainer():
            return "create"
        case StartContainer():
            return "start"
        case StopContainer():
            return "stop"
        case KillContainer():
            return "kill"
        case RemoveContainer():
            return "remove"
        case AdoptSpec():
            return "update"
    assert_never(action)


def subject(action: Action) -> str:
    """The name of what the action is done to."""
    match action:
        case CreateNetwork():
            return action.network.name
        case RemoveNetwork():
            return action.name
        case CreateVolume():
            return action.volume.name
        case CreateContainer() | AdoptSpec():
            return action.spec.name
        case StartContainer() | StopContainer() | KillContainer() | RemoveContainer():
            return action.container
    assert_never(action)


def render(plan: Plan, *, now: float) -> str:
    """One line per action, hold, failure and warning, in the plan's order; "nothing to do" if there is none."""
    lines = [_action_line(action) for action in plan.actions]
    lines += [_hold_line(hold, now) for hold in plan.holds]
    lines += [_failure_line(failure) for failure in plan.failures]
    lines += [f"warning: {warning}" for warning in plan.warnings]
    return "\n".join(lines) or "nothing to do"


def to_plain(plan: Plan) -> dict[str, Any]:
    """The plan as JSON-able values."""
    return {
        "actions": [
            {"action": verb(action), "object": subject(action), "cause": action.cause} | _run_number(action)
            for action in plan.actions
        ],
        "holds": [{"container": hold.container, "reason": hold.reason, "until": hold.until} for hold in plan.holds],
        "failures": [
            {
                "container": failure.container,
                "condition": failure.condition.value,
                "reason": failure.reason,
                "waiters": list(failure.waiters),
            }
            for failure in plan.failures
        ],
        "warnings": list(plan.warnings),
        "wake_at": plan.wake_at,
    }


def _run_number(action: Action) -> dict[str, int]:
    return {"run": action.run} if isinstance(action, StartContainer | StopContainer | KillContainer) else {}


def _action_line(action: Action) -> str:
    cause = f"run {action.run}: {action.cause}" if isinstance(action, StartContainer) else action.cause
    return f"{verb(action)} {subject(action)}  ({cause})"


def _hold_line(hold: Hold, now: float) -> str:
    left = "" if hold.until is None else f"  (for {max(hold.until - now, 0.0):.3g}s)"
    return f"hold {hold.container}  {hold.reason}{left}"


def _failure_line(failure: Failure) -> str:
    line = f"failure {failure.container}  {failure.reason}"
    if not failure.waiters:
        return line
    return f"{line}  (waiting for it {_AWAITED[failure.condition]}: {', '.join(failure.waiters)})"
