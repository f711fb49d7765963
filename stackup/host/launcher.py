"""Starts the launcher of a stack and talks to it. The only place outside the launcher that knows its requests."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from stackup.errors import HostError, StateError
from stackup.host.users import Caller
from stackup.launcher import protocol

_PACKAGE = Path(__file__).resolve().parent.parent
_APPARMOR_PROFILE = "stackup"
_PATIENCE = 20.0
"""Seconds for an answer of the launcher. It answers in milliseconds; a machine that swaps may need more."""


def sealed_interpreter() -> int:
    """A memfd with a copy of the Python interpreter that nobody can write to.

    The launcher's children run it while they already live in a container; a container that gets hold of it through
    /proc must not reach the host's own file (CVE-2019-5736).
    """
    import fcntl

    with open(os.path.realpath(sys.executable), "rb") as file:
        data = file.read()
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        memfd = os.memfd_create("stackup-launcher", flags | 0x10)  # MFD_EXEC, from Linux 6.3 on
    except OSError:
        memfd = os.memfd_create("stackup-launcher", flags)
    view = memoryview(data)
    while view:
        view = view[os.write(memfd, view) :]
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(memfd, fcntl.F_ADD_SEALS, seals)
    return memfd


def spawn(
    name: str, caller: Caller, listener: socket.socket, logs_fd: int, owner: int | None, stderr_fd: int
) -> LauncherLink:
    """Start the launcher and its namespaces; returns before it is ready (see `LauncherLink.wait_ready`).

    `name` is only for ps(1). `listener` is a bound packet socket, on which the launcher will listen; `logs_fd` a
    directory that the stack's root may write.
    """
    mine, theirs = protocol.pair()
    memfd = sealed_interpreter()
    theirs.set_inheritable(True)
    os.set_inheritable(memfd, True)
    # argv[0] is the real path: Python finds its library by it.
    arguments = [sys.executable, "-I", "-S", "-E", "-B", str(_PACKAGE / "launcher"), str(theirs.fileno()), name]
    program = f"/proc/self/fd/{memfd}"
    if _needs_apparmor_profile():
        arguments = ["/usr/bin/aa-exec", "-p", _APPARMOR_PROFILE, "--", program, *arguments[1:]]
        program = arguments[0]
    defaults = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    actions = [(os.POSIX_SPAWN_DUP2, stderr_fd, 2), (os.POSIX_SPAWN_DUP2, stderr_fd, 1)]
    try:
        os.posix_spawn(program, arguments, {}, file_actions=actions, setsigmask=(), setsigdef=defaults)
    except OSError as error:
        mine.close()
        raise HostError("start", "the launcher", error.strerror or str(error), errno=error.errno) from error
    finally:
        theirs.close()
        os.close(memfd)
    uid_map, gid_map = caller.stack_maps()
    fds = {"listener": listener.fileno(), "logs": logs_fd}
    if owner is not None:
        fds["owner"] = owner
    boot = {
        "uid_map": uid_map,
        "gid_map": gid_map,
        "one_id": caller.one_id,
        "library": [path for path in sys.path if path and path != str(_PACKAGE.parent)],
        "fds": list(fds),
    }
    protocol.send(mine, boot, list(fds.values()))
    return LauncherLink(mine)


def _needs_apparmor_profile() -> bool:
    """Ubuntu 23.10 and later let an unprivileged program make a user namespace only under a profile that says so."""
    if os.geteuid() == 0:
        return False
    try:
        restricted = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").read_text().strip() == "1"
    except OSError:
        return False
    return restricted and Path("/etc/apparmor.d", _APPARMOR_PROFILE).exists() and Path("/usr/bin/aa-exec").exists()


class LauncherLink:
    """A connection to a launcher. Requests are sent without waiting; `call` waits for its answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._calls = 0
        self._backlog: deque[protocol.Message] = deque()
        self.on_backlog: Callable[[], None] = lambda: None
        """Called when messages arrived while an answer was awaited: `messages` has some though nothing is readable."""
        sock.setblocking(False)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self._sock.close()

    def wait_ready(self) -> int:
        """Wait until a spawned launcher serves; returns its PID.

        Raises:
            HostError: a step of its start failed; the message names step and reason.
        """
        answer, _ = self._receive_or_fail()
        if "ready" in answer:
            return int(answer["ready"])
        raise HostError(
            "start", "the stack's namespaces", f"{answer['failed']}: {answer['message']}", errno=answer["errno"]
        )

    def send(self, operation: str, fds: Sequence[int] = (), **fields: Any) -> None:
        """Send a request that needs no answer; a refusal comes back as a message with "error"."""
        self._send({"op": operation, **fields}, fds)

    def call(self, operation: str, fds: Sequence[int] = (), **fields: Any) -> tuple[protocol.Message, list[int]]:
        """Send a request and wait for its answer, with the descriptors that came along.

        Raises:
            HostError: the launcher refused, or is gone.
        """
        self._calls += 1
        number = self._calls
        self._send({"op": operation, "id": number, **fields}, fds)
        while True:
            answer, received = self._receive_or_fail()
            if answer.get("id") == number:
                if "error" in answer:
                    raise HostError(operation, "in the stack", answer["error"], errno=answer.get("errno"))
                return answer, received
            self._keep(answer, received)

    def _keep(self, message: protocol.Message, fds: list[int]) -> None:
        self._backlog.append(message | {"fds": fds} if fds else message)
        self.on_backlog()

    def messages(self) -> Iterator[protocol.Message]:
        """Everything that has arrived, without waiting. Descriptors are under "fds".

        Raises:
            StateError: the launcher is gone.
        """
        while True:
            if self._backlog:
                yield self._backlog.popleft()
                continue
            try:
                received = protocol.receive(self._sock)
            except BlockingIOError:
                return
            except OSError:
                received = None
            if received is None:
                raise StateError("the launcher is gone")
            message, fds = received
            yield message | {"fds": fds} if fds else message

    def _send(self, message: protocol.Message, fds: Sequence[int]) -> None:
        while True:
            try:
                protocol.send(self._sock, message, fds)
                return
            except BlockingIOError:
                self._make_room()
            except OSError as error:
                raise StateError("the launcher is gone") from error

    def _make_room(self) -> None:
        """Wait until we can send, and go on receiving: a launcher that cannot send to us must not wait for us."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN | select.POLLOUT)
        ready = poll.poll(_PATIENCE * 1000)
        if not ready:
            raise HostError("talk to", "the launcher", f"it has read nothing for {_PATIENCE:.0f} s")
        for _, events in ready:
            if events & select.POLLIN:
                received = protocol.receive(self._sock)
                if received is None:
                    raise StateError("the launcher is gone")
                self._keep(*received)

    def _receive_or_fail(self) -> tuple[protocol.Message, list[int]]:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while True:
            if not poll.poll(_PATIENCE * 1000):
                raise HostError("talk to", "the launcher", f"no answer in {_PATIENCE:.0f} s")
            try:
                received = protocol.receive(self._sock)
            except BlockingIOError:
                continue
            except OSError:
                received = None
            if received is None:
                raise StateError("the launcher is gone")
            return received
