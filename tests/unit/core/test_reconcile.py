"""Golden plans: one story per rule, told by the text of its plans."""

from __future__ import annotations

from dataclasses import replace

from stackup.core.planview import render
from stackup.core.reconcile import reconcile
from stackup.core.requests import for_down, for_restart, for_start, for_stop, for_up
from stackup.core.types import (
    Attachment,
    Bind,
    Container,
    Exit,
    Health,
    NetworkSpec,
    Observed,
    RestartMode,
    RestartPolicy,
    Run,
    State,
    VolumeSpec,
    WatchAction,
    WatchRule,
)
from stackup.testing.fake_host import FakeHost, Script

from .stacks import ALWAYS, completed, edit, healthy, on_failure, service, stack, started, states, step

NETWORK = NetworkSpec("default", "demo_default")


def expect(text: str, *lines: str) -> None:
    assert text.splitlines() == list(lines)


# --- up ---------------------------------------------------------------------------------------------------------------


def test_everything_is_created_at_once_and_started_in_order() -> None:
    desired = stack(
        service("web", needs=[healthy("db"), completed("seed")]),
        service("seed", needs=[healthy("db")]),
        service("db", check=True),
        networks=(NETWORK,),
        volumes=(VolumeSpec("data", "demo_data"), VolumeSpec("old", "old", external=True)),
    )
    host = FakeHost({"db": [Script(healthy_after=1)], "seed": [Script(exits_after=2)]})
    expect(
        step(desired, host),
        "create network demo_default  (new)",
        "create volume demo_data  (new)",
        "create demo-db-1  (new)",
        "start demo-db-1  (run 1: new)",
        "create demo-seed-1  (new)",
        "create demo-web-1  (new)",
        "hold demo-seed-1  waits for db to be healthy",
        "hold demo-web-1  waits for db to be healthy, seed to complete",
    )
    expect(
        step(desired, host),
        "hold demo-seed-1  waits for db to be healthy",
        "hold demo-web-1  waits for db to be healthy, seed to complete",
    )
    host.pass_time(host.now + 1)
    expect(
        step(desired, host),
        "start demo-seed-1  (run 1: db is healthy)",
        "hold demo-web-1  waits for seed to complete",
    )
    host.pass_time(host.now + 2)
    expect(step(desired, host), "start demo-web-1  (run 1: db is healthy, seed has completed)")
    expect(step(desired, host), "nothing to do")
    assert states(host) == {"db-1": "running 1", "seed-1": "exited 1", "web-1": "running 1"}


def test_every_replica_of_a_dependency_counts() -> None:
    desired = stack(service("db", replicas=2, check=True), service("web", needs=[healthy("db")]))
    host = FakeHost({"db": [Script(healthy_after=None)]})
    expect(
        step(desired, host),
        "create demo-db-1  (new)",
        "start demo-db-1  (run 1: new)",
        "create demo-db-2  (replica 2 of db)",
        "start demo-db-2  (run 1: replica 2 of db)",
        "create demo-web-1  (new)",
        "hold demo-web-1  waits for db to be healthy",
    )
    host.set_health("demo-db-1", Health.HEALTHY)
    expect(step(desired, host), "hold demo-web-1  waits for db to be healthy")
    host.set_health("demo-db-2", Health.HEALTHY)
    expect(step(desired, host), "start demo-web-1  (run 1: db is healthy)")


def test_a_service_without_replicas_is_not_waited_for() -> None:
    host = FakeHost()
    expect(
        step(stack(service("web", needs=[healthy("db")])), host),
        "create demo-web-1  (new)",
        "start demo-web-1  (run 1: new)",
    )


def test_started_means_executed_even_if_it_has_ended_since() -> None:
    desired = stack(service("job"), service("web", needs=[started("job")]))
    host = FakeHost({"job": [Script(exits_after=0)]})
    step(desired, host)
    host.pass_time(host.now)
    expect(step(desired, host), "start demo-web-1  (run 1: job has started)")


