"""Published ports: which sockets listen on the host, and which containers stand behind each.

All replicas of a service share a fixed port; a port that is left to the host (published 0) belongs to one container.
"""

from __future__ import annotations

from dataclasses import dataclass

from stackup.core.addresses import Addresses
from stackup.core.types import ContainerSpec, Desired, Observed, Port, State

LOOPBACK = ("127.0.0.1", "::1")
"""Where a port is published whose file names no address."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket on the host. `id` names it to the relay; `port` 0 means any free one. `container` owns it if set."""

    id: str
    service: str
    address: str
    port: int
    target: int
    protocol: str
    container: str | None = None


def listeners(desired: Desired) -> tuple[Listener, ...]:
    """Every socket the stack publishes, each once, sorted by id."""
    found = {listener.id: listener for spec in desired.containers for listener in _of_spec(spec)}
    return tuple(found[key] for key in sorted(found))


def table(desired: Desired, observed: Observed, addresses: Addresses) -> dict[str, list[tuple[str, int]]]:
    """For each listener's id the (address, port) pairs of the running containers behind it, sorted by container."""
    targets: dict[str, list[tuple[str, int]]] = {listener.id: [] for listener in listeners(desired)}
    for spec in sorted(desired.containers, key=lambda spec: spec.name):
        container = observed.by_name.get(spec.name)
        pairs = addresses.get(spec.name, ())
        if container is None or container.state is not State.RUNNING or not pairs:
            continue
        for listener in _of_spec(spec):
            targets[listener.id].append((pairs[0][1], listener.target))
    return targets


def _of_spec(spec: ContainerSpec) -> list[Listener]:
    return [_listener(spec, port, address) for port in spec.ports for address in _addresses(port)]


def _addresses(port: Port) -> tuple[str, ...]:
    return LOOPBACK if port.host_ip is None else (port.host_ip,)


def _listener(spec: ContainerSpec, port: Port, address: str) -> Listener:
    own = None if port.published else spec.name
    name = f"{port.published}" if own is None else f"{own}:{port.target}"
    key = f"{name}/{port.protocol}@{address}"
    return Listener(key, spec.service, address, port.published, port.target, port.protocol, own)
