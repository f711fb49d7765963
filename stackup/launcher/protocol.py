"""Messages between the launcher, its helpers and whoever talks to it: JSON in SOCK_SEQPACKET packets, with descriptors.

The one module of the launcher that others import. Standard library only. One packet is one message: a JSON object. A
message that is larger than a packet may be travels in a memfd, which is then the first descriptor.
"""

from __future__ import annotations

import json
import os
import socket
from array import array
from collections.abc import Sequence
from typing import Any

VERSION = 1
"""Of the launcher's messages; said in the reply to `hello` and raised when an old peer would misunderstand."""

PACKET_LIMIT = 96 * 1024
"""Bytes of JSON in one packet. A packet must fit into the socket's send buffer, 208 KiB by default (unix(7))."""

MAX_FDS = 250
"""Descriptors in one packet; the kernel's SCM_MAX_FD is 253."""

Message = dict[str, Any]


def send(sock: socket.socket, message: Message, fds: Sequence[int] = ()) -> None:
    """Send one message and copies of `fds`.

    Raises:
        OSError: the peer is gone, or (BlockingIOError) a non-blocking socket is full.
    """
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) <= PACKET_LIMIT:
        _send(sock, data, fds)
        return
    memfd = os.memfd_create("stackup-message")
    try:
        with open(memfd, "wb", closefd=False) as file:
            file.write(data)
        _send(sock, b'{"memfd":%d}' % len(data), [memfd, *fds])
    finally:
        os.close(memfd)


def _send(sock: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
    sock.sendmsg([data], ancillary)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """Receive one message and its descriptors (all close-on-exec); None when the peer has closed.

    Raises:
        OSError: the socket failed, or (BlockingIOError) a non-blocking socket is empty.
        ValueError: the peer sent something that is no message.
    """
    # MSG_CMSG_CLOEXEC: without it received descriptors are inherited through exec.
    data, ancillary, flags, _ = sock.recvmsg(
        PACKET_LIMIT + 1024, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
    )
    fds = array("i")
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    received = fds.tolist()
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for fd in received:
            os.close(fd)
        raise ValueError("a message was truncated")
    if not data:
        return None
    try:
        message = json.loads(data)
        if "memfd" in message:
            memfd = received.pop(0)
            try:
                message = json.loads(os.pread(memfd, message["memfd"], 0))
            finally:
                os.close(memfd)
        if not isinstance(message, dict):
            raise ValueError("a message is no object")
    except (ValueError, TypeError, IndexError) as error:
        for fd in received:
            os.close(fd)
        raise ValueError(f"not a message: {error}") from error
    return message, received


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected packet sockets, close-on-exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
