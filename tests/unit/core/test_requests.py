"""What the commands wish: requests and hand-made stops."""

from __future__ import annotations

import pytest

from stackup.core.requests import for_down, for_restart, for_start, for_stop, for_up, merge
from stackup.core.types import Desired, Exit, NetworkSpec, RunRequest, VolumeSpec
from stackup.testing.fake_host import FakeHost, Script

from .stacks import ALWAYS, edit, on_failure, service, stack, started, states, step

FAILING = Script(exits_after=1, exit=Exit(code=1))
ONE_SHOT = Script(exits_after=1)


def requests(desired: Desired) -> dict[str, str]:
    return {name: f"{request.run}: {request.cause}" for name, request in desired.restarts}


@pytest.mark.parametrize(
    ("script", "policy", "expected"),
    [
        (FAILING, {}, {"demo-job-1": "1: exited 1; up starts it again"}),
        (ONE_SHOT, {}, {}),
        (ONE_SHOT, {"restart": on_failure()}, {}),
        (ONE_SHOT, {"restart": ALWAYS}, {"demo-job-1": "1: exited 0; up starts it again"}),
        (Script(launch_error="no"), {}, {"demo-job-1": "1: could not start: no; up starts it again"}),
        (Script(), {}, {}),
    ],
)
def test_up_starts_what_has_ended_unless_it_is_done(
    script: Script, policy: dict[str, object], expected: dict[str, str]
) -> None:
    desired, host = stack(service("job", **policy)), FakeHost({"job": [script]})
    step(desired, host)
    host.pass_time(host.now + 1)
    assert requests(for_up(desired, host.observe())) == expected


def test_up_can_be_told_to_run_one_shots_again() -> None:
    desired, host = stack(service("job")), FakeHost({"job": [ONE_SHOT]})
    host.converge(desired)
    assert requests(for_up(desired, host.observe(), rerun=True)) == {"demo-job-1": "1: exited 0; up starts it again"}
    assert requests(for_start(desired, host.observe(), ["job"])) == {}
    assert requests(for_start(desired, host.observe(), ["job"], rerun=True)) != {}


def test_up_of_one_service_leaves_the_others_stopped() -> None:
    desired = for_stop(stack(service("a"), service("b")), ["a", "b"], "stopped by hand")
    host = FakeHost()
    assert for_up(desired, host.observe(), ["a"]).stopped == (("b", "stopped by hand"),)
    assert for_up(desired, host.observe()).stopped == ()


def test_up_counts_restarts_from_its_own_start() -> None:
    desired, host = stack(service("job", restart=on_failure(1))), FakeHost({"job": [FAILING]})
    host.converge(desired)
    assert states(host) == {"job-1": "exited 2"}
    desired = for_up(desired, host.observe())
    host.converge(desired)
    assert states(host) == {"job-1": "exited 4"}
    host.converge(for_up(desired, host.observe()))
    assert states(host) == {"job-1": "exited 6"}


def test_restart_asks_for_a_new_run_of_running_and_exited_containers() -> None:
    desired = stack(service("web"), service("job"))
    host = FakeHost({"job": [ONE_SHOT]})
    host.converge(desired)
    wish = for_restart(for_stop(desired, ["web"], "x"), host.observe(), ["web", "job"], "restart asked for")
    assert wish.stopped == ()
    assert requests(wish) == {"demo-job-1": "1: restart asked for", "demo-web-1": "1: restart asked for"}


def test_a_second_wish_changes_nothing_while_the_first_is_pending() -> None:
    desired = stack(service("db"), service("web", needs=[started("db", restart=True)]))
    host = FakeHost()
    host.converge(desired)
    once = for_restart(desired, host.observe(), ["db"], "restart asked for")
    assert for_up(once, host.observe()) == once
    assert for_restart(once, host.observe(), ["db"], "restart asked for") == once


def test_requests_do_not_reach_the_successor_of_their_container() -> None:
    desired, host = stack(service("web")), FakeHost()
    host.converge(desired)
    wish = for_restart(desired, host.observe(), ["web"], "restart asked for")
    changed = edit(wish, "web", init=True)
    assert for_up(changed, host.observe()).restarts == ()
    assert for_restart(changed, host.observe(), ["web"], "restart asked for").restarts == ()
    assert for_up(wish, FakeHost().observe()).restarts == ()


def test_dependents_are_asked_only_where_they_run_and_want_it() -> None:
    desired = stack(
        service("db"),
        service("asks", needs=[started("db", restart=True)]),
        service("indifferent", needs=[started("db")]),
        service("ended", needs=[started("db", restart=True)]),
        service("stopped", needs=[started("db", restart=True)]),
    )
    host = FakeHost({"ended": [ONE_SHOT]})
    host.converge(desired)
    desired = for_stop(desired, ["stopped"], "stopped by hand")
    wish = for_restart(desired, host.observe(), ["db"], "restart asked for")
    assert requests(wish) == {
        "demo-asks-1": "1: depends on db, which is restarted",
        "demo-db-1": "1: restart asked for",
    }


def test_stop_takes_requests_back() -> None:
    desired, host = stack(service("a"), service("b")), FakeHost()
    host.converge(desired)
    wish = for_restart(desired, host.observe(), ["a", "b"], "restart asked for")
    stopped = for_stop(wish, ["a"], "stopped by hand")
    assert [name for name, _ in stopped.restarts] == ["demo-b-1"]
    assert stopped.stopped == (("a", "stopped by hand"),)
    host.converge(stopped)
    assert states(host) == {"a-1": "exited 1", "b-1": "running 2"}


def test_start_includes_dependencies_and_what_had_ended() -> None:
    desired = stack(service("db"), service("web", needs=[started("db")]), service("other"))
    host = FakeHost({"web": [FAILING]})
    host.converge(desired)
    stopped = for_stop(desired, ["db", "web", "other"], "stopped by hand")
    host.converge(stopped)
    wish = for_start(stopped, host.observe(), ["web"])
    assert wish.stopped == (("other", "stopped by hand"),)
    assert requests(wish) == {"demo-web-1": "1: exited 1; started by hand"}
    step(wish, host)
    assert states(host) == {"db-1": "running 2", "other-1": "exited 1", "web-1": "exited 1"}
    step(wish, host)
    assert states(host)["web-1"] == "running 2"


def test_down_wants_nothing() -> None:
    desired = stack(service("a"), networks=(NetworkSpec("n", "demo_n"),), volumes=(VolumeSpec("v", "demo_v"),))
    assert for_down(for_stop(desired, ["a"], "x")) == stack()


def test_merging_a_selection_keeps_the_other_services() -> None:
    previous = stack(service("a"), service("b"), networks=(NetworkSpec("n", "demo_n"),), stopped=(("b", "by hand"),))
    new = stack(service("a", init=True), networks=(NetworkSpec("m", "demo_m"),))
    partial = merge(previous, new, partial=True)
    assert [spec.name for spec in partial.containers] == ["demo-a-1", "demo-b-1"]
    assert partial.containers[0].init
    assert [network.name for network in partial.networks] == ["demo_m", "demo_n"]
    assert partial.stopped == (("b", "by hand"),)


def test_merging_a_whole_file_forgets_services_that_left_it() -> None:
    request = (("demo-a-1", RunRequest(1, "x")),)
    previous = stack(service("a"), service("b"), stopped=(("a", "x"), ("b", "x")), restarts=request)
    whole = merge(previous, stack(service("a")), partial=False)
    assert [spec.name for spec in whole.containers] == ["demo-a-1"]
    assert whole.stopped == (("a", "x"),)
    assert whole.restarts == request
