"""Listening sockets in the host's network namespace for published ports, and who holds a port that is taken."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from stackup.errors import HostError


def listen(address: str, number: int) -> socket.socket:
    """A listening TCP socket on the host; `number` 0 lets the kernel choose the port.

    Raises:
        HostError: the port is taken (the holder is named), may not be bound, or the address is not the host's.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address, number))
        opened.listen(1024)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        raise _explain(address, number, error) from error
    return opened


def _explain(address: str, number: int, error: OSError) -> HostError:
    subject = f"port {number} on {address}"
    if error.errno == errno.EADDRINUSE:
        holder = find_holder(number)
        reason = f"it is taken by {holder}" if holder else "it is taken by a process of another user"
        hint = "stop that program, or publish another port"
        return HostError("publish", subject, reason, errno=error.errno, hint=hint)
    if error.errno == errno.EACCES:
        first = _first_unprivileged_port()
        hint = f"publish a port from {first} on, or: sudo sysctl net.ipv4.ip_unprivileged_port_start={number}"
        return HostError("publish", subject, f"only root may bind ports below {first}", errno=error.errno, hint=hint)
    if error.errno == errno.EADDRNOTAVAIL:
        return HostError("publish", subject, "this machine has no such address", errno=error.errno)
    return HostError("publish", subject, error.strerror or str(error), errno=error.errno)


def has_ipv6() -> bool:
    """Whether ::1 exists here: many containers and kernels come without IPv6."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _first_unprivileged_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except OSError:
        return 1024


def find_holder(number: int) -> str | None:
    """`NAME (pid N)` of a process that listens on TCP port `number`, or None if we may not see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == number:  # TCP_LISTEN
                inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(entry) in inodes for entry in os.scandir(process / "fd")):
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return None
