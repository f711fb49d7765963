"""The relay helper: carries connections to published ports to the containers behind them.

A forked child of the launcher in the stack's network namespace. It accepts on TCP sockets that were bound in the host's
namespace and connects from inside. Bytes, half-closes and resets go through both ways; a reader that is slow slows its
own sender and nobody else.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from stackup.helpers.loop import READ, WRITE, Loop, raise_descriptor_limit

BUFFER_LIMIT = 256 * 1024
"""Bytes held for one direction of a connection before its sender is no longer read."""

READ_SIZE = 64 * 1024
SYN_RETRIES = 2
"""Of a connection to a container (tcp(7), TCP_SYNCNT): with the back-off, 7 s until the next target is tried."""

_ACCEPTS = 16
_RESET = struct.pack("ii", 1, 0)
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Target = tuple[str, int]


def main(channel: socket.socket) -> None:
    """Relay until the channel is closed.

    Messages: {"op": "listen", "id": ID} with a listening TCP socket; {"op": "unlisten", "id": ID} leaves existing
    connections alone; {"op": "table", "targets": {ID: [[ip, port], ...]}} replaces the targets of all.
    """
    raise_descriptor_limit()
    RelayHelper(channel).run()


@dataclass(eq=False, slots=True)
class Listener:
    """`turn` counts the connections, to spread them over the targets."""

    id: str
    sock: socket.socket
    turn: int = 0


@dataclass(eq=False, slots=True)
class End:
    """One side of a connection.

    `unsent` are bytes for this side, `finished` is True once it will send no more, `shut` once we told it the same.
    """

    sock: socket.socket
    unsent: bytearray = field(default_factory=bytearray)
    finished: bool = False
    shut: bool = False


class RelayHelper:
    def __init__(self, channel: socket.socket) -> None:
        self._loop = Loop(channel, self._handle)
        self._listeners: dict[str, Listener] = {}
        self._targets: dict[str, list[Target]] = {}
        self._starving: set[Listener] = set()

    def run(self) -> None:
        self._loop.run(after_events=lambda: None, finished=lambda: True)

    # --- messages ---

    def _handle(self, message: dict[str, Any], fds: list[int]) -> None:
        match message["op"]:
            case "listen":
                self._listen(message["id"], fds)
            case "unlisten":
                self._unlisten(message["id"])
            case "table":
                self._targets = {
                    key: [(str(address), int(port)) for address, port in targets]
                    for key, targets in message["targets"].items()
                }
            case other:
                raise ValueError(f"unknown operation: {other!r}")

    def _listen(self, key: str, fds: list[int]) -> None:
        sock = socket.socket(fileno=fds[0])
        fds.pop(0)
        if sock.type != socket.SOCK_STREAM:
            sock.close()
            raise ValueError(f"{key} is no TCP socket")
        self._unlisten(key)
        sock.setblocking(False)
        listener = self._listeners[key] = Listener(key, sock)
        self._loop.watch(sock.fileno(), READ, partial(self._accept, listener))

    def _unlisten(self, key: str) -> None:
        listener = self._listeners.pop(key, None)
        if listener is not None:
            self._starving.discard(listener)
            self._loop.unwatch(listener.sock.fileno())
            listener.sock.close()

    # --- a connection begins ---

    def _accept(self, listener: Listener, _: int) -> None:
        for _ in range(_ACCEPTS):
            order = self._order(listener)
            # The container's side first: a client that is accepted must not be dropped for want of a descriptor.
            server: socket.socket | None = None
            try:
                server = _new_socket(order[0]) if order else None
                client, _address = listener.sock.accept()
            except OSError as error:
                if server is not None:
                    server.close()
                if error.errno in _NO_ROOM:
                    self._starve(listener)
                    return
                if isinstance(error, ConnectionAbortedError):
                    continue
                if not isinstance(error, BlockingIOError):
                    self._loop.rest(listener.sock.fileno(), 0.1)  # accept(2), "Error handling": try again
                return
            listener.turn += 1
            client.setblocking(False)
            if server is None:
                _reset(client)
            else:
                self._connect(client, server, order)

    def _order(self, listener: Listener) -> list[Target]:
        targets = self._targets.get(listener.id, [])
        first = listener.turn % len(targets) if targets else 0
        return targets[first:] + targets[:first]

    def _connect(self, client: socket.socket, server: socket.socket, targets: Sequence[Target]) -> None:
        """Connect to the first of the targets that accepts; reset the client if none does."""
        error = server.connect_ex(targets[0])
        if error in (0, errno.EINPROGRESS):
            callback = partial(self._connected, client, server, targets)
            self._loop.watch(server.fileno(), WRITE, callback)
        else:
            self._try_next(client, server, targets)

    def _connected(self, client: socket.socket, server: socket.socket, targets: Sequence[Target], _: int) -> None:
        self._loop.unwatch(server.fileno())
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._try_next(client, server, targets)
            return
        with contextlib.suppress(OSError):  # reset meanwhile, which the first read says
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ends = End(client), End(server)
        for end, other in (ends, ends[::-1]):
            self._loop.watch(end.sock.fileno(), READ, partial(self._transfer, end, other))

    def _try_next(self, client: socket.socket, server: socket.socket, targets: Sequence[Target]) -> None:
        server.close()
        try:
            server = _new_socket(targets[1]) if len(targets) > 1 else server
        except OSError:  # its descriptor went to somebody else
            targets = targets[:1]
        if len(targets) > 1:
            self._connect(client, server, targets[1:])
            return
        _reset(client)
        self._feed()

    # --- a connection lives ---

    def _transfer(self, end: End, other: End, events: int) -> None:
        """Move what can be moved from `end` to `other`, and what `end` can take again."""
        try:
            if events != WRITE and not end.finished and len(other.unsent) < BUFFER_LIMIT:
                self._read(end, other)
            for sink, source in ((other, end), (end, other)):
                self._write(sink, source)
        except OSError:  # reset by one side: then for both
            self._close(end, other, reset=True)
            return
        if end.shut and other.shut:
            self._close(end, other, reset=False)
            return
        for side, opposite in ((end, other), (other, end)):
            reading = READ if not side.finished and len(opposite.unsent) < BUFFER_LIMIT else 0
            self._loop.change(side.sock.fileno(), reading | (WRITE if side.unsent else 0))

    @staticmethod
    def _read(source: End, sink: End) -> None:
        with contextlib.suppress(BlockingIOError):
            data = source.sock.recv(READ_SIZE)
            sink.unsent += data
            source.finished = not data

    @staticmethod
    def _write(sink: End, source: End) -> None:
        with contextlib.suppress(BlockingIOError):
            while sink.unsent:
                del sink.unsent[: sink.sock.send(sink.unsent)]
        if source.finished and not sink.unsent and not sink.shut:
            sink.sock.shutdown(socket.SHUT_WR)
            sink.shut = True

    def _close(self, end: End, other: End, *, reset: bool) -> None:
        for side in (end, other):
            self._loop.unwatch(side.sock.fileno())
            if reset:
                _reset(side.sock)
            side.sock.close()
        self._feed()

    # --- want of descriptors ---

    def _starve(self, listener: Listener) -> None:
        """Accept nothing until a connection ends; look again now and then, for others may hold what is missing."""
        self._starving.add(listener)
        self._loop.change(listener.sock.fileno(), 0)
        self._loop.call_later(1.0, self._feed)

    def _feed(self) -> None:
        for listener in self._starving:
            self._loop.change(listener.sock.fileno(), READ)
        self._starving.clear()


def _new_socket(target: Target) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, SYN_RETRIES)
    return sock


def _reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN (socket(7), SO_LINGER with a time of 0)."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    sock.close()
