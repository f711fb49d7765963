"""What `up` would do: the same steps as `up` takes to its first plan, and not one further. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stackup.core.codec import from_plain
from stackup.core.requests import for_up, merge
from stackup.core.types import Desired, Observed, Project
from stackup.errors import StateError
from stackup.host.observe import observe_unattended
from stackup.statedir import StackDir

if TYPE_CHECKING:
    from stackup.core.plan import Plan
    from stackup.stackfile.stack import Stack


def last_desired(directory: StackDir) -> Desired | None:
    """What the last command that changed the stack wanted; None where there is no such record."""
    record = directory.read("desired")
    return None if record is None else from_plain(Desired, record)


def wish(stack: Stack, directory: StackDir, observed: Observed, services: Sequence[str]) -> Desired:
    """What `up` of `services` (none: all) wants now, with what outlives a change of the file.

    Raises:
        StateError: another project directory's stack has the same name.
    """
    from stackup.stackfile import resolve

    new = resolve(stack, services)
    previous = last_desired(directory) or Desired(new.stack, Project(new.project.directory))
    if observed.containers and previous.project.directory != new.project.directory:
        raise StateError(
            f"stack {new.stack} is already running from {previous.project.directory}",
            hint="choose another name with -p NAME or a `name:` key, or take that one down",
        )
    return for_up(merge(previous, new, partial=bool(services)), observed, list(services) or None)


def preview(
    stack: Stack, directory: StackDir, views: Sequence[Mapping[str, Any]], services: Sequence[str], now: float
) -> Plan:
    """The plan of an `up` that nobody has asked for; `views` is the launcher's list, empty where none runs."""
    from stackup.core.simulate import forecast

    observed = observe_unattended(directory, views)
    return forecast(wish(stack, directory, observed, services), observed, now)
