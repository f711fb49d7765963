"""The birth and the burial of a stack: its launcher is started here, and what the kernel leaves is removed here."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
from contextlib import suppress

from stackup.errors import HostError, StackupError
from stackup.files import bind_socket, connect_socket
from stackup.host import launcher
from stackup.host.cgroups import StackGroups, find_layout
from stackup.host.launcher import LauncherLink
from stackup.host.linux import LinuxHost
from stackup.host.users import Caller
from stackup.process import ProcessId, process_id
from stackup.statedir import StackDir

_DEATH = 10.0
"""Seconds for the kernel to take down the processes of a stack: 0.2 for a thousand containers."""


def find_caller(directory: StackDir) -> Caller:
    """Who runs this stack: root gets the stack's range of ids, anybody else has his own id.

    Raises:
        StateError: no range is left.
    """
    first = directory.state.allocate_range(directory.name) if os.geteuid() == 0 else None
    return Caller(os.geteuid(), os.getegid(), first)


def connect(directory: StackDir) -> LauncherLink | None:
    """A connection to the stack's launcher; None where none runs."""
    record = directory.read("launcher")
    if record is None or not ProcessId.from_plain(record).alive():
        return None
    try:
        return LauncherLink(connect_socket(directory.launcher_socket, socket.SOCK_SEQPACKET))
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def launch(directory: StackDir) -> LauncherLink:
    """Start a launcher for a stack that has none. It is not ready yet: see `wait_launched`.

    Raises:
        HostError: it could not be started.
    """
    caller = find_caller(directory)
    _forget_predecessor(directory)
    if caller.first_id is not None:
        os.chown(directory.logs, caller.first_id, caller.first_id)
    listener = bind_socket(directory.launcher_socket, socket.SOCK_SEQPACKET)
    logs = os.open(directory.logs, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    said = os.open(
        directory.supervisor_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        return launcher.spawn(directory.name, caller, listener, logs, None, said)
    finally:
        listener.close()
        os.close(logs)
        os.close(said)


def wait_launched(directory: StackDir, link: LauncherLink) -> None:
    """Wait until a launcher serves, and record who it is.

    Raises:
        HostError: it failed to start.
    """
    try:
        pid = link.wait_ready()
    except StackupError as error:
        from stackup.host.probe import explain_userns

        error.hint = error.hint or explain_userns()
        raise
    identity = process_id(pid)
    if identity is None:
        raise HostError("start", "the launcher", "it ended at once")
    directory.write("launcher", identity.to_plain())
    link.send("claim")


def _forget_predecessor(directory: StackDir) -> None:
    """Remove what an earlier launcher has left: its cgroups, its records and its logs. One that lives, but that nobody
    can reach any more, is ended first: two launchers for one stack must never be.
    """
    _await_death(directory, kill=True)
    StackGroups(directory, find_layout()).remove_all()
    for name in ("launcher", "stack"):
        with suppress(FileNotFoundError):
            os.unlink(directory.record_file(name))
    shutil.rmtree(directory.logs)
    directory.create()


def _await_death(directory: StackDir, *, kill: bool) -> None:
    """Wait until the recorded launcher, and so every process of the stack, is gone; `kill` it first."""
    record = directory.read("launcher")
    identity = ProcessId.from_plain(record) if record is not None else None
    if identity is None or not identity.alive():
        return
    try:
        pidfd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return
    try:
        if identity.alive():  # now that the pid cannot be another process's
            if kill:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], _DEATH)
    finally:
        os.close(pidfd)


def end_unused(directory: StackDir, link: LauncherLink) -> None:
    """End a launcher for which no stack was ever wanted, and wait until it is gone."""
    with suppress(StackupError):  # it has failed to start, or ended, by itself
        if directory.read("launcher") is None:
            wait_launched(directory, link)
        link.send("end")
    bury(directory, None)


def bury(directory: StackDir, host: LinuxHost | None) -> None:
    """Remove what is left of a stack whose launcher is dead or dying: its cgroups and its directory, but no volume.

    Raises:
        HostError: something is still in use.
    """
    _await_death(directory, kill=False)
    _await_death(directory, kill=True)  # without its record nobody would find it again
    if host is not None:
        host.clean_up()
    else:
        StackGroups(directory, find_layout()).remove_all()
    directory.remove()
