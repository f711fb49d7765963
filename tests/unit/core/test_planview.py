"""Plans as text and JSON, and the forecast that `stackup plan` shows."""

from __future__ import annotations

import json
from typing import get_args

from stackup.core import plan as plans
from stackup.core.plan import Failure, Hold, Plan
from stackup.core.planview import forecast, render, subject, to_plain, verb
from stackup.core.requests import for_down, for_up
from stackup.core.types import Condition, ContainerSpec, Health, NetworkSpec, VolumeSpec
from stackup.testing.fake_host import FakeHost, Script

from .stacks import completed, edit, healthy, service, stack, started

SPEC = ContainerSpec("demo-web-1", "web", 1, ("true",))
EVERY_ACTION = (
    plans.CreateNetwork(NetworkSpec("n", "demo_n"), "new"),
    plans.RemoveNetwork("demo_o", "gone"),
    plans.CreateVolume(VolumeSpec("v", "demo_v"), "new"),
    plans.CreateContainer(SPEC, "new"),
    plans.StartContainer("demo-web-1", 2, "exited 1"),
    plans.StopContainer("demo-web-1", 2, "asked"),
    plans.KillContainer("demo-web-1", 2, "deaf"),
    plans.RemoveContainer("demo-web-1", "gone"),
    plans.AdoptSpec(SPEC, "watch added"),
)


def test_every_kind_of_action_has_its_line() -> None:
    assert {type(action) for action in EVERY_ACTION} == set(get_args(plans.Action))
    assert render(Plan(EVERY_ACTION), now=0.0).splitlines() == [
        "create network demo_n  (new)",
        "remove network demo_o  (gone)",
        "create volume demo_v  (new)",
        "create demo-web-1  (new)",
        "start demo-web-1  (run 2: exited 1)",
        "stop demo-web-1  (asked)",
        "kill demo-web-1  (deaf)",
        "remove demo-web-1  (gone)",
        "update demo-web-1  (watch added)",
    ]


def test_json_says_the_same() -> None:
    failure = Failure("demo-db-1", Condition.HEALTHY, "is unhealthy", ("demo-web-1",))
    plan = Plan(EVERY_ACTION[4:5], (Hold("demo-web-1", "waits", 2.0),), (failure,), ("careful",), 2.0)
    assert json.loads(json.dumps(to_plain(plan))) == {
        "actions": [{"action": "start", "object": "demo-web-1", "cause": "exited 1", "run": 2}],
        "holds": [{"container": "demo-web-1", "reason": "waits", "until": 2.0}],
        "failures": [
            {
                "container": "demo-db-1",
                "condition": "service_healthy",
                "reason": "is unhealthy",
                "waiters": ["demo-web-1"],
            }
        ],
        "warnings": ["careful"],
        "wake_at": 2.0,
    }
    assert [(verb(action), subject(action)) for action in EVERY_ACTION[:2]] == [
        ("create network", "demo_n"),
        ("remove network", "demo_o"),
    ]


def test_an_empty_plan_is_said() -> None:
    assert render(Plan(), now=0.0) == "nothing to do"


def test_a_forecast_goes_through_to_the_end() -> None:
    desired = stack(
        service("db", check=True),
        service("seed", needs=[healthy("db")]),
        service("web", needs=[completed("seed")]),
    )
    host = FakeHost()
    assert render(forecast(desired, host.observe(), 0.0), now=0.0).splitlines() == [
        "create demo-db-1  (new)",
        "start demo-db-1  (run 1: new)",
        "create demo-seed-1  (new)",
        "create demo-web-1  (new)",
        "start demo-seed-1  (run 1: db is healthy)",
        "start demo-web-1  (run 1: seed has completed)",
    ]
    assert host.observe().containers == ()


def test_a_forecast_of_a_change_shows_every_step_of_it() -> None:
    before = stack(service("db"), service("web", needs=[started("db", restart=True)]))
    host = FakeHost()
    host.converge(before)
    after = for_up(edit(before, "db", user="postgres"), host.observe())
    assert render(forecast(after, host.observe(), host.now), now=host.now).splitlines() == [
        "stop demo-web-1  (depends on db, which is recreated)",
        "stop demo-db-1  (user added)",
        "remove demo-db-1  (user added)",
        "create demo-db-1  (user added)",
        "start demo-db-1  (run 1: user added)",
        "start demo-web-1  (run 2: depends on db, which is recreated)",
    ]
    assert forecast(before, host.observe(), host.now).actions == ()


def test_a_forecast_ends_with_what_cannot_come_true() -> None:
    desired = stack(service("db", check=True), service("web", needs=[healthy("db")]))
    host = FakeHost({"db": [Script(healthy_after=None)]})
    host.converge(desired)
    host.set_health("demo-db-1", Health.UNHEALTHY)
    assert render(forecast(desired, host.observe(), host.now), now=host.now).splitlines() == [
        "hold demo-web-1  cannot start: demo-db-1 is unhealthy",
        "failure demo-db-1  is unhealthy  (waiting for it to be healthy: demo-web-1)",
    ]


def test_a_forecast_of_down_ends_with_nothing() -> None:
    desired = stack(service("db"), service("web", needs=[started("db")]), networks=(NetworkSpec("n", "demo_n"),))
    host = FakeHost()
    host.converge(desired)
    lines = render(forecast(for_down(desired), host.observe(), host.now), now=host.now).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "stop demo-web-1",
        "remove network demo_n",
        "stop demo-db-1",
        "remove demo-web-1",
        "remove demo-db-1",
    ]
