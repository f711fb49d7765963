"""Subnets, addresses, DNS names and published ports."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackup.core import names, ports
from stackup.core.addresses import Addresses, assign, gateway, subnet_for
from stackup.core.requests import for_stop
from stackup.core.types import Attachment, Container, Desired, NetworkSpec, Observed, Port, State
from stackup.errors import StackupError
from stackup.testing.fake_host import FakeHost, Script

from .stacks import ALWAYS, service, stack

NETWORKS = (NetworkSpec("back", "demo_back"), NetworkSpec("front", "demo_front"))
BACK, FRONT = Attachment("back"), Attachment("front")
SUBNETS = {"demo_back": "10.64.0.0/22", "demo_front": "10.64.4.0/22"}


def test_subnets_are_the_lowest_free_in_the_order_of_names() -> None:
    assert subnet_for(["b", "a"], {}) == {"a": "10.64.0.0/22", "b": "10.64.4.0/22"}
    assert subnet_for(["b", "a"], {"b": "10.64.0.0/22"}) == {"a": "10.64.4.0/22", "b": "10.64.0.0/22"}
    assert subnet_for(["a"], {"gone": "10.64.0.0/22"}) == {"a": "10.64.4.0/22"}


def test_subnets_stay_in_their_pool_and_never_overlap() -> None:
    nets = [ipaddress.ip_network(each) for each in subnet_for([f"n{i}" for i in range(4096)], {}).values()]
    assert len(set(nets)) == 4096
    assert all(net.subnet_of(ipaddress.ip_network("10.64.0.0/10")) for net in nets)
    with pytest.raises(StackupError, match="no subnet is left"):
        subnet_for([f"n{i}" for i in range(4097)], {})


def test_the_first_host_is_the_gateway() -> None:
    assert gateway("10.64.4.0/22") == "10.64.4.1"


def test_addresses_are_given_in_order_and_kept() -> None:
    desired = stack(service("a", networks=(BACK, FRONT)), service("b", networks=(BACK,)), networks=NETWORKS)
    assert assign(desired, Observed(), SUBNETS) == {
        "demo-a-1": (("demo_back", "10.64.0.2"), ("demo_front", "10.64.4.2")),
        "demo-b-1": (("demo_back", "10.64.0.3"),),
    }
    (b,) = service("b", networks=(BACK,))
    running = Container("demo-b-1", b, State.RUNNING, 1, addresses=(("demo_back", "10.64.0.2"),))
    leaving = Container("demo-c-1", b, State.STOPPING, 1, addresses=(("demo_back", "10.64.0.3"),))
    assert assign(desired, Observed((running, leaving)), SUBNETS) == {
        "demo-a-1": (("demo_back", "10.64.0.4"), ("demo_front", "10.64.4.2")),
        "demo-b-1": (("demo_back", "10.64.0.2"),),
    }


def test_an_address_outside_the_subnet_is_not_kept() -> None:
    (spec,) = service("a", networks=(BACK,))
    odd = Container("demo-a-1", spec, State.RUNNING, 1, addresses=(("demo_back", "10.64.9.9"),))
    assert assign(stack([spec], networks=NETWORKS), Observed((odd,)), SUBNETS)["demo-a-1"] == (
        ("demo_back", "10.64.0.2"),
    )


def test_a_full_network_is_an_error() -> None:
    full = stack(service("a", replicas=1021, networks=(BACK,)), networks=NETWORKS)
    last = max(ipaddress.ip_address(pairs[0][1]) for pairs in assign(full, Observed(), SUBNETS).values())
    assert str(last) == "10.64.3.254"
    with pytest.raises(StackupError, match="network demo_back is full"):
        assign(stack(service("a", replicas=1022, networks=(BACK,)), networks=NETWORKS), Observed(), SUBNETS)


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.data())
def test_no_address_is_given_twice_and_none_changes(present: list[bool], data: st.DataObject) -> None:
    desired = stack(service("a", replicas=len(present), networks=(BACK, FRONT)), networks=NETWORKS)
    first = assign(desired, Observed(), SUBNETS)
    survivors = tuple(
        Container(spec.name, spec, State.RUNNING, 1, addresses=first[spec.name])
        for spec, stays in zip(desired.containers, present, strict=True)
        if stays
    )
    shuffled = tuple(data.draw(st.permutations(survivors)))
    second = assign(desired, Observed(shuffled), SUBNETS)
    given = [pair for pairs in second.values() for pair in pairs]
    assert len(given) == len(set(given)) == 2 * len(present)
    assert all(second[container.name] == first[container.name] for container in survivors)


def running(desired: Desired) -> tuple[Observed, Addresses]:
    """The stack after its start, with the addresses it was given."""
    host = FakeHost()
    addresses = assign(desired, Observed(), SUBNETS)
    host.converge(desired)
    return host.observe(), addresses


def test_names_are_valid_within_a_network() -> None:
    desired = stack(
        service("db", networks=(Attachment("back", ("Postgres",)),), hostname="demo-db-1"),
        service("api", replicas=2, networks=(BACK, FRONT)),
        networks=NETWORKS,
    )
    table = names.table(desired, *running(desired))
    assert table == {
        "clients": {
            "10.64.0.2": ["demo_back", "demo_front"],
            "10.64.4.2": ["demo_back", "demo_front"],
            "10.64.0.3": ["demo_back", "demo_front"],
            "10.64.4.3": ["demo_back", "demo_front"],
            "10.64.0.4": ["demo_back"],
        },
        "names": {
            "demo_back": {
                "api": ["10.64.0.2", "10.64.0.3"],
                "demo-api-1": ["10.64.0.2"],
                "demo-api-2": ["10.64.0.3"],
                "db": ["10.64.0.4"],
                "demo-db-1": ["10.64.0.4"],
                "postgres": ["10.64.0.4"],
            },
            "demo_front": {
                "api": ["10.64.4.2", "10.64.4.3"],
                "demo-api-1": ["10.64.4.2"],
                "demo-api-2": ["10.64.4.3"],
            },
        },
    }


def test_who_will_not_run_again_has_no_name() -> None:
    desired = stack(
        service("job", networks=(BACK,)), service("web", networks=(BACK,), restart=ALWAYS), networks=NETWORKS
    )
    host = FakeHost({"job": [Script(exits_after=0)]})
    addresses = assign(desired, Observed(), SUBNETS)
    host.converge(desired)
    assert set(names.table(desired, host.observe(), addresses)["names"]["demo_back"]) == {"web", "demo-web-1"}
    stopped = for_stop(desired, ["web"], "stopped by hand")
    host.converge(stopped)
    assert names.table(stopped, host.observe(), addresses)["names"] == {}
    assert "web" in names.table(desired, host.observe(), addresses)["names"]["demo_back"]


def test_a_container_that_leaves_still_resolves_and_answers() -> None:
    desired = stack(service("web", networks=(BACK,)), networks=NETWORKS)
    observed, _ = running(desired)
    leaving = replace(observed.containers[0], addresses=(("demo_back", "10.64.0.9"),))
    table = names.table(replace(desired, containers=()), Observed((leaving,)), {})
    assert table["clients"] == {"10.64.0.9": ["demo_back"]}
    assert table["names"]["demo_back"]["web"] == ["10.64.0.9"]


def test_ports_listen_on_both_loopbacks_unless_the_file_names_an_address() -> None:
    desired = stack(
        service("web", ports=(Port(80, 8080), Port(443, 0), Port(53, 53, "0.0.0.0", "udp")), networks=(BACK,)),
        networks=NETWORKS,
    )
    found = {each.id: (each.address, each.port, each.target, each.container) for each in ports.listeners(desired)}
    assert found == {
        "53/udp@0.0.0.0": ("0.0.0.0", 53, 53, None),
        "8080/tcp@127.0.0.1": ("127.0.0.1", 8080, 80, None),
        "8080/tcp@::1": ("::1", 8080, 80, None),
        "demo-web-1:443/tcp@127.0.0.1": ("127.0.0.1", 0, 443, "demo-web-1"),
        "demo-web-1:443/tcp@::1": ("::1", 0, 443, "demo-web-1"),
    }


def test_running_replicas_share_a_fixed_port() -> None:
    port = Port(80, 8080, "127.0.0.1")
    desired = stack(service("web", replicas=3, ports=(port,), networks=(BACK, FRONT)), networks=NETWORKS)
    observed, addresses = running(desired)
    ended = replace(observed.containers[1], state=State.EXITED)
    observed = Observed((observed.containers[0], ended, observed.containers[2]))
    assert ports.table(desired, observed, addresses) == {
        "8080/tcp@127.0.0.1": [("10.64.0.2", 80), ("10.64.0.4", 80)],
    }
    assert ports.table(desired, Observed(), addresses) == {"8080/tcp@127.0.0.1": []}