def test_a_start_on_its_way_is_not_ordered_twice() -> None:
    (spec,) = service("web")
    on_its_way = Observed((Container(spec.name, spec, State.CREATED, run=1),))
    assert reconcile(stack([spec]), on_its_way, 0.0).actions == ()
    ended = (Run(1, 0.0, 20.0, Exit(code=1)),)
    next_prepared = Observed((Container(spec.name, spec, State.CREATED, run=1, runs=ended),))
    expect(render(reconcile(stack([spec]), next_prepared, 30.0), now=30.0), "start demo-web-1  (run 2: created)")


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failed_one_shot_names_everybody_it_holds_up() -> None:
    desired = stack(
        service("seed"),
        service("api", needs=[completed("seed")]),
        service("web", needs=[started("api")]),
        service("aside"),
    )
    host = FakeHost({"seed": [Script(exits_after=1, exit=Exit(code=3))]})
    step(desired, host)
    host.pass_time(host.now + 1)
    expect(
        step(desired, host),
        "hold demo-api-1  cannot start: demo-seed-1 exited 3",
        "hold demo-web-1  waits for api to start",
        "failure demo-seed-1  exited 3  (waiting for it to complete: demo-api-1, demo-web-1)",
    )


def test_an_unhealthy_dependency_fails_until_it_recovers() -> None:
    desired = stack(service("db", check=True), service("web", needs=[healthy("db")]))
    host = FakeHost({"db": [Script(healthy_after=None)]})
    step(desired, host)
    host.set_health("demo-db-1", Health.UNHEALTHY)
    expect(
        step(desired, host),
        "hold demo-web-1  cannot start: demo-db-1 is unhealthy",
        "failure demo-db-1  is unhealthy  (waiting for it to be healthy: demo-web-1)",
    )
    host.set_health("demo-db-1", Health.HEALTHY)
    expect(step(desired, host), "start demo-web-1  (run 1: db is healthy)")


def test_a_dependency_that_ends_before_it_is_healthy_fails_at_once() -> None:
    desired = stack(service("db", check=True), service("web", needs=[healthy("db")]))
    host = FakeHost({"db": [Script(healthy_after=None, exits_after=1)]})
    step(desired, host)
    host.pass_time(host.now + 1)
    expect(
        step(desired, host),
        "hold demo-web-1  cannot start: demo-db-1 exited 0",
        "failure demo-db-1  exited 0  (waiting for it to be healthy: demo-web-1)",
    )


def test_a_dependency_without_healthcheck_cannot_get_healthy() -> None:
    desired = stack(service("db"), service("web", needs=[healthy("db")]))
    host = FakeHost()
    step(desired, host)
    expect(
        step(desired, host),
        "hold demo-web-1  cannot start: demo-db-1 has no healthcheck",
        "failure demo-db-1  has no healthcheck  (waiting for it to be healthy: demo-web-1)",
    )


def test_a_failed_launch_is_a_failure_with_and_without_waiters() -> None:
    desired = stack(service("db", restart=ALWAYS), service("web", needs=[started("db")]), service("alone"))
    host = FakeHost({"db": [Script(launch_error="no db")], "alone": [Script(launch_error="no program")]})
    step(desired, host)
    expect(
        step(desired, host),
        "hold demo-web-1  cannot start: demo-db-1 could not start: no db",
        "failure demo-alone-1  could not start: no program",
        "failure demo-db-1  could not start: no db  (waiting for it to start: demo-web-1)",
    )


def test_an_optional_dependency_may_fail() -> None:
    optional = completed("seed", required=False)
    desired = stack(service("seed"), service("web", needs=[optional]))
    host = FakeHost({"seed": [Script(exits_after=1, exit=Exit(code=1))]})
    step(desired, host)
    expect(step(desired, host), "hold demo-web-1  waits for seed to complete")
    host.pass_time(host.now + 1)
    expect(
        step(desired, host),
        "start demo-web-1  (run 1: created)",
        "warning: demo-web-1 starts without its optional dependency: demo-seed-1 exited 1",
    )


