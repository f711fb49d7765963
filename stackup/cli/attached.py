"""`stackup up` in the foreground: one loop over the supervisor's events, the logs, and Ctrl-C.

The supervisor holds a pidfd of this process: the stack ends with it, however it ends. A supervisor that dies is
replaced and told the same again: it adopts what runs.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

from stackup.cli.client import Connection, ConnectionLost, Message, answer, open_connection
from stackup.cli.logview import LogView, OfServices
from stackup.cli.output import Output
from stackup.cli.progress import ProgressWriter, summarise
from stackup.cli.render import exit_text
from stackup.cli.report import render_error
from stackup.errors import StackFileError, StackupError
from stackup.logreader import END, Follower, Record
from stackup.statedir import StackDir

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_ATTEMPTS = 5
"""Supervisors that may die under one command before it gives up."""
_LAST_LINES = 1.0
"""Seconds that the log helper has, at the end, to write what it still holds of containers that have exited."""


class Attached:
    """One foreground `up`. As a context it owns the connections, the log follower and the signal handlers."""

    def __init__(self, stack: StackDir, request: Message, output: Output, progress: ProgressWriter) -> None:
        self._stack, self._request, self._output, self._progress = stack, request, output, progress
        self._view = LogView(stack.name, colour=output.out_colour)
        self._selector = selectors.DefaultSelector()
        self._main: Connection | None = None
        self._stoppers: list[Connection] = []
        self._exits: dict[tuple[str, int], Message] = {}
        self._silent: set[tuple[str, int]] = set()
        self._ended = self._end_heard = self._stopping = self._muted = False
        self._losses = self._interrupts = self._code = 0

    def __enter__(self) -> Attached:
        self._stack.create()
        self._logs = Follower(self._stack.logs, OfServices(self._stack.name, self._request["services"]))
        self._selector.register(self._logs, selectors.EVENT_READ, self._print_logs)
        self._main = open_connection(self._stack, launch=True)
        self._wake, self._waker = socket.socketpair()
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ, self._interrupted)
        self._wakeup_fd = signal.set_wakeup_fd(self._waker.fileno())
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup_fd)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for connection in (self._main, *self._stoppers):
            if connection is not None:
                connection.close()
        self._logs.close()
        self._selector.close()
        self._wake.close()
        self._waker.close()

    def run(self) -> int:
        """Until the stack has ended. Returns the exit code. Raises StackFileError where nothing was begun."""
        self._attach()
        while not self._ended:
            for key, _ in self._selector.select():
                handler: Callable[[], Any] = key.data
                handler()
        self._print_last_lines()
        return self._code

    # --- the supervisor -----------------------------------------------------------------------------------------------

    def _attach(self) -> None:
        """Tell the supervisor what is wanted, and bind the stack to this process."""
        owner = os.pidfd_open(os.getpid())
        try:
            while True:
                if self._main is None:
                    self._main = open_connection(self._stack, launch=True)
                try:
                    self._main.send(self._request, [owner])
                    break
                except ConnectionLost:
                    self._main.close()
                    self._main = None
        finally:
            os.close(owner)
        self._selector.register(self._main, selectors.EVENT_READ, self._hear)

    def _hear(self) -> None:
        assert self._main is not None
        try:
            messages = self._main.receive()
        except ConnectionLost:
            self._lost()
            return
        for message in messages:
            if "event" in message:
                self._on_event(message["event"])
            else:
                self._on_answer(message)

    def _lost(self) -> None:
        assert self._main is not None
        self._selector.unregister(self._main)
        self._main.close()
        self._main = None
        if not self._stopping:  # else the connection that stops the stack brings its end
            self._count_loss()
            self._attach()

    def _count_loss(self) -> None:
        if not self._losses:
            self._progress.say(f"the supervisor of {self._stack.name} ended; another one takes over")
        self._losses += 1
        if self._losses > _ATTEMPTS:
            raise ConnectionLost

    def _on_event(self, event: Message) -> None:
        if event["type"] == "end":
            self._end_heard = True
            self._ended = not self._stopping
            self._code = self._code or event.get("exit_code", 0)
            if event.get("reason"):
                self._progress.say(f"{self._stack.name}: {event['reason']}")
            return
        if event["type"] == "state":
            self._view.expect([event["container"]])
            if event["state"] == "exited" and event.get("exit"):
                self._exits[event["container"], event["run"]] = event["exit"]
                self._say_exit(event["container"], event["run"])
                return
        self._progress(event)

    def _on_answer(self, message: Message) -> None:
        try:
            summarise(self._stack.name, answer(message), self._progress)
        except StackFileError:
            raise
        except StackupError as error:
            self._output.note(render_error(error, colour=self._output.err_colour))
            self._code = error.exit_code
            if not self._stopping:
                self._stop(kill=False)

    # --- ending -------------------------------------------------------------------------------------------------------

    def _interrupted(self) -> None:
        """Ctrl-C: the first stops the stack in order, the next ones kill it."""
        for number in self._wake.recv(64):
            self._code = 128 + number
            self._interrupts += 1
            if self._interrupts <= 2:
                self._stop(kill=self._interrupts == 2)

    def _stop(self, *, kill: bool) -> None:
        self._stopping = True
        self._progress.say("Killing..." if kill else "Stopping...")
        self._ask_down(kill)

    def _ask_down(self, kill: bool) -> None:
        connection = open_connection(self._stack)
        timeout = self._request["stop_timeout"]
        connection.send({"verb": "down", "volumes": False, "timeout": timeout, "kill": kill})
        self._stoppers.append(connection)
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._hear_stopper(connection))

    def _hear_stopper(self, connection: Connection) -> None:
        try:
            messages = connection.receive()
        except ConnectionLost:
            self._selector.unregister(connection)
            self._stoppers.remove(connection)
            connection.close()
            if self._end_heard:
                self._ended = True
            elif not self._stoppers:
                self._count_loss()
                self._ask_down(kill=self._interrupts > 1)
            return
        for message in messages:
            if "event" not in message:
                connection.await_end()
                answer(message)
                self._ended = True
            elif self._main is None:  # else the main connection tells the same
                self._on_event(message["event"])

    # --- logs ---------------------------------------------------------------------------------------------------------

    def _print_logs(self) -> None:
        for record in self._logs.read():
            self._print(record)
        self._flush()

    def _print(self, record: Record) -> None:
        if record.stream == END:
            self._silent.add((record.container, record.run))
            self._say_exit(record.container, record.run)
        else:
            self._write(self._view.line(record))

    def _say_exit(self, container: str, run: int, *, now: bool = False) -> None:
        """Say how a run ended, once its last line is out."""
        key = (container, run)
        if key in self._exits and (now or key in self._silent):
            self._silent.discard(key)
            self._write(self._view.notice(container, exit_text(self._exits.pop(key))))
            self._flush()

    def _print_last_lines(self) -> None:
        deadline = time.monotonic() + _LAST_LINES
        self._print_logs()
        with selectors.DefaultSelector() as selector:
            selector.register(self._logs, selectors.EVENT_READ)
            while self._exits and (left := deadline - time.monotonic()) > 0 and selector.select(left):
                self._print_logs()
        for container, run in sorted(self._exits):
            self._say_exit(container, run, now=True)

    def _write(self, line: str) -> None:
        if not self._muted:
            try:
                self._output.line(line)
            except OSError:
                self._mute()

    def _flush(self) -> None:
        if not self._muted:
            try:
                self._output.flush()
            except OSError:
                self._mute()

    def _mute(self) -> None:
        """Nobody reads any more (`up | head`, a closed terminal): the stack of a foreground `up` ends then."""
        self._muted = True
        self._code = self._code or 1
        if not self._stopping and not self._ended:
            self._stop(kill=False)
