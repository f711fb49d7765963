"""The life of a container as one table: (state, event) -> state. None stands for a container that does not exist."""

from __future__ import annotations

from enum import Enum

from stackup.core.types import State


class Event(Enum):
    """What can happen to a container. FAIL is a run that ended before its program was executed."""

    CREATE = "create"
    START = "start"
    FAIL = "fail"
    STOP = "stop"
    KILL = "kill"
    EXIT = "exit"
    REMOVE = "remove"


TRANSITIONS: dict[tuple[State | None, Event], State | None] = {
    (None, Event.CREATE): State.CREATED,
    (State.CREATED, Event.START): State.RUNNING,
    (State.CREATED, Event.FAIL): State.EXITED,
    (State.CREATED, Event.REMOVE): None,
    (State.RUNNING, Event.STOP): State.STOPPING,
    (State.RUNNING, Event.EXIT): State.EXITED,
    (State.STOPPING, Event.KILL): State.STOPPING,
    (State.STOPPING, Event.EXIT): State.EXITED,
    (State.EXITED, Event.START): State.RUNNING,
    (State.EXITED, Event.FAIL): State.EXITED,
    (State.EXITED, Event.REMOVE): None,
}


def transition(state: State | None, event: Event) -> State | None:
    """The state after `event`.

    Raises:
        ValueError: the event cannot happen in that state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"cannot {event.value} a container that is {state.value if state else 'absent'}") from None
