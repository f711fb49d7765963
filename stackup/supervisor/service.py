"""Runs one supervisor process: the event loop, the control socket, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal

from stackup.files import bind_socket
from stackup.host.launcher import LauncherLink
from stackup.statedir import Lock, StackDir
from stackup.supervisor.control import ControlServer
from stackup.supervisor.session import Session

_IDLE = 60.0
"""Seconds after which a supervisor ends that was never asked to run anything."""


def serve(directory: StackDir, lock: Lock, link: LauncherLink | None, ready_fd: int, *, launched: bool) -> None:
    """Serve the stack until it ends. `launched`: the launcher is just being started, and nothing runs yet."""
    asyncio.run(_serve(directory, lock, link, ready_fd, launched))


async def _serve(directory: StackDir, lock: Lock, link: LauncherLink | None, ready_fd: int, launched: bool) -> None:
    loop = asyncio.get_running_loop()
    session = Session(directory, lock, link, launched=launched)
    if not launched:
        await session.adopt()
    server = ControlServer(bind_socket(directory.control_socket), session.handle)
    try:
        os.write(ready_fd, b"1")
    except BrokenPipeError:  # whoever started us is gone already
        if session.idle:
            session.ended.set()
    os.close(ready_fd)
    # Ending the supervisor does not end the stack: the next command that changes it starts another one.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, session.ended.set)
    while not session.ended.is_set():
        try:
            await asyncio.wait_for(session.ended.wait(), _IDLE)
        except TimeoutError:
            if session.idle:
                break
    server.close()
    session.close()
