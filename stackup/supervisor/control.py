"""The control socket: JSON lines between the CLI and the supervisor, descriptors with the first byte of a request.

One request per connection. It is answered by events and then one result or error; with "attach" the events go on.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

_REQUEST_LIMIT = 16 * 1024 * 1024
_MAX_FDS = 8


class Connection:
    """One client. Sending never blocks the loop; a client that does not read loses the connection."""

    _BACKLOG = 8 * 1024 * 1024

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._pending: deque[tuple[memoryview, list[int]]] = deque()
        self._size = 0
        self.closed = asyncio.Event()
        self.lasting = False
        """Left open until this process ends: the client waits for that."""

    async def request(self) -> tuple[dict[str, Any], list[int]] | None:
        """The client's request with its descriptors; None when it went away or sent no request."""
        data, fds = bytearray(), array.array("i")
        while b"\n" not in data and len(data) < _REQUEST_LIMIT:
            await _readable(self._loop, self._sock)
            try:
                chunk, ancillary, _, _ = self._sock.recvmsg(
                    1 << 16, socket.CMSG_SPACE(_MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                continue
            except OSError:
                chunk, ancillary = b"", []
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(payload)
            if not chunk:
                break
            data += chunk
        try:
            request = json.loads(data.partition(b"\n")[0])
        except ValueError:
            request = None
        if not isinstance(request, dict):
            for fd in fds:
                os.close(fd)
            return None
        self._loop.add_reader(self._sock, self._watch_close)
        return request, fds.tolist()

    def _watch_close(self) -> None:
        try:
            if self._sock.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # the other end is gone either way
        self.close()

    def event(self, kind: str, fds: Sequence[int] = (), **fields: Any) -> None:
        """Send one event; descriptors go with its first byte."""
        self.send({"event": {"type": kind, **fields}}, fds)

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        """Send one line, now or when the client has read what came before; copies of `fds` go with it."""
        if self.closed.is_set():
            return
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        self._size += len(line)
        self._pending.append((memoryview(line), [os.dup(fd) for fd in fds]))
        if len(self._pending) == 1:
            self._flush()
        if self._size > self._BACKLOG:
            self.close()

    def _flush(self) -> None:
        while self._pending:
            line, fds = self._pending[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([line], rights)
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._flush)
                return
            except OSError:
                self.close()
                return
            for fd in fds:
                os.close(fd)
            self._size -= sent
            self._pending[0] = (line[sent:], [])
            if sent == len(line):
                self._pending.popleft()
        self._loop.remove_writer(self._sock)

    async def drained(self, patience: float = 2.0) -> None:
        """Wait until all is handed to the kernel, or the client is gone, or `patience` seconds are over."""
        deadline = self._loop.time() + patience
        while self._pending and not self.closed.is_set() and self._loop.time() < deadline:
            await asyncio.sleep(0.005)

    def close(self) -> None:
        if not self.closed.is_set():
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()
            self.closed.set()
            for _, fds in self._pending:
                for fd in fds:
                    os.close(fd)
            self._pending.clear()


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)


class ControlServer:
    """Accepts connections and runs `handle` for each; an exception of a handler is its own business."""

    def __init__(self, listener: socket.socket, handle: Callable[[Connection], Awaitable[None]]) -> None:
        listener.setblocking(False)
        self._listener, self._handle = listener, handle
        self._tasks: set[asyncio.Task[None]] = set()
        asyncio.get_running_loop().add_reader(listener, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        task = asyncio.ensure_future(self._serve(sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket) -> None:
        connection = Connection(sock)
        try:
            await self._handle(connection)
            await connection.drained()
        finally:
            if not connection.lasting:
                connection.close()

    def close(self) -> None:
        """Stop accepting; connections that are open end by themselves."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
