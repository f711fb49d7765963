"""The stack's own network: bridges in its namespace, and the messages that plug a container in.

The only module that imports pyroute2. Messages for containers are composed once as templates; a container costs a few
patched bytes. The launcher patches the two values that only it knows: the container's pid and a fresh link name.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from stackup.errors import HostError
from stackup.launcher.sandbox import netlink_request

_NEW = NLM_F_CREATE | NLM_F_EXCL
_IFF_UP = 1
_ADDR_GEN_MODE_NONE = 1

# Values that stand for what is patched in; each occurs once in its template.
_PID, _MASTER, _INDEX = 0x7A01B2C3, 0x7A02B2C3, 0x7A03B2C3
_NAME, _PEER = "v0000000", "eth0000"
_MAC, _ADDRESS = "02:42:fe:dc:ba:98", "254.220.186.152"


def _compose(kind: Any, number: int, flags: int, fields: Mapping[str, int], attributes: list[Any]) -> bytearray:
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message["header"]["type"] = number
    message["header"]["flags"] = flags | NLM_F_REQUEST | NLM_F_ACK
    message.encode()
    return bytearray(message.data)


def _offset(template: bytearray, marker: bytes) -> int:
    position = template.index(marker)
    if template.find(marker, position + 1) >= 0:
        raise ValueError("a marker occurs twice in a netlink template")
    return position


@dataclass(frozen=True)
class Link:
    """What a container needs to join one network: the launcher's message, and where it patches it."""

    message: str
    pid_at: int
    name_at: int

    def to_plain(self) -> dict[str, Any]:
        return {"message": self.message, "pid_at": self.pid_at, "name_at": self.name_at}


class Templates:
    """The messages for containers, composed once and patched for each."""

    def __init__(self) -> None:
        peer = {
            "index": _INDEX,
            "attrs": [("IFLA_IFNAME", _PEER), ("IFLA_ADDRESS", _MAC), ("IFLA_NET_NS_PID", _PID)],
        }
        kind = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]
        self._veth = _compose(
            ifinfmsg,
            RTM_NEWLINK,
            _NEW,
            {"flags": _IFF_UP, "change": _IFF_UP},
            [("IFLA_IFNAME", _NAME), ("IFLA_MASTER", _MASTER), ("IFLA_LINKINFO", {"attrs": kind})],
        )
        self._veth_at = {
            "pid": _offset(self._veth, _PID.to_bytes(4, "little")),
            "master": _offset(self._veth, _MASTER.to_bytes(4, "little")),
            "index": _offset(self._veth, _INDEX.to_bytes(4, "little")),
            "mac": _offset(self._veth, bytes.fromhex(_MAC.replace(":", ""))),
            "name": _offset(self._veth, _NAME.encode()),
            "peer": _offset(self._veth, _PEER.encode()),
        }
        self._loopback = bytes(
            _compose(ifinfmsg, RTM_NEWLINK, 0, {"index": 1, "flags": _IFF_UP, "change": _IFF_UP}, [])
        )
        # Its own message before the link goes up: autoconfiguration starts at that moment.
        inet6 = [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]
        quiet = [("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": inet6})]})]
        address = [("IFA_LOCAL", _ADDRESS), ("IFA_ADDRESS", _ADDRESS)]
        self._up = (
            _compose(ifinfmsg, RTM_NEWLINK, 0, {"index": _INDEX}, quiet),
            _compose(ifaddrmsg, RTM_NEWADDR, _NEW, {"family": 2, "prefixlen": 99, "index": _INDEX}, address),
            _compose(ifinfmsg, RTM_NEWLINK, 0, {"index": _INDEX, "flags": _IFF_UP, "change": _IFF_UP}, []),
        )

    def link(self, bridge: int, number: int, address: str) -> Link:
        """The veth pair of a container's interface eth`number`, plugged into the bridge with index `bridge`."""
        message, at = bytearray(self._veth), self._veth_at
        packed = ipaddress.IPv4Address(address).packed
        message[at["master"] : at["master"] + 4] = bridge.to_bytes(4, "little")
        message[at["index"] : at["index"] + 4] = (number + 2).to_bytes(4, "little")
        # From the address: a new container with an old address must not meet stale ARP entries of its neighbours.
        message[at["mac"] : at["mac"] + 6] = b"\x02\x42" + packed
        name = f"eth{number}".encode()
        message[at["peer"] : at["peer"] + len(_PEER)] = name.ljust(len(_PEER), b"\0")
        return Link(message.hex(), at["pid"], at["name"])

    def inside(self, interfaces: list[tuple[str, int]]) -> str:
        """What a container sends in its own namespace: loopback up, then each (address, prefix length) on ethN."""
        messages = bytearray(self._loopback)
        marker, index = ipaddress.IPv4Address(_ADDRESS).packed, _INDEX.to_bytes(4, "little")
        for number, (address, prefix) in enumerate(interfaces):
            for template in self._up:
                message = template.replace(index, (number + 2).to_bytes(4, "little"))
                if marker in message:
                    message = message.replace(marker, ipaddress.IPv4Address(address).packed)
                    message[17] = prefix  # ifa_prefixlen (rtnetlink(7))
                messages += message
        return messages.hex()


