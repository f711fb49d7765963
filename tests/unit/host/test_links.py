"""The generated rtnetlink templates, and what is patched into them, read back by pyroute2."""

from __future__ import annotations

from pathlib import Path

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

import stackup.host.templates
from stackup.host import links
from tests.setup import templates


def split(messages: bytes) -> list[bytes]:
    found = []
    while messages:
        length = int.from_bytes(messages[:4], "little")
        found.append(messages[:length])
        messages = messages[length:]
    return found


def test_the_generated_templates_are_fresh() -> None:
    scope: dict[str, object] = {}
    exec(templates.text(), scope)
    assert scope["TEMPLATES"] == stackup.host.templates.TEMPLATES
    assert "Generated: `make templates`" in Path(stackup.host.templates.__file__).read_text()


def test_a_plug_joins_a_bridge_and_an_interface_of_the_container() -> None:
    link = links.plug(7, 1, "10.64.1.9")
    message = bytearray.fromhex(link.message)
    message[link.pid_at : link.pid_at + 4] = (4711).to_bytes(4, "little")
    message[link.name_at : link.name_at + 8] = b"v0000042"
    read = ifinfmsg(bytes(message))
    read.decode()
    assert (read.get_attr("IFLA_IFNAME"), read.get_attr("IFLA_MASTER")) == ("v0000042", 7)
    peer = read.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA").get_attr("VETH_INFO_PEER")
    assert (peer["index"], peer.get_attr("IFLA_IFNAME").rstrip("\0")) == (3, "eth1")
    assert peer.get_attr("IFLA_ADDRESS") == "02:42:0a:40:01:09"
    assert peer.get_attr("IFLA_NET_NS_PID") == 4711


def test_inside_a_container_loopback_and_every_interface_come_up_with_their_addresses() -> None:
    messages = split(bytes.fromhex(links.inside(["10.64.0.2", "10.64.4.3"])))
    kinds = [int.from_bytes(message[4:6], "little") for message in messages]
    assert kinds == [16, 16, 20, 16, 16, 20, 16]
    address = ifaddrmsg(messages[5])
    address.decode()
    assert (address["index"], address["prefixlen"], address.get_attr("IFA_LOCAL")) == (3, 22, "10.64.4.3")
    up = ifinfmsg(messages[6])
    up.decode()
    assert (up["index"], up["flags"] & 1) == (3, 1)
