"""The life of a container: every pair of state and event is decided."""

from __future__ import annotations

import pytest

from stackup.core.lifecycle import TRANSITIONS, Event, transition
from stackup.core.types import State

STATES: list[State | None] = [None, *State]

ALLOWED = {
    None: {Event.CREATE},
    State.CREATED: {Event.START, Event.FAIL, Event.REMOVE},
    State.RUNNING: {Event.STOP, Event.EXIT},
    State.STOPPING: {Event.KILL, Event.EXIT},
    State.EXITED: {Event.START, Event.FAIL, Event.REMOVE},
}


@pytest.mark.parametrize("event", list(Event))
@pytest.mark.parametrize("state", STATES)
def test_every_pair(state: State | None, event: Event) -> None:
    if event in ALLOWED[state]:
        assert transition(state, event) == TRANSITIONS[state, event]
    else:
        with pytest.raises(ValueError, match=f"cannot {event.value} a container that is"):
            transition(state, event)


def test_only_a_created_or_exited_container_can_begin_a_run() -> None:
    begins = {state for (state, _), after in TRANSITIONS.items() if after is State.RUNNING}
    assert begins == {State.CREATED, State.EXITED}
