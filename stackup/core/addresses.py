"""Which subnet a network has and which address a container: deterministic, and kept as long as it is in use.

Networks are named by their real names here. Subnets are /22 (1,021 containers each) out of 10.64.0.0/10; the first
address of a subnet is the bridge's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stackup.core.types import ContainerSpec, Desired, Observed
from stackup.errors import StackupError

PREFIX = 22
_POOL_START = 10 << 24 | 64 << 16
_POOL_SIZE = 1 << 22
_SUBNET_SIZE = 1 << (32 - PREFIX)

Addresses = dict[str, tuple[tuple[str, str], ...]]
"""For each container its (network, address) pairs, in the order of its attachments."""


def subnet_for(networks: Iterable[str], taken: Mapping[str, str]) -> dict[str, str]:
    """A subnet (`10.64.4.0/22`) for each network. Those in `taken` keep theirs; others get the lowest that is free.

    Raises:
        StackupError: more than 4,096 networks.
    """
    used = set(taken.values())
    free = (
        subnet
        for start in range(_POOL_START, _POOL_START + _POOL_SIZE, _SUBNET_SIZE)
        if (subnet := f"{_dotted(start)}/{PREFIX}") not in used
    )
    subnets = {}
    for name in sorted(networks):
        chosen = taken.get(name) or next(free, None)
        if chosen is None:
            raise StackupError(
                f"no subnet is left for network {name}: a stack has at most {_POOL_SIZE // _SUBNET_SIZE} networks",
                "remove networks that no service uses",
            )
        subnets[name] = chosen
    return subnets


def gateway(subnet: str) -> str:
    """The address of the bridge: the first host of the subnet."""
    start, _ = _bounds(subnet)
    return _dotted(start + 1)


def real_names(desired: Desired) -> dict[str, str]:
    """The real name of each network by its key in the file."""
    return {network.key: network.name for network in desired.networks}


def assign(desired: Desired, observed: Observed, subnets: Mapping[str, str]) -> Addresses:
    """The addresses of every desired container. Observed ones are kept; new ones are the lowest free, by sorted name.

    Raises:
        StackupError: a network has more containers than addresses.
    """
    used = {name: {_bounds(subnet)[0] + 1} for name, subnet in subnets.items()}
    current: dict[tuple[str, str], str] = {}
    for container in observed.containers:
        for network, address in container.addresses:
            if network in subnets and _within(address, subnets[network]):
                used[network].add(_number(address))
                current[container.name, network] = address
    names, lowest = real_names(desired), {network: _bounds(subnet)[0] + 2 for network, subnet in subnets.items()}
    assigned: Addresses = {}
    for spec in sorted(desired.containers, key=lambda spec: spec.name):
        pairs = []
        for network in _networks(spec, names):
            kept = current.get((spec.name, network))
            if kept is not None:
                pairs.append((network, kept))
                continue
            number = _next_free(network, lowest[network], used[network], subnets[network])
            lowest[network] = number + 1
            pairs.append((network, _dotted(number)))
        assigned[spec.name] = tuple(pairs)
    return assigned


def _networks(spec: ContainerSpec, names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names.get(attachment.network, attachment.network) for attachment in spec.networks)


def _next_free(network: str, lowest: int, used: set[int], subnet: str) -> int:
    _, end = _bounds(subnet)
    number = lowest
    while number in used:
        number += 1
    if number >= end - 1:  # the last address is the broadcast address
        raise StackupError(
            f"network {network} is full: {subnet} has room for {_SUBNET_SIZE - 3} containers",
            "spread the services over several networks",
        )
    return number


def _bounds(subnet: str) -> tuple[int, int]:
    address, _, prefix = subnet.partition("/")
    start = _number(address)
    return start, start + (1 << (32 - int(prefix)))


def _within(address: str, subnet: str) -> bool:
    start, end = _bounds(subnet)
    return start + 1 < _number(address) < end - 1


def _number(address: str) -> int:
    a, b, c, d = address.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def _dotted(number: int) -> str:
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
