"""The supervisor's control socket: find or start a supervisor, send one request, hear events until its result.

One connection carries one request line and the lines that answer it (docs/architecture.md). Nothing here prints.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from stackup.cli.report import dependency_block
from stackup.errors import DependencyError, HostError, Problem, StackFileError, StackupError
from stackup.files import connect_socket
from stackup.statedir import StackDir

Message = dict[str, Any]
EventHandler = Callable[[Message], None]

_ATTEMPTS = 5
"""Supervisors tried before giving up: each may have been ending just when it was reached."""
_READY_TIMEOUT = 30.0
"""Seconds for a supervisor to listen; its imports take 0.3 s on a slow machine."""
_GLANCE = 0.25
"""Seconds after which a command that waits for its supervisor looks whether another one's is there already."""
_LOG_TAIL = 20
_SUPERVISOR_FD = 3


class ConnectionLost(StackupError):
    """The supervisor closed the connection before it had answered."""

    def __init__(self) -> None:
        super().__init__("the supervisor ended before it had answered", "run the command again: it continues")


class Connection:
    """A connection to the supervisor. `fds` are the descriptors received and not yet taken, oldest first."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._pending = b""
        self.fds: deque[int] = deque()

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, request: Message, fds: Sequence[int] = ()) -> None:
        """Send the request; copies of `fds` travel with its first byte. Raises ConnectionLost."""
        data = json.dumps(request, separators=(",", ":")).encode() + b"\n"
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        try:
            rest = data[self._socket.sendmsg([data], ancillary) :]
            if rest:  # sending nothing to a server that has answered and closed already would be an error
                self._socket.sendall(rest)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ConnectionLost from error

    def receive(self) -> list[Message]:
        """Wait for data; the messages that are complete now, perhaps none. Raises ConnectionLost at the end."""
        try:
            data, ancillary, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(16 * 4), socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError as error:
            raise ConnectionLost from error
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received = array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self.fds.extend(received)
        if not data:
            raise ConnectionLost
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [json.loads(line) for line in lines if line]

    def await_end(self) -> None:
        """Wait until the other side has closed."""
        try:
            while True:
                self.receive()
        except ConnectionLost:
            return

    def close(self) -> None:
        self._socket.close()
        while self.fds:
            os.close(self.fds.popleft())

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(stack: StackDir) -> Connection | None:
    """A connection to the stack's supervisor; None where none runs."""
    try:
        return Connection(connect_socket(stack.control_socket))
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def open_connection(stack: StackDir, *, launch: bool = False) -> Connection:
    """A connection to the stack's supervisor, which is started where none runs.

    `launch`: the stack is to run, so a new supervisor need not wait for the request to start the launcher.

    Raises:
        HostError: the supervisor could not be started; the message ends with what it said.
    """
    failure: HostError | None = None
    for _ in range(_ATTEMPTS):
        connection = connect(stack)
        if connection is not None:
            return connection
        try:
            start_supervisor(stack, launch=launch)
        except HostError as error:
            failure = error  # another command may have started one meanwhile, and ours gave way to it
    connection = connect(stack)
    if connection is None:
        raise failure or HostError("reach", f"the supervisor of {stack.name}", "it ends again and again")
    return connection


def supervisor_command(stack: str, *, launch: bool) -> list[str]:
    """-P: never import from the current directory, which may be anybody's project."""
    options = ["--ready-fd", str(_SUPERVISOR_FD), *(["--launch"] if launch else [])]
    return [sys.executable, "-P", "-m", "stackup.supervisor", stack, *options]


def start_supervisor(stack: StackDir, *, launch: bool) -> None:
    """Start the supervisor in a session of its own and wait until it, or one that was faster, listens.

    Raises HostError, StateError.
    """
    stack.create()
    said_before = _size(stack.supervisor_log)
    ready, write_end = os.pipe()
    try:
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        actions = [
            (os.POSIX_SPAWN_DUP2, write_end, _SUPERVISOR_FD),
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, stack.supervisor_log, append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        # All of them: with SIGCHLD ignored, as some callers leave it, the kernel would reap in our place (wait(2)).
        defaults = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
        command = supervisor_command(stack.name, launch=launch)
        try:
            pid = os.posix_spawn(
                sys.executable,
                command,
                os.environ,
                file_actions=actions,
                setsid=True,
                setsigmask=[],
                setsigdef=defaults,
            )
        except OSError as error:
            raise HostError("start", "the supervisor", error.strerror or str(error), errno=error.errno) from error
    finally:
        os.close(write_end)
    try:
        _wait_ready(stack, ready, pid, said_before)
    finally:
        os.close(ready)


def _wait_ready(stack: StackDir, ready: int, pid: int, said_before: int) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT
    while not select.select([ready], [], [], _GLANCE)[0]:
        other = connect(stack)
        late = time.monotonic() > deadline
        if other is not None or late:
            # Ours waits for the stack's lock, or for nothing. A supervisor may be killed at any instruction.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if other is not None:
            other.close()
            return
        if late:
            reason = f"not ready after {_READY_TIMEOUT:.0f}s{_said(stack, said_before)}"
            raise HostError("start", "the supervisor", reason)
    if os.read(ready, 1) != b"1":
        os.waitpid(pid, 0)
        raise HostError("start", "the supervisor", f"it ended at once{_said(stack, said_before)}")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _said(stack: StackDir, offset: int) -> str:
    """The last lines that this supervisor wrote to its log, indented, after a line break."""
    try:
        with open(stack.supervisor_log, encoding="utf-8", errors="replace") as log:
            log.seek(offset)
            lines = log.read().splitlines()[-_LOG_TAIL:]
    except OSError as error:
        return f" (and its log cannot be read: {error})"
    return "".join(f"\n  | {line}" for line in lines) or f" without a word in {stack.supervisor_log}"


def call(
    stack: StackDir,
    request: Message,
    on_event: EventHandler,
    *,
    fds: Sequence[int] = (),
    retry: bool = True,
    launch: bool = False,
    until_gone: bool = False,
) -> Message:
    """Send one request to the stack's supervisor and return its result.

    A supervisor that ends before a word of an answer is replaced and asked again, unless `retry` is False. With
    `until_gone` the result is returned when the supervisor itself has ended.

    Raises:
        StackupError: the supervisor's own error, or ConnectionLost.
    """
    attempts = _ATTEMPTS if retry else 1
    while True:
        heard = False
        attempts -= 1
        with open_connection(stack, launch=launch) as connection:
            try:
                connection.send(request, fds)
                while True:
                    for message in connection.receive():
                        heard = True
                        if "event" not in message:
                            if until_gone:
                                connection.await_end()
                            return answer(message)
                        on_event(message["event"])
            except ConnectionLost:
                if heard or not attempts:
                    raise


def answer(message: Message) -> Message:
    """The result in a final message. Raises the StackupError that it describes instead of a result."""
    if "result" in message:
        result: Message = message["result"]
        return result
    raise error_from(message["error"])


def error_from(plain: Message) -> StackupError:
    """The error that the supervisor described."""
    kind = plain.get("kind")
    if kind == "stackfile":
        fields = ("file", "line", "column", "path", "reason", "suggestion")
        return StackFileError([Problem(**{key: problem.get(key) for key in fields}) for problem in plain["problems"]])
    if kind == "dependency":
        return DependencyError(dependency_block(plain["failures"]), plain.get("hint"))
    error = StackupError(plain["message"], plain.get("hint"))
    error.exit_code = plain.get("exit_code", 1)
    return error