class StackNetwork:
    """The bridges in the stack's network namespace, through a netlink socket that the launcher opened there."""

    def __init__(self, netlink: socket.socket) -> None:
        self._netlink = netlink
        self.bridges: dict[str, int] = {}
        """Index of each network's bridge by the network's name; read by `observe`."""

    def observe(self) -> tuple[str, ...]:
        """The names of the networks that exist; the name of a network is its bridge's alias (IFLA_IFALIAS)."""
        message = ifinfmsg()
        message["header"]["type"] = RTM_GETLINK
        message["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
        message.encode()
        self._netlink.send(bytes(message.data))
        self.bridges = {}
        finished = False
        while not finished:
            data, position = self._netlink.recv(1 << 18), 0
            while position + 16 <= len(data):
                length = int.from_bytes(data[position : position + 4], "little")
                kind = int.from_bytes(data[position + 4 : position + 6], "little")
                if kind == 3:  # NLMSG_DONE
                    finished = True
                    break
                found = ifinfmsg(data[position : position + length])
                found.decode()
                alias, index = found.get_attr("IFLA_IFALIAS"), found["index"]
                if alias and str(found.get_attr("IFLA_IFNAME")).startswith("br"):
                    self.bridges[alias] = index
                position += length + 3 & ~3
        return tuple(sorted(self.bridges))

    def create(self, name: str, subnet: str) -> None:
        """Make the bridge of a network, with the first address of its subnet.

        Raises:
            HostError: the kernel refused.
        """
        network = ipaddress.IPv4Network(subnet)
        gateway = str(network[1])
        index = 2 + max(self.bridges.values(), default=1)
        kind = {"attrs": [("IFLA_INFO_KIND", "bridge")]}
        messages = _compose(
            ifinfmsg,
            RTM_NEWLINK,
            _NEW,
            {"index": index},
            [("IFLA_IFNAME", f"br{index}"), ("IFLA_LINKINFO", kind)],
        )
        up = {"index": index, "flags": _IFF_UP, "change": _IFF_UP}
        messages += _compose(ifinfmsg, RTM_NEWLINK, 0, up, [("IFLA_IFALIAS", name)])
        address = [("IFA_LOCAL", gateway), ("IFA_ADDRESS", gateway)]
        fields = {"family": 2, "prefixlen": network.prefixlen, "index": index}
        messages += _compose(ifaddrmsg, RTM_NEWADDR, _NEW, fields, address)
        self._request("create network", name, bytes(messages))
        self.bridges[name] = index

    def remove(self, name: str) -> None:
        """Remove the bridge of a network; one that does not exist needs none.

        Raises:
            HostError: the kernel refused.
        """
        index = self.bridges.pop(name, None)
        if index is not None:
            self._request("remove network", name, bytes(_compose(ifinfmsg, RTM_DELLINK, 0, {"index": index}, [])))

    def loopback_up(self) -> None:
        """Bring up the stack namespace's own loopback."""
        up = {"index": 1, "flags": _IFF_UP, "change": _IFF_UP}
        self._request("bring up", "the loopback interface", bytes(_compose(ifinfmsg, RTM_NEWLINK, 0, up, [])))

    def _request(self, operation: str, subject: str, messages: bytes) -> None:
        try:
            netlink_request(self._netlink, messages)
        except OSError as error:
            raise HostError(operation, subject, error.strerror or str(error), errno=error.errno) from error
