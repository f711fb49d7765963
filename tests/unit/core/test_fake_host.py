"""The fake host refuses what the real one would, and follows its scripts."""

from __future__ import annotations

import pytest

from stackup.core.plan import KillContainer, RemoveContainer, StartContainer, StopContainer
from stackup.core.types import Exit, Health, State
from stackup.testing.fake_host import FakeHost, Script

from .stacks import ALWAYS, service, stack, step


def running(*scripts: Script) -> FakeHost:
    host = FakeHost({"web": scripts} if scripts else None)
    host.converge(stack(service("web", check=True)))
    return host


@pytest.mark.parametrize(
    "action",
    [
        StartContainer("demo-web-1", 2, "a second copy"),
        StopContainer("demo-web-1", 2, "another run"),
        KillContainer("demo-web-1", 1, "not stopping"),
        RemoveContainer("demo-web-1", "still running"),
        RemoveContainer("demo-web-2", "absent"),
    ],
)
def test_impossible_actions_are_refused(action: StartContainer) -> None:
    host = running()
    with pytest.raises((ValueError, KeyError)):
        host.apply(action)


def test_nobody_is_killed_twice() -> None:
    host = running(Script(stops_after=None))
    host.apply(StopContainer("demo-web-1", 1, "asked"))
    host.apply(KillContainer("demo-web-1", 1, "late"))
    with pytest.raises(ValueError, match="killed twice"):
        host.apply(KillContainer("demo-web-1", 1, "late"))


def test_only_the_next_run_can_be_started() -> None:
    host = running()
    host.crash("demo-web-1", Exit(code=1))
    with pytest.raises(ValueError, match="next run of demo-web-1 is 2, not 3"):
        host.apply(StartContainer("demo-web-1", 3, "too far"))


def test_scripts_happen_in_the_order_of_time() -> None:
    host = FakeHost({"web": [Script(healthy_after=1, unhealthy_after=2, exits_after=3, exit=Exit(code=4)), Script()]})
    desired = stack(service("web", check=True))
    step(desired, host)
    seen = []
    for _ in range(3):
        at = host.next_event_at()
        assert at is not None
        host.pass_time(at)
        container = host.observe().by_name["demo-web-1"]
        seen.append((at - 1000.0, container.state, container.health))
    assert seen == [
        (1.0, State.RUNNING, Health.HEALTHY),
        (2.0, State.RUNNING, Health.UNHEALTHY),
        (3.0, State.EXITED, Health.NONE),
    ]
    assert host.observe().by_name["demo-web-1"].exit == Exit(code=4)
    assert host.next_event_at() is None


def test_a_stack_that_never_gets_quiet_is_said() -> None:
    host = FakeHost({"web": [Script(exits_after=0)]})
    with pytest.raises(RuntimeError, match="not quiet after 50 plans"):
        host.converge(stack(service("web", restart=ALWAYS)), patience=50)
