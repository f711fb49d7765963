"""The caller's terminal joined to a pty: raw mode, both directions, window size. Restored on every way out."""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import socket
import sys
import termios
import tty
from collections.abc import Callable
from types import FrameType
from typing import Any

from stackup.cli.client import Connection, Message

_CHUNK = 65536
_STDIN, _STDOUT = 0, 1


class Terminal:
    """A context in which the terminal on standard input is raw and drives the pty `master`, which it owns."""

    def __init__(self, master: int) -> None:
        self._master = master
        self._wake, self._waker = socket.socketpair()
        self._pending = b""
        self._result: Message | None = None
        self._attributes: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._wakeup_fd = -1

    def __enter__(self) -> Terminal:
        os.set_blocking(self._master, False)
        for end in (self._wake, self._waker):
            end.setblocking(False)
        self._attributes = termios.tcgetattr(_STDIN)
        self._wakeup_fd = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._handlers = {signal.SIGWINCH: signal.signal(signal.SIGWINCH, lambda *_: None)}
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _leave)
        tty.setraw(_STDIN)
        self._resize()
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._attributes)
        signal.set_wakeup_fd(self._wakeup_fd)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._wake.close()
        self._waker.close()
        os.close(self._master)

    def relay(self, connection: Connection, on_event: Callable[[Message], None]) -> Message:
        """Copy both ways until the final message arrives; returns it. Raises ConnectionLost."""
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ, lambda _: self._hear(connection, on_event))
            selector.register(self._wake, selectors.EVENT_READ, lambda _: self._woken())
            selector.register(_STDIN, selectors.EVENT_READ, lambda _: self._read_keys(selector))
            selector.register(self._master, selectors.EVENT_READ, lambda events: self._move(selector, events))
            while self._result is None:
                for key, events in selector.select():
                    key.data(events)
            self._print()
            return self._result

    def _hear(self, connection: Connection, on_event: Callable[[Message], None]) -> None:
        for message in connection.receive():
            if "event" in message:
                on_event(message["event"])
            else:
                self._result = message

    def _woken(self) -> None:
        self._wake.recv(_CHUNK)
        self._resize()

    def _resize(self) -> None:
        size = fcntl.ioctl(_STDIN, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def _read_keys(self, selector: selectors.BaseSelector) -> None:
        try:
            data = os.read(_STDIN, _CHUNK)
        except OSError:  # EIO: the terminal has been hung up
            data = b""
        if not data:
            selector.unregister(_STDIN)
            return
        # Nothing more is read until the program has taken this: its pace, not ours.
        self._pending += data
        selector.unregister(_STDIN)
        if self._master in selector.get_map():
            selector.modify(
                self._master, selectors.EVENT_READ | selectors.EVENT_WRITE, lambda events: self._move(selector, events)
            )

    def _move(self, selector: selectors.BaseSelector, events: int) -> None:
        if events & selectors.EVENT_READ and not self._print():
            selector.unregister(self._master)
            return
        if events & selectors.EVENT_WRITE and self._pending:
            try:
                self._pending = self._pending[os.write(self._master, self._pending) :]
            except BlockingIOError:
                return
            except OSError:  # EIO: the other side is closed
                self._pending = b""
            if not self._pending:
                selector.modify(self._master, selectors.EVENT_READ, lambda seen: self._move(selector, seen))
                selector.register(_STDIN, selectors.EVENT_READ, lambda _: self._read_keys(selector))

    def _print(self) -> bool:
        """Print what the program has written so far. False at the end of it."""
        while True:
            try:
                data = os.read(self._master, _CHUNK)
            except BlockingIOError:
                return True
            except OSError:  # EIO: every process has closed its side (pty(7))
                return False
            if not data:
                return False
            while data:
                data = data[os.write(_STDOUT, data) :]


def _leave(number: int, _: FrameType | None) -> None:
    """Leave through `__exit__`, so that the shell gets its terminal back."""
    sys.exit(128 + number)
