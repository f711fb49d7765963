"""Published ports: the sockets are bound before anything starts, and stay bound while containers come and go."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from stackup.core.ports import Listener, listeners
from stackup.core.types import Desired
from stackup.errors import StackupError
from stackup.host import ports
from stackup.host.linux import LinuxHost


def publish(host: LinuxHost, desired: Desired, published: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Listen for what `desired` publishes and let go of the rest; returns the new list of what is published.

    `published` and the result are records for `ps` and `port`: id, service, address, port, target, protocol. The relay
    keeps the sockets, so an earlier supervisor's are still open. Nothing has changed where this raises.

    Raises:
        HostError: an address cannot be bound; it says who holds it.
    """
    wanted = {listener.id: listener for listener in listeners(desired)}
    kept = {record["id"]: record for record in published if record["id"] in wanted}
    opened: list[tuple[Listener, socket.socket]] = []
    chosen = {(record["container"], record["target"]): record["port"] for record in kept.values()}
    try:
        for listener in wanted.values():
            if listener.id in kept or (":" in listener.address and not ports.has_ipv6()):
                continue
            # One free port for both loopback addresses: the first decides.
            number = listener.port or chosen.get((listener.container, listener.target), 0)
            sock = ports.listen(listener.address, number)
            opened.append((listener, sock))
            chosen[listener.container, listener.target] = sock.getsockname()[1]
    except StackupError:
        for _, sock in opened:
            sock.close()
        raise
    for record in published:
        if record["id"] not in kept:
            host.helper("relay", {"op": "unlisten", "id": record["id"]}, forget=f"listen {record['id']}")
    for listener, sock in opened:
        with sock:
            host.helper("relay", {"op": "listen", "id": listener.id}, [sock.fileno()], keep=f"listen {listener.id}")
            kept[listener.id] = {
                "id": listener.id,
                "service": listener.service,
                "container": listener.container,
                "address": listener.address,
                "port": sock.getsockname()[1],
                "target": listener.target,
                "protocol": listener.protocol,
            }
    return [kept[key] for key in sorted(kept)]
