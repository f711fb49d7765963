"""Plugs containers into networks: rtnetlink messages made from templates by patching a few bytes.

Every link and address of a stack is made by one of six messages (host/templates.py). The launcher patches the two
values that only it knows, the container's pid and a fresh link name. See host/network.py for where they come from.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Any

from stackup.core.addresses import PREFIX as SUBNET_PREFIX
from stackup.core.addresses import gateway
from stackup.errors import HostError
from stackup.host.marks import ADDRESS, INDEX, MAC, MASTER, NAME, PEER, PID
from stackup.host.templates import TEMPLATES
from stackup.launcher import rtnetlink

_FIRST_BRIDGE = 500_000
"""Bridges have indexes from here on. The kernel numbers the containers' links from 1 on: they must never meet."""

_IFLA_IFALIAS = 20
_PREFIX_AT = 17
"""Offset of ifa_prefixlen behind the 16 bytes of the header (rtnetlink(7))."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a container needs to join one network: the launcher's message, and where it patches it."""

    message: str
    pid_at: int
    name_at: int

    def to_plain(self) -> dict[str, Any]:
        return {"message": self.message, "pid_at": self.pid_at, "name_at": self.name_at}


def plug(bridge: int, number: int, address: str) -> Link:
    """The veth pair of a container's interface eth`number`, plugged into the bridge with index `bridge`."""
    template = TEMPLATES["veth"]
    message = template.replace(_u32(MASTER), _u32(bridge)).replace(_u32(INDEX), _u32(number + 2))
    message = _with_mac(message, address)
    message = message.replace(PEER.encode(), f"eth{number}".encode().ljust(len(PEER), b"\0"))
    return Link(message.hex(), template.index(_u32(PID)), template.index(NAME.encode()))


def inside(addresses: list[str]) -> str:
    """What a container sends in its own namespace: loopback up, then each address on ethN."""
    messages = _patch("up", 1)
    for number, address in enumerate(addresses):
        index = number + 2
        messages += _patch("quiet", index) + _address(index, address) + _patch("up", index)
    return messages.hex()


def _patch(name: str, index: int) -> bytes:
    return TEMPLATES[name].replace(_u32(INDEX), _u32(index))


def _address(index: int, address: str) -> bytes:
    message = bytearray(_patch("address", index).replace(socket.inet_aton(ADDRESS), socket.inet_aton(address)))
    message[_PREFIX_AT] = SUBNET_PREFIX
    return bytes(message)


def _with_mac(message: bytes, address: str) -> bytes:
    """The hardware address follows from `address`: nobody's ARP cache may ever hold another one for it.

    A new container can have an old address; and a bridge that is given none takes the lowest of its ports', which
    changes with them.
    """
    return message.replace(bytes.fromhex(MAC.replace(":", "")), b"\x02\x42" + socket.inet_aton(address))


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def _with_alias(message: bytes, alias: str) -> bytes:
    """A link message with one more attribute, IFLA_IFALIAS."""
    text = alias.encode()
    attribute = (len(text) + 4).to_bytes(2, "little") + _IFLA_IFALIAS.to_bytes(2, "little") + text
    message += attribute.ljust(len(attribute) + 3 & ~3, b"\0")
    return _u32(len(message)) + message[4:]


class StackNetwork:
    """The bridges in the stack's network namespace, through a netlink socket that the launcher opened there."""

    def __init__(self, netlink: socket.socket, *, adopted: bool) -> None:
        """`adopted`: there may be bridges already, which the kernel is asked for."""
        self._netlink = netlink
        self.bridges: dict[str, int] = {}
        """Index of each network's bridge by the network's name."""
        if adopted:
            from stackup.host.network import read_bridges

            self.bridges = read_bridges(netlink)
        else:
            self._request("bring up", "the loopback interface", _patch("up", 1))

    def create(self, name: str, subnet: str) -> None:
        """Make the bridge of a network, with the first address of its subnet.

        Raises:
            HostError: the kernel refused.
        """
        index = 1 + max(self.bridges.values(), default=_FIRST_BRIDGE)
        address = gateway(subnet)
        bridge = _patch("bridge", index).replace(NAME.encode(), f"br{index}".encode().ljust(len(NAME), b"\0"))
        messages = _with_mac(bridge, address) + _with_alias(_patch("up", index), name) + _address(index, address)
        self._request("create network", name, messages)
        self.bridges[name] = index

    def remove(self, name: str) -> None:
        """Remove the bridge of a network; one that does not exist needs none.

        Raises:
            HostError: the kernel refused.
        """
        index = self.bridges.pop(name, None)
        if index is not None:
            self._request("remove network", name, _patch("remove", index))

    def close(self) -> None:
        """Let go of the socket; the bridges stay."""
        self._netlink.close()

    def _request(self, operation: str, subject: str, messages: bytes) -> None:
        try:
            rtnetlink.request(self._netlink, messages)
        except OSError as error:
            raise HostError(operation, subject, error.strerror or str(error), errno=error.errno) from error
