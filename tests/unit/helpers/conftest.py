"""Helpers run as in a stack: forked, with a channel. Nothing else in these tests runs in the background."""

from __future__ import annotations

import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from stackup.launcher import protocol

DEADLINE = 20.0


@dataclass
class Helper:
    pid: int
    channel: socket.socket

    def tell(self, fds: list[int] | None = None, **message: Any) -> None:
        """Send a message, and let go of our copies of `fds`."""
        protocol.send(self.channel, message, fds or [])
        for fd in fds or []:
            os.close(fd)

    def open_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_ticks(self) -> int:
        with open(f"/proc/{self.pid}/stat", "rb") as file:
            return sum(map(int, file.read().rpartition(b")")[2].split()[11:13]))

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = -1

    def finish(self) -> int:
        """Close the channel, wait for the helper's end and return its exit status."""
        self.channel.close()
        pid, self.pid = self.pid, -1
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def start() -> Iterator[Callable[..., Helper]]:
    """Start a helper's main with arguments; `before` runs in the child first."""
    helpers: list[Helper] = []

    def start(main: Callable[..., None], *arguments: Any, before: Callable[[], None] | None = None) -> Helper:
        mine, theirs = protocol.pair()
        pid = os.fork()
        if pid == 0:
            try:
                mine.close()
                for helper in helpers:
                    helper.channel.close()
                if before is not None:
                    before()
                main(theirs, *arguments)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        theirs.close()
        helpers.append(Helper(pid, mine))
        return helpers[-1]

    yield start
    for helper in helpers:
        helper.channel.close()
        if helper.pid > 0:
            os.kill(helper.pid, signal.SIGKILL)
            os.waitpid(helper.pid, 0)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Wait until a condition holds and return its value; fail when it does not come."""

    def eventually(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + DEADLINE
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.005)

    return eventually
