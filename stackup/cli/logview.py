"""Log records as lines for people: prefix, colour, time. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

from stackup.cli.output import PALETTE, paint
from stackup.logreader import Record, sanitize


def service_of(stack: str, container: str) -> str:
    """The service in a container's name, `STACK-SERVICE-NUMBER`."""
    return container.removeprefix(f"{stack}-").rpartition("-")[0]


class OfServices:
    """The containers of `services` as something to ask with `in`; without services, all of the stack's."""

    def __init__(self, stack: str, services: Collection[str]) -> None:
        self._stack, self._services = stack, services

    def __contains__(self, container: object) -> bool:
        return not self._services or service_of(self._stack, str(container)) in self._services


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with all nine digits."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


class LogView:
    """Turns a record into a line. The colour of a service is the same in every command."""

    def __init__(self, stack: str, *, colour: bool, prefix: bool = True, timestamps: bool = False) -> None:
        self._stack, self._colour, self._prefix, self._timestamps = stack, colour, prefix, timestamps
        self._width = 0
        self._prefixes: dict[str, str] = {}

    def expect(self, containers: Iterable[str]) -> None:
        """Make room for the names of these containers."""
        widest = max((len(self._short(name)) for name in containers), default=0)
        if widest > self._width:
            self._width = widest
            self._prefixes.clear()

    def line(self, record: Record) -> str:
        """One line of output, harmless for a terminal; without colours it holds no escape at all."""
        text = sanitize(record.text, colours=self._colour)
        if self._timestamps:
            text = f"{timestamp(record.ns)} {text}"
        return self._prefix_of(record.container) + text if self._prefix else text

    def notice(self, container: str, text: str) -> str:
        """A sentence about a container between the lines of its log."""
        return paint(f"{self._short(container)} {text}", self._colour_of(container), self._colour)

    def _prefix_of(self, container: str) -> str:
        if container not in self._prefixes:
            self.expect([container])
            name = f"{self._short(container).ljust(self._width)}  | "
            self._prefixes[container] = paint(name, self._colour_of(container), self._colour)
        return self._prefixes[container]

    def _colour_of(self, container: str) -> str:
        # Not hash(): it differs from process to process.
        return PALETTE[sum(service_of(self._stack, container).encode()) % len(PALETTE)]

    def _short(self, container: str) -> str:
        return container.removeprefix(f"{self._stack}-")
