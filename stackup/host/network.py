"""Composes and reads rtnetlink messages with pyroute2, which nothing else imports: it takes a tenth of a second.

What a container or a bridge needs is composed when stackup is built, not when it runs (`make templates` writes
host/templates.py, a test keeps it fresh); at run time a few bytes are patched (host/links.py). Only who adopts a stack
reads the kernel's answer here.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_NEWLINK
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from stackup.host.marks import ADDRESS, INDEX, MAC, MASTER, NAME, PEER, PID, PREFIX

_NEW = NLM_F_CREATE | NLM_F_EXCL
_UP = {"flags": 1, "change": 1}
_ADDR_GEN_MODE_NONE = 1


def compose_templates() -> dict[str, bytes]:
    """The messages that host/links.py patches, by name."""
    peer = {"index": INDEX, "attrs": [("IFLA_IFNAME", PEER), ("IFLA_ADDRESS", MAC), ("IFLA_NET_NS_PID", PID)]}
    veth = [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]
    plug = [("IFLA_IFNAME", NAME), ("IFLA_MASTER", MASTER), ("IFLA_LINKINFO", {"attrs": veth})]
    bridge = [
        ("IFLA_IFNAME", NAME),
        ("IFLA_ADDRESS", MAC),
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "bridge")]}),
    ]
    # Its own message before the link goes up: autoconfiguration starts at that moment.
    inet6 = ("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]})
    address = [("IFA_LOCAL", ADDRESS), ("IFA_ADDRESS", ADDRESS)]
    return {
        "veth": _compose(ifinfmsg, RTM_NEWLINK, _NEW, _UP, plug),
        "bridge": _compose(ifinfmsg, RTM_NEWLINK, _NEW, {"index": INDEX}, bridge),
        "up": _compose(ifinfmsg, RTM_NEWLINK, 0, {"index": INDEX, **_UP}, []),
        "quiet": _compose(ifinfmsg, RTM_NEWLINK, 0, {"index": INDEX}, [("IFLA_AF_SPEC", {"attrs": [inet6]})]),
        "address": _compose(ifaddrmsg, RTM_NEWADDR, _NEW, {"family": 2, "prefixlen": PREFIX, "index": INDEX}, address),
        "remove": _compose(ifinfmsg, RTM_DELLINK, 0, {"index": INDEX}, []),
    }


def _compose(kind: Any, number: int, flags: int, fields: Mapping[str, int], attributes: list[Any]) -> bytes:
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message["header"]["type"] = number
    message["header"]["flags"] = flags | NLM_F_REQUEST | NLM_F_ACK
    message.encode()
    return bytes(message.data)


def read_bridges(netlink: socket.socket) -> dict[str, int]:
    """The index of every bridge of a stack by its network's name, which is the link's alias (IFLA_IFALIAS)."""
    request = ifinfmsg()
    request["header"]["type"] = RTM_GETLINK
    request["header"]["flags"] = NLM_F_REQUEST | NLM_F_DUMP
    request.encode()
    netlink.send(bytes(request.data))
    bridges: dict[str, int] = {}
    while True:
        data, position = netlink.recv(1 << 18), 0
        while position + 16 <= len(data):
            length = int.from_bytes(data[position : position + 4], "little")
            if int.from_bytes(data[position + 4 : position + 6], "little") == 3:  # NLMSG_DONE
                return bridges
            found = ifinfmsg(data[position : position + length])
            found.decode()
            alias = found.get_attr("IFLA_IFALIAS")
            if alias:
                bridges[alias] = found["index"]
            position += length + 3 & ~3