def test_a_dependency_in_back_off_is_waited_for() -> None:
    desired = stack(service("seed", restart=on_failure(1)), service("web", needs=[completed("seed")]))
    failing = Script(exits_after=0, exit=Exit(code=1))
    host = FakeHost({"seed": [failing]})
    step(desired, host)
    host.pass_time(host.now)
    expect(
        step(desired, host),
        "hold demo-seed-1  exited 1, on-failure 1/1  (for 0.1s)",
        "hold demo-web-1  waits for seed, which runs again soon (exited 1, on-failure 1/1)",
    )
    assert "on-failure: gave up after 1 restart" in render(host.converge(desired), now=host.now)


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_a_crash_after_a_long_life_restarts_at_once_and_then_backs_off() -> None:
    desired = stack(service("web", restart=on_failure(5)))
    host = FakeHost()
    step(desired, host)
    host.pass_time(host.now + 10)
    host.crash("demo-web-1", Exit(code=1))
    expect(step(desired, host), "start demo-web-1  (run 2: exited 1, on-failure 1/5)")
    host.crash("demo-web-1", Exit(signal=11))
    reason = "killed by signal 11 (139), on-failure 2/5"
    expect(step(desired, host), f"hold demo-web-1  {reason}  (for 0.1s)")
    wake_at = reconcile(desired, host.observe(), host.now).wake_at
    assert wake_at == host.now + 0.1
    host.pass_time(wake_at)
    expect(step(desired, host), f"start demo-web-1  (run 3: {reason})")


def test_a_crashed_dependent_restarts_through_its_gate() -> None:
    desired = stack(service("db", check=True), service("web", needs=[healthy("db")], restart=ALWAYS))
    host = FakeHost()
    host.converge(desired)
    host.pass_time(host.now + 20)
    host.set_health("demo-db-1", Health.STARTING)
    host.crash("demo-web-1", Exit(code=0))
    expect(step(desired, host), "hold demo-web-1  waits for db to be healthy")


def test_restart_on_request_keeps_the_container() -> None:
    desired = stack(service("web"))
    host = FakeHost()
    host.converge(desired)
    desired = for_restart(desired, host.observe(), ["web"], "restart asked for")
    expect(step(desired, host), "stop demo-web-1  (restart asked for)")
    expect(step(desired, host), "hold demo-web-1  is stopping: restart asked for  (for 10s)")
    host.pass_time(host.now)
    expect(step(desired, host), "start demo-web-1  (run 2: restart asked for)")
    expect(step(desired, host), "nothing to do")


def test_dependents_that_ask_for_it_restart_with_their_dependency() -> None:
    desired = stack(
        service("db", check=True),
        service("api", needs=[healthy("db", restart=True)]),
        service("web", needs=[started("api", restart=True)]),
        service("aside", needs=[started("db")]),
    )
    host = FakeHost()
    host.converge(desired)
    desired = for_restart(desired, host.observe(), ["db"], "restart asked for")
    expect(
        step(desired, host),
        "stop demo-web-1  (depends on api, which is restarted)",
        "hold demo-api-1  waits for web to stop",
        "hold demo-db-1  waits for api to stop",
    )
    host.converge(desired)
    assert states(host) == {"aside-1": "running 1", "api-1": "running 2", "db-1": "running 2", "web-1": "running 2"}


# --- changes ----------------------------------------------------------------------------------------------------------


def test_a_changed_service_is_recreated_and_the_others_stay() -> None:
    before = stack(service("db"), service("web", needs=[started("db")], environment=(("DEBUG", "0"),)))
    host = FakeHost()
    host.converge(before)
    after = for_up(edit(before, "web", environment=(("DEBUG", "1"),)), host.observe())
    expect(step(after, host), "stop demo-web-1  (environment.DEBUG changed: 0 -> 1)")
    host.pass_time(host.now)
    expect(
        step(after, host),
        "remove demo-web-1  (environment.DEBUG changed: 0 -> 1)",
        "create demo-web-1  (environment.DEBUG changed: 0 -> 1)",
        "start demo-web-1  (run 1: environment.DEBUG changed: 0 -> 1)",
    )
    expect(step(after, host), "nothing to do")


def test_a_recreated_dependency_holds_the_start_of_its_dependents() -> None:
    before = stack(service("db", check=True))
    host = FakeHost()
    host.converge(before)
    changed = service("db", check=True, user="postgres")
    after = for_up(stack(changed, service("web", needs=[healthy("db")])), host.observe())
    expect(
        step(after, host),
        "stop demo-db-1  (user added)",
        "create demo-web-1  (new)",
        "hold demo-web-1  waits for db to be healthy",
    )


def test_a_change_of_what_only_the_supervisor_reads_needs_no_new_container() -> None:
    before = stack(service("db"), service("web"))
    host = FakeHost()
    host.converge(before)
    rule = WatchRule("/src", WatchAction.RESTART)
    after = for_up(edit(before, "web", depends_on=(started("db"),), watch=(rule,)), host.observe())
    expect(step(after, host), "update demo-web-1  (depends_on.db added; watch./src added)")
    expect(step(after, host), "nothing to do")
    assert states(host)["web-1"] == "running 1"


