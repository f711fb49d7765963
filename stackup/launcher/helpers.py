"""The launcher's helper processes: forked children that read logs, answer names and relay ports.

They outlive the supervisor. A helper that dies is started again and gets every message that was meant to last.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from stackup.launcher import protocol, sandbox
from stackup.launcher import syscalls as kernel

NAMES = ("logs", "dns", "relay")
_PAUSE = 0.5
"""Seconds that the successor of a helper which died young waits: one that dies at once must not keep a CPU busy."""


def load(library: list[str]) -> dict[str, Callable[..., None]]:
    """Import every helper's `main`, with the directories of `library` on the path for what they use besides Python."""
    sys.path.extend(library)
    try:
        return {name: importlib.import_module(f"stackup.helpers.{name}").main for name in NAMES}
    finally:
        del sys.path[len(sys.path) - len(library) :]


_STUCK = 2.0
"""Seconds that a helper may leave its channel full, while the launcher waits for it."""


@dataclass
class Helper:
    """One helper process and what it must know again after a restart.

    `main` is the helper's function, imported while this process could still read the files (`load`). `lasting` maps a
    key to a message and our own copies of its descriptors.
    """

    name: str
    main: Callable[..., None]
    arguments: tuple[int, ...] = ()
    lasting: dict[str, tuple[protocol.Message, list[int]]] = field(default_factory=dict)
    pidfd: int = -1
    channel: socket.socket | None = None
    pid: int = -1
    started_at: float = 0.0

    def start(self) -> None:
        """Fork the helper and tell it everything that lasts.

        Raises:
            OSError: there is no room for one more process.
        """
        mine, theirs = protocol.pair()
        mine.settimeout(_STUCK)
        now = time.monotonic()
        pause = _PAUSE if now - self.started_at < _PAUSE else 0.0
        self.pid, self.started_at = os.fork(), now
        if self.pid == 0:
            _live(self, theirs, pause)
        theirs.close()
        self.pidfd = os.pidfd_open(self.pid)
        self.channel = mine
        for message, fds in self.lasting.values():
            self._tell(message, fds)

    def send(self, message: protocol.Message, fds: list[int], keep: str | None) -> None:
        """Pass a message on; with `keep` it lasts, and replaces what lasted under that key. Takes over `fds`."""
        self._tell(message, fds)
        if keep is None:
            for fd in fds:
                os.close(fd)
            return
        self.forget(keep)
        self.lasting[keep] = (message, fds)

    def _tell(self, message: protocol.Message, fds: list[int]) -> None:
        """Send a message. A helper that is dead or does not listen has a successor, which is told what lasts."""
        if self.channel is None:
            return
        try:
            protocol.send(self.channel, message, fds)
        except (BrokenPipeError, ConnectionResetError):
            return
        except TimeoutError:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def forget(self, key: str) -> None:
        """Let go of a lasting message."""
        for fd in self.lasting.pop(key, ({}, []))[1]:
            os.close(fd)

    def bury(self) -> None:
        """Reap a dead helper process."""
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        if self.channel is not None:
            self.channel.close()
        self.pidfd, self.channel = -1, None


def _live(helper: Helper, channel: socket.socket, pause: float) -> None:
    try:
        time.sleep(pause)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        sandbox.keep_only([channel.fileno(), *helper.arguments])
        # Their input comes from containers: what they need of privileges they got above.
        kernel.drop_all_capabilities()
        kernel.set_name(f"stackup-{helper.name}")
        helper.main(channel, *helper.arguments)
    except BaseException as error:
        sys.stderr.write(f"stackup: helper {helper.name} ended: {type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)
