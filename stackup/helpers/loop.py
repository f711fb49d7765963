"""The event loop of a helper process: one channel to the launcher, descriptors with callbacks, timers. epoll(7).

It survives whatever a callback raises: the error is said on stderr and the loop goes on. It runs in a forked child of
the launcher that can open no files, so that everything is imported at the top, and only the standard library.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import resource
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stackup.launcher import protocol

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
Callback = Callable[[int], None]
"""Called with the epoll events of its descriptor. It must tolerate a wake-up without cause: descriptor numbers are
reused within one batch of events."""

Handler = Callable[[dict[str, Any], list[int]], None]
"""Called with a message and its descriptors. It takes those it keeps out of the list; the loop closes the rest."""

COMPLAINTS_LIMIT = 1000

_SPARE = 4
_RETRY = 0.1


def raise_descriptor_limit() -> None:
    """Use all the descriptors we may: the soft limit serves select(2), which is not used here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(eq=False, slots=True)
class Watched:
    """`events` are those that the kernel watches, or will again after the rest."""

    callback: Callback
    events: int = 0
    rest: object | None = None


class Loop:
    """Runs callbacks until the channel is closed and the helper has nothing left to do."""

    def __init__(self, channel: socket.socket, handle: Handler) -> None:
        self._channel, self._handle = channel, handle
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._open = True
        self._complaints = 0
        channel.setblocking(False)
        self.watch(channel.fileno(), READ, self._receive)

    def watch(self, fd: int, events: int, callback: Callback) -> None:
        """Call `callback` on `events`. Raises OSError for what cannot be polled."""
        watched = Watched(callback)
        self._watched[fd] = watched
        try:
            self._set(fd, watched, events)
        except OSError:
            del self._watched[fd]
            raise

    def change(self, fd: int, events: int) -> None:
        """Wait for other events from now on; 0 for none, not even the hang-ups that epoll(7) else always reports."""
        watched = self._watched[fd]
        if watched.rest is None:
            self._set(fd, watched, events)
        else:
            watched.events = events

    def unwatch(self, fd: int) -> None:
        """Must come before the descriptor is closed: a copy in the launcher would keep it in the epoll set."""
        watched = self._watched.pop(fd)
        if watched.rest is None:
            self._set(fd, watched, 0)

    def rest(self, fd: int, seconds: float) -> None:
        """Leave a descriptor alone for a while."""
        watched, token = self._watched[fd], object()
        if watched.rest is None:
            events = watched.events
            self._set(fd, watched, 0)
            watched.events = events
        watched.rest = token

        def resume() -> None:
            if self._watched.get(fd) is watched and watched.rest is token:
                events, watched.events, watched.rest = watched.events, 0, None
                self._set(fd, watched, events)

        self.call_later(seconds, resume)

    def _set(self, fd: int, watched: Watched, events: int) -> None:
        if events == watched.events:
            return
        if not watched.events:
            self._epoll.register(fd, events)
        elif events:
            self._epoll.modify(fd, events)
        else:
            self._epoll.unregister(fd)
        watched.events = events

    def call_later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call once, `seconds` from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), callback))

    def run(self, after_events: Callable[[], None], finished: Callable[[], bool]) -> None:
        """Run until the channel is closed and `finished` says so. `after_events` follows every batch of callbacks."""
        while self._open or not finished():
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for fd, events in self._epoll.poll(timeout):
                watched = self._watched.get(fd)
                if watched is None:
                    continue  # closed by an earlier callback of this batch
                if not self._guarded(watched.callback, events) and self._watched.get(fd) is watched:
                    self.rest(fd, 1.0)  # an error that repeats is no busy loop
            while self._timers and self._timers[0][0] <= time.monotonic():
                self._guarded(heapq.heappop(self._timers)[2])
            self._guarded(after_events)
        self._epoll.close()

    def complain(self, text: str) -> None:
        """Say on stderr, which is the launcher's log, what went wrong; no more than COMPLAINTS_LIMIT times."""
        self._complaints += 1
        if self._complaints <= COMPLAINTS_LIMIT:
            with contextlib.suppress(OSError):  # a full disk
                os.write(2, f"stackup: helper: {text}\n".encode())

    def _guarded(self, call: Callable[..., None], *arguments: Any) -> bool:
        try:
            call(*arguments)
        except Exception as error:
            self.complain(f"{type(error).__name__}: {error}")
            return False
        return True

    def _receive(self, _: int) -> None:
        channel = self._channel.fileno()
        if not _can_receive(channel):
            # Descriptors that find no room are lost with their message (unix(7)): leave it in the socket meanwhile.
            self.rest(channel, _RETRY)
            return
        try:
            packet = protocol.receive(self._channel)
        except BlockingIOError:
            return
        except ConnectionError:
            packet = None
        if packet is None:
            self.unwatch(channel)
            self._open = False
            return
        message, fds = packet
        self._guarded(self._handle, message, fds)
        for fd in fds:
            os.close(fd)


def _can_receive(some_fd: int) -> bool:
    """Whether a message's descriptors will find room in our table (RLIMIT_NOFILE)."""
    spare: list[int] = []
    try:
        while len(spare) < _SPARE:
            spare.append(os.dup(some_fd))
    except OSError:
        return False
    finally:
        for fd in spare:
            os.close(fd)
    return True
