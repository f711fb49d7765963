"""Commands inside containers, seen from the supervisor: numbered, awaited, killed when their time is up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from stackup.errors import StateError
from stackup.host.linux import LinuxHost

OUTPUT_LIMIT = 4096
"""Bytes of a probe's output that are kept."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended: as a launcher's exit ("code", "signal", "error"), and its output where that was captured."""

    code: int | None
    signal: int | None
    error: str | None
    output: str = ""
    timed_out: bool = False

    @property
    def status(self) -> int:
        """The exit code as a shell has it; 125 where nothing is known."""
        if self.signal is not None:
            return 128 + self.signal
        return 125 if self.code is None else self.code


class Commands:
    """Starts commands through the launcher and hands out their ends."""

    def __init__(self, host: LinuxHost) -> None:
        self._host = host
        self._last = 0
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any]]] = {}
        self._terminals: dict[int, Callable[[int], None]] = {}

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a launcher's message about a command."""
        number = message.get("command", 0)
        if "terminal" in message:
            fd = message["fds"][0]
            if number in self._terminals:
                self._terminals[number](fd)
            os.close(fd)
            return
        waiting = self._waiting.pop(number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(message["exit"])

    async def run(
        self,
        container: str,
        request: Mapping[str, Any],
        fds: Sequence[int],
        *,
        on_terminal: Callable[[int], None] | None = None,
        timeout: float | None = None,
        abandoned: asyncio.Event | None = None,
    ) -> CommandResult:
        """Run a command with `fds` as its standard streams, and wait for its end.

        It is killed with its process group after `timeout` seconds, or when `abandoned` is set.
        """
        self._last += 1
        number = self._last
        order = self._host.command_order(container, request)
        end: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._host.link.call("exec", fds, name=container, command=number, order=order)
        self._waiting[number] = end
        if on_terminal is not None:
            self._terminals[number] = on_terminal
        watchers: set[asyncio.Future[Any]] = {end}
        if abandoned is not None:
            watchers.add(asyncio.ensure_future(abandoned.wait()))
        try:
            done, _ = await asyncio.wait(watchers, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            timed_out = not done
            if end not in done:
                self._host.link.send("kill_command", command=number)
            exit = await end
        except asyncio.CancelledError:
            with suppress(StateError):  # nobody waits for it any more; with the launcher it has ended already
                self._host.link.send("kill_command", command=number)
            raise
        finally:
            for watcher in watchers - {end}:
                watcher.cancel()
            self._waiting.pop(number, None)
            self._terminals.pop(number, None)
        return CommandResult(exit["code"], exit["signal"], exit["error"], timed_out=timed_out)

    def lose(self) -> None:
        """The launcher is gone: every command ended with it."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result({"code": None, "signal": 9, "error": None})
        self._waiting.clear()