def test_a_recreated_dependency_restarts_dependents_that_ask_for_it() -> None:
    web = service("web", needs=[started("db", restart=True)])
    host = FakeHost()
    host.converge(stack(service("db"), web))
    after = for_up(stack(service("db", init=True), web), host.observe())
    expect(
        step(after, host),
        "stop demo-web-1  (depends on db, which is recreated)",
        "hold demo-db-1  waits for web to stop",
    )
    host.converge(after)
    assert states(host) == {"db-1": "running 1", "web-1": "running 2"}


def test_scaling_down_removes_the_last_replicas() -> None:
    host = FakeHost()
    host.converge(stack(service("web", replicas=2)))
    after = stack(service("web"))
    expect(step(after, host), "stop demo-web-2  (web is scaled to 1)")
    host.pass_time(host.now)
    expect(step(after, host), "remove demo-web-2  (web is scaled to 1)")


def test_a_renamed_network_moves_its_containers() -> None:
    (spec,) = service("web", networks=(Attachment("default"),))
    running = Container(spec.name, spec, State.RUNNING, 1, addresses=(("demo_default", "10.64.0.2"),))
    observed = Observed((running,), networks=("demo_default",))
    desired = stack([spec], networks=(NetworkSpec("default", "shared"),))
    expect(
        render(reconcile(desired, observed, 0.0), now=0.0),
        "stop demo-web-1  (network default has a new name)",
        "create network shared  (new)",
    )
    assert reconcile(stack([spec], networks=(NETWORK,)), observed, 0.0).actions == ()


# --- stop and down ----------------------------------------------------------------------------------------------------


def test_down_stops_dependents_first_and_networks_last() -> None:
    desired = stack(
        service("db"),
        service("seed", needs=[started("db")]),
        service("web", needs=[completed("seed")], networks=(Attachment("default"),)),
        networks=(NETWORK,),
    )
    host = FakeHost({"seed": [Script(exits_after=0)]})
    host.converge(desired)
    down = for_down(desired)
    expect(
        step(down, host),
        "stop demo-web-1  (the stack goes down)",
        "remove demo-seed-1  (the stack goes down)",
        "hold demo-db-1  waits for web to stop",
    )
    host.pass_time(host.now)
    expect(
        step(down, host),
        "stop demo-db-1  (the stack goes down)",
        "remove demo-web-1  (the stack goes down)",
        "remove network demo_default  (the stack goes down)",
    )
    host.pass_time(host.now)
    expect(step(down, host), "remove demo-db-1  (the stack goes down)")
    assert host.observe() == Observed()


def test_a_service_stopped_by_hand_stays_down() -> None:
    desired = stack(service("db", restart=ALWAYS), service("web", needs=[started("db")]))
    host = FakeHost()
    host.converge(desired)
    stopped = for_stop(desired, ["db"], "stopped by hand")
    expect(step(stopped, host), "stop demo-db-1  (stopped by hand)")
    host.converge(stopped)
    assert states(host) == {"db-1": "exited 1", "web-1": "running 1"}
    host.converge(for_start(stopped, host.observe(), ["web"]))
    assert states(host) == {"db-1": "running 2", "web-1": "running 1"}


def test_dependents_hold_while_their_dependency_is_stopped_by_hand() -> None:
    desired = for_stop(stack(service("db"), service("web", needs=[started("db")])), ["db"], "stopped by hand")
    expect(
        step(desired, FakeHost()),
        "create demo-db-1  (new)",
        "create demo-web-1  (new)",
        "hold demo-web-1  waits for db, which was stopped",
    )


def test_a_stop_is_escalated_once_after_its_grace_period() -> None:
    desired = stack(service("web", stop_grace_period=3.0))
    host = FakeHost({"web": [Script(stops_after=None)]})
    host.converge(desired)
    down = for_down(desired)
    step(down, host)
    plan = reconcile(down, host.observe(), host.now)
    assert plan.wake_at == host.now + 3
    expect(render(plan, now=host.now), "hold demo-web-1  is stopping: the stack goes down  (for 3s)")
    host.pass_time(host.now + 3)
    expect(step(down, host), "kill demo-web-1  (did not stop within 3s of SIGTERM)")
    expect(step(down, host), "hold demo-web-1  waits for its process to end")
    host.pass_time(host.now)
    expect(step(down, host), "remove demo-web-1  (the stack goes down)")


