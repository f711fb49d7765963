"""Brings processes into the world: a container's first one, the next one in kept namespaces, one more by exec.

A first run gets all namespaces by one clone3. A restart keeps the container's user and network namespaces and enters
them again, so that nothing of the network changes: an intermediate process joins them and clones with CLONE_PARENT,
which makes the new process a child of the launcher all the same.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from dataclasses import dataclass
from typing import Any

from stackup.launcher import protocol, sandbox
from stackup.launcher import syscalls as kernel

_FRESH = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWIPC
)
_AGAIN = kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
_ALL = _FRESH | kernel.CLONE_NEWCGROUP


@dataclass
class Newborn:
    """A process between clone and exec; `report` is the launcher's end of its report socket."""

    pid: int
    pidfd: int
    report: socket.socket


def first_run(order: dict[str, Any], fds: dict[str, list[int]]) -> tuple[Newborn, int, int]:
    """Clone the first process of a container into new namespaces and write its id maps.

    Returns the process, and descriptors of its user and network namespaces. It waits for `go`.

    Raises:
        OSError: the kernel refused the clone or a map; nothing is left behind.
    """
    report, childs = protocol.pair()
    pid, pidfd = kernel.clone3(_FRESH, signal.SIGCHLD)
    if pid == 0:
        sandbox.run_container(order, childs, fds)
    childs.close()
    newborn = Newborn(pid, pidfd, report)
    try:
        write_maps(pid, order["uid_map"], order["gid_map"], deny_setgroups=order["one_id"])
        # Now, while the process is dumpable: later its /proc files belong to somebody else.
        userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        netns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        discard(newborn)
        raise
    return newborn, userns, netns


def next_run(order: dict[str, Any], fds: dict[str, list[int]], userns: int, netns: int) -> Newborn:
    """Clone a container's process again, into its kept user and network namespaces."""

    def enter() -> None:
        kernel.setns(userns, kernel.CLONE_NEWUSER)
        kernel.setns(netns, kernel.CLONE_NEWNET)

    def live(report: socket.socket) -> None:
        sandbox.run_container(order | {"network": ""}, report, fds)

    return _through_intermediate(enter, live, _AGAIN)


def command(order: dict[str, Any], container_pidfd: int, stdio: list[int], cgroups: list[int]) -> Newborn:
    """Start a command in all namespaces of a running container."""

    def enter() -> None:
        kernel.set_dumpable(False)  # inside, the container could look into this process
        sandbox.join_cgroups([os.dup(fd) for fd in cgroups])
        kernel.setns(container_pidfd, _ALL)

    def live(report: socket.socket) -> None:
        sandbox.run_command(order, report, stdio)

    return _through_intermediate(enter, live, 0)


def _through_intermediate(enter: Any, live: Any, flags: int) -> Newborn:
    report, childs = protocol.pair()
    # The intermediate has a channel of its own: its child may well be the first to speak.
    birth, intermediates = protocol.pair()
    intermediate = os.fork()
    if intermediate == 0:
        try:
            gc.disable()
            sandbox.lock_imports()
            enter()
            pid, _ = kernel.clone3(flags | kernel.CLONE_PARENT, 0)
            if pid == 0:
                live(childs)
            protocol.send(intermediates, {"pid": pid})
            os._exit(0)
        except BaseException as error:
            sandbox.fail(intermediates, "enter the container's namespaces", error)
    childs.close()
    intermediates.close()
    os.waitpid(intermediate, 0)
    with birth:
        birth.setblocking(False)  # the child has a copy of the other end until it has closed what it does not need
        try:
            answer = protocol.receive(birth)
        except BlockingIOError:
            answer = None
    if answer is None or "pid" not in answer[0]:
        report.close()
        failure = answer[0] if answer else {"message": "the process was killed", "errno": None}
        raise OSError(failure["errno"] or 0, failure["message"], "enter the container's namespaces")
    pid = answer[0]["pid"]
    return Newborn(pid, os.pidfd_open(pid), report)


def write_maps(pid: int, uid_map: str, gid_map: str, *, deny_setgroups: bool) -> None:
    """Write the id maps of a child's user namespace, each in one write (user_namespaces(7))."""
    files = [("uid_map", uid_map), ("gid_map", gid_map)]
    if deny_setgroups:
        files.insert(0, ("setgroups", "deny"))
    for name, text in files:
        fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def user_namespace(uid_map: str, gid_map: str) -> int:
    """A descriptor of a new user namespace with these maps and no process in it: what an idmapped mount needs.

    Raises:
        OSError: the kernel refused a map.
    """
    mine, childs = socket.socketpair()
    pid, pidfd = kernel.clone3(kernel.CLONE_NEWUSER, signal.SIGCHLD)
    if pid == 0:
        try:
            mine.close()
            childs.recv(1)
        finally:
            os._exit(0)
    childs.close()
    try:
        write_maps(pid, uid_map, gid_map, deny_setgroups=False)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        mine.close()
        os.waitpid(pid, 0)
        os.close(pidfd)


def discard(newborn: Newborn) -> None:
    """End a process that never became a program, and reap it."""
    signal.pidfd_send_signal(newborn.pidfd, signal.SIGKILL)
    os.waitpid(newborn.pid, 0)
    os.close(newborn.pidfd)
    newborn.report.close()
