"""Sends rtnetlink messages and waits for their answers. Composing them is others' work (host/network.py)."""

from __future__ import annotations

import os
import socket
import sys

_NLMSG_ERROR = 2


def request(netlink: socket.socket, data: bytes) -> None:
    """Send rtnetlink messages, each with NLM_F_ACK, and wait for every answer (rtnetlink(7)).

    Raises:
        OSError: the first error that an answer carried; the messages after it were executed all the same.
    """
    netlink.send(data)
    waiting, position = 0, 0
    while position < len(data):
        position += _aligned(_integer(data, position, 4))
        waiting += 1
    first_error = 0
    while waiting:
        answer, position = netlink.recv(65536), 0
        while position + 20 <= len(answer):
            if _integer(answer, position + 4, 2) == _NLMSG_ERROR:
                first_error = first_error or -_integer(answer, position + 16, 4, signed=True)
                waiting -= 1
            position += _aligned(_integer(answer, position, 4))
    if first_error:
        raise OSError(first_error, os.strerror(first_error), "rtnetlink")


def _integer(data: bytes, position: int, size: int, *, signed: bool = False) -> int:
    return int.from_bytes(data[position : position + size], sys.byteorder, signed=signed)


def _aligned(length: int) -> int:
    return length + 3 & ~3