def test_what_cannot_react_to_the_signal_is_killed_at_once() -> None:
    desired = stack(service("web", stop_signal="SIGINT"))
    host = FakeHost({"web": [Script(reacts=False)]})
    host.converge(desired)
    step(for_down(desired), host)
    expect(step(for_down(desired), host), "kill demo-web-1  (has no handler for SIGINT)")


def test_networks_stay_while_a_container_may_be_attached() -> None:
    (spec,) = service("web", networks=(Attachment("old"),))
    observed = Observed((Container(spec.name, spec, State.RUNNING, 1),), networks=("demo_old",))
    plan = reconcile(stack(service("db")), observed, 0.0)
    assert "network" not in render(plan, now=0.0)
    empty = Observed((), networks=("demo_old",))
    assert "remove network demo_old  (not in the stack any more)" in render(
        reconcile(stack([spec]), empty, 0.0), now=0.0
    )


def test_specs_of_two_generations_in_a_circle_still_stop() -> None:
    (a,), (b,) = service("a", needs=[started("b")]), service("b", needs=[started("a")])
    observed = Observed(tuple(Container(spec.name, spec, State.RUNNING, 1) for spec in (a, b)))
    assert len(reconcile(for_down(stack([a])), observed, 0.0).actions) == 2


def test_a_one_shot_that_was_ended_by_stackup_has_not_completed() -> None:
    desired = stack(service("seed"), service("web", needs=[completed("seed")]))
    host = FakeHost({"seed": [Script(stop_exit=Exit(code=0)), Script(exits_after=1)]})
    step(desired, host)
    step(for_stop(desired, ["seed"], "stopped by hand"), host)
    host.pass_time(host.now)
    expect(
        step(for_start(desired, host.observe(), ["web"]), host),
        "start demo-seed-1  (run 2: was stopped and is wanted again)",
        "hold demo-web-1  waits for seed to complete",
    )


# --- being killed halfway ---------------------------------------------------------------------------------------------


def test_an_edit_taken_back_halfway_starts_the_old_container_again() -> None:
    before = stack(service("web"))
    host = FakeHost()
    host.converge(before)
    step(edit(before, "web", init=True), host)
    host.pass_time(host.now)
    expect(step(before, host), "start demo-web-1  (run 2: was stopped and is wanted again)")


def test_a_down_cut_short_by_up_comes_back() -> None:
    desired = stack(service("db"), service("web", needs=[started("db")]))
    host = FakeHost()
    host.converge(desired)
    step(for_down(desired), host)
    host.converge(for_up(desired, host.observe()))
    assert states(host) == {"db-1": "running 1", "web-1": "running 2"}


def test_a_request_is_never_meant_for_the_container_that_comes_after() -> None:
    desired = stack(service("web"))
    host = FakeHost()
    for _ in range(3):
        host.converge(desired)
        desired = for_restart(desired, host.observe(), ["web"], "restart asked for")
    host.converge(desired)
    assert states(host) == {"web-1": "running 4"}
    changed = edit(desired, "web", init=True)  # as if nobody had dropped the requests
    host.converge(changed)
    assert states(host) == {"web-1": "running 1"}


def test_the_order_of_the_snapshot_does_not_matter() -> None:
    desired = stack(service("db", replicas=3), service("web", replicas=2, needs=[started("db")]))
    host = FakeHost()
    host.converge(desired)
    observed = host.observe()
    turned = replace(observed, containers=observed.containers[::-1])
    down = for_down(desired)
    assert reconcile(down, observed, host.now) == reconcile(down, turned, host.now)


def test_what_a_one_shot_completed_stands_over_restarts_of_its_policy() -> None:
    always = RestartPolicy(RestartMode.ALWAYS)
    desired = stack(service("seed", restart=always), service("web", needs=[completed("seed")]))
    host = FakeHost({"seed": [Script(exits_after=1), Script()]})
    step(desired, host)
    host.pass_time(host.now + 1)
    assert "start demo-web-1  (run 1: seed has completed)" in step(desired, host)


def test_a_mount_is_part_of_what_a_container_is() -> None:
    before = stack(service("web"))
    host = FakeHost()
    host.converge(before)
    assert step(edit(before, "web", mounts=(Bind("/a", "/data"),)), host) == "stop demo-web-1  (mounts./data added)"
