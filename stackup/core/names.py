"""The DNS table of a stack: who may resolve which names to which addresses.

A name is valid within one network: the service, the container, its hostname and its aliases there. Containers that will
not run again without a decision are left out, so that nobody waits for an address where nothing answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stackup.core.addresses import Addresses, real_names
from stackup.core.fate import Wanted
from stackup.core.types import Container, Desired, Observed


def table(desired: Desired, observed: Observed, addresses: Addresses) -> dict[str, Any]:
    """`{"clients": {address: [network, ...]}, "names": {network: {name: [address, ...]}}}`; names in lower case.

    `addresses` come from `addresses.assign`; a container that it does not name is asked for its own.
    """
    keys, wanted = real_names(desired), Wanted(desired)
    clients: dict[str, list[str]] = {}
    names: dict[str, dict[str, list[str]]] = {}
    for container in sorted(observed.containers, key=lambda container: container.name):
        pairs = addresses.get(container.name, container.addresses)
        known_as = _names(container, keys) if wanted.runs_again(container) else {}
        networks = [network for network, _ in pairs]
        for network, address in pairs:
            clients[address] = networks
            for name in known_as.get(network, ()):
                names.setdefault(network, {}).setdefault(name, []).append(address)
    return {"clients": clients, "names": names}


def _names(container: Container, keys: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The names of a container in each of its networks, each once."""
    spec = container.spec
    own = [spec.service, spec.name, spec.hostname]
    return {
        keys.get(attachment.network, attachment.network): tuple(
            dict.fromkeys(name.lower() for name in (*own, *attachment.aliases) if name)
        )
        for attachment in spec.networks
    }
