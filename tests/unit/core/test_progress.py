"""When `up` is done, and when waiting is in vain."""

from __future__ import annotations

import pytest

from stackup.core.progress import never_ready, settled
from stackup.core.reconcile import reconcile
from stackup.core.requests import for_restart, for_stop
from stackup.core.types import Desired, Exit
from stackup.testing.fake_host import FakeHost, Script

from .stacks import ALWAYS, completed, edit, healthy, service, stack, step

ONE_SHOT = Script(exits_after=0)


def is_settled(desired: Desired, host: FakeHost, *, healthy: bool = False) -> bool:
    observed = host.observe()
    return settled(desired, observed, reconcile(desired, observed, host.now), healthy=healthy)


def test_up_is_done_when_everything_was_started_once() -> None:
    desired = stack(service("seed"), service("web", needs=[completed("seed")]))
    host = FakeHost({"seed": [ONE_SHOT]})
    assert not is_settled(desired, host)
    step(desired, host)
    assert not is_settled(desired, host)
    host.pass_time(host.now)
    step(desired, host)
    assert is_settled(desired, host)
    assert is_settled(desired, host, healthy=True)


def test_waiting_for_health() -> None:
    desired = stack(service("db", check=True))
    host = FakeHost({"db": [Script(healthy_after=5)]})
    step(desired, host)
    assert is_settled(desired, host)
    assert not is_settled(desired, host, healthy=True)
    host.pass_time(host.now + 5)
    assert is_settled(desired, host, healthy=True)


@pytest.mark.parametrize(
    ("script", "policy", "ready", "hopeless"),
    [
        (Script(exits_after=0), {}, True, []),
        (Script(exits_after=0, exit=Exit(code=1)), {}, False, ["exited 1"]),
        (Script(exits_after=0, exit=Exit(code=1)), {"restart": ALWAYS}, False, []),
        (Script(launch_error="no"), {}, False, ["could not start: no"]),
    ],
)
def test_an_ended_container_is_ready_only_if_it_completed(
    script: Script, policy: dict[str, object], ready: bool, hopeless: list[str]
) -> None:
    desired, host = stack(service("job", **policy)), FakeHost({"job": [script]})
    step(desired, host)
    host.pass_time(host.now)
    assert is_settled(desired, host)
    assert is_settled(desired, host, healthy=True) is ready
    assert [failure.reason for failure in never_ready(desired, host.observe(), host.now)] == hopeless


def test_an_unhealthy_container_is_never_ready() -> None:
    desired = stack(service("db", check=True), service("web", needs=[healthy("db")]))
    host = FakeHost({"db": [Script(healthy_after=None, unhealthy_after=3)]})
    step(desired, host)
    host.pass_time(host.now + 3)
    assert [(each.container, each.reason) for each in never_ready(desired, host.observe(), host.now)] == [
        ("demo-db-1", "is unhealthy")
    ]


def test_nothing_is_settled_while_a_stop_a_change_or_a_removal_is_under_way() -> None:
    desired, host = stack(service("web")), FakeHost()
    host.converge(desired)
    assert not is_settled(edit(desired, "web", init=True), host)
    assert not is_settled(for_restart(desired, host.observe(), ["web"], "x"), host)
    step(stack(), host)
    assert not is_settled(stack(), host)
    assert not is_settled(desired, host)
    host.pass_time(host.now)
    step(stack(), host)
    assert is_settled(stack(), host)


def test_what_is_stopped_by_hand_is_not_waited_for() -> None:
    desired = for_stop(stack(service("a"), service("b")), ["a"], "stopped by hand")
    host = FakeHost()
    host.converge(desired)
    assert is_settled(desired, host, healthy=True)
