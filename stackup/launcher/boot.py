"""Brings up the launcher: a sealed interpreter becomes PID 1 of the stack's namespaces.

The supervisor starts this as its child with one packet socket. This process reads the boot message, clones PID 1 as
the *supervisor's* child (CLONE_PARENT), writes its id maps and ends. PID 1 goes on with everything already imported:
it may not be able to read the interpreter's files any more, since it has become another user.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
import sys
from collections.abc import Callable

from stackup.launcher import births, helpers, protocol, sandbox
from stackup.launcher import syscalls as kernel
from stackup.launcher.server import Server

_STACK = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)
_SYSCTLS = {
    # Two networks of a stack must not reach one another through this namespace.
    "net/ipv4/ip_forward": "0",
    # Autoconfiguration on every bridge port is what makes a thousand containers slow.
    "net/ipv6/conf/default/disable_ipv6": "1",
    # The helpers have no capabilities, and DNS is port 53.
    "net/ipv4/ip_unprivileged_port_start": "0",
}


def main(channel_fd: int) -> None:
    """Stage 0, in the caller's namespaces. Ends the process."""
    sandbox.keep_only([channel_fd])
    channel = socket.socket(fileno=channel_fd)
    channel.set_inheritable(False)
    step = "load the launcher"
    try:
        received = protocol.receive(channel)
        if received is None:
            os._exit(sandbox.CANNOT_START)
        boot, fds = received
        named = dict(zip(boot["fds"], fds, strict=True))
        mains = helpers.load(boot["library"])
        named["host_proc"] = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        step = "create the stack's namespaces"
        go, childs_go = protocol.pair()
        pid, _ = kernel.clone3(_STACK | kernel.CLONE_PARENT, 0)
        if pid == 0:
            go.close()
            _become_launcher(boot, mains, named, channel, childs_go)
        step = "map the ids of the stack"
        try:
            births.write_maps(pid, boot["uid_map"], boot["gid_map"], deny_setgroups=boot["one_id"])
        except OSError:
            os.kill(pid, 9)
            raise
        go.send(b"go")
        os._exit(0)
    except BaseException as error:
        sandbox.fail(channel, step, error)


def _become_launcher(
    boot: protocol.Message,
    mains: dict[str, Callable[..., None]],
    fds: dict[str, int],
    channel: socket.socket,
    go: socket.socket,
) -> None:
    """PID 1 of the stack, from its maps to the end of the stack."""
    step = "wait for the id maps"
    try:
        if not go.recv(16):
            os._exit(sandbox.CANNOT_START)
        go.close()
        kernel.set_name("stackup-launch")
        step = "become root of the stack"
        if not boot["one_id"]:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            os.setgroups([])
        # After a change of uid the kernel hides /proc/CHILD/uid_map from us unless we are dumpable.
        kernel.set_dumpable(True)
        os.setsid()
        step = "leave the caller's keyring"
        kernel.join_new_keyring()
        step = "prepare the stack's mounts"
        kernel.set_propagation("/", kernel.MS_REC | kernel.MS_SLAVE)
        _mount_proc()
        step = "prepare the stack's network"
        for name, value in _SYSCTLS.items():
            _write_sysctl(name, value)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, hard), hard))
        step = "listen"
        listener = socket.socket(fileno=fds["listener"])
        listener.listen(64)
        gc.collect()
        gc.freeze()  # keeps the pages that children share unwritten
        server = Server(listener, mains, fds)
        server.add_starter(channel)
        host_pid = int(os.readlink("self", dir_fd=fds["host_proc"]))
        protocol.send(channel, {"ready": host_pid, "version": protocol.VERSION})
        step = "serve"
        server.serve()
    except BaseException as error:
        if step == "serve":
            sys.excepthook(type(error), error, error.__traceback__)
        sandbox.fail(channel, step, error)


def _mount_proc() -> None:
    target = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    attributes = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV | kernel.MOUNT_ATTR_NOEXEC
    kernel.move_mount(kernel.new_filesystem("proc", {}, attributes), target, "/proc")
    os.close(target)


def _write_sysctl(name: str, value: str) -> None:
    """Set a sysctl of the stack's network namespace; one that this kernel does not have needs no setting."""
    try:
        fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)
