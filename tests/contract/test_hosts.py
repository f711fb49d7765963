"""One suite for both hosts: whatever is planned against the fake one is true of this kernel."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from stackup.core.plan import (
    AdoptSpec,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    KillContainer,
    RemoveContainer,
    RemoveNetwork,
    StartContainer,
    StopContainer,
)
from stackup.core.reconcile import reconcile
from stackup.core.types import (
    Attachment,
    Condition,
    Container,
    ContainerSpec,
    Dependency,
    Desired,
    Exit,
    Health,
    Healthcheck,
    NetworkSpec,
    Observed,
    Project,
    RestartMode,
    RestartPolicy,
    State,
    VolumeMount,
    VolumeSpec,
)
from tests.contract.hosts import PROGRAMS, Host

PROJECT = Project("/", shared=False)
NETWORK, VOLUME = NetworkSpec("net", "contract_net"), VolumeSpec("data", "contract_data")


def spec(service: str, index: int = 1, **fields: object) -> ContainerSpec:
    """A container of the service that does what its name says (hosts.PROGRAMS)."""
    name = f"stack-{service}-{index}"
    base = ContainerSpec(name, service, index, PROGRAMS[service][0], hostname=name, networks=(Attachment("net"),))
    return replace(base, **fields)  # type: ignore[arg-type]


def wanted(*specs: ContainerSpec) -> Desired:
    """A stack of these containers, with one network and one volume."""
    ordered = tuple(sorted(specs, key=lambda each: each.name))
    return Desired("stack", PROJECT, ordered, (NETWORK,) if specs else (), (VOLUME,) if specs else ())


def created(host: Host, *specs: ContainerSpec) -> Desired:
    """Make the network, the volume and the containers, without starting any."""
    desired = wanted(*specs)
    host.prepare(desired)
    assert host.apply(CreateNetwork(NETWORK, "test"))
    assert host.apply(CreateVolume(VOLUME, "test"))
    for each in desired.containers:
        assert host.apply(CreateContainer(each, "test"))
    return desired


def started(host: Host, *specs: ContainerSpec) -> Desired:
    """The same, and start every one."""
    desired = created(host, *specs)
    for each in desired.containers:
        assert host.apply(StartContainer(each.name, 1, "test"))
    host.wait(all_in(State.RUNNING, State.EXITED))
    return desired


def all_in(*states: State) -> Callable[[Observed], bool]:
    return lambda observed: all(container.state in states for container in observed.containers)


def one(observed: Observed) -> Container:
    (container,) = observed.containers
    return container


def converge(host: Host, desired: Desired, until: Callable[[Observed], bool]) -> Observed:
    """What a supervisor does: plan, apply, wait; until a condition holds and nothing more is to be done."""
    host.prepare(desired)
    for _ in range(1000):
        planned_on = host.observe()
        plan = reconcile(desired, planned_on, host.now())
        if until(planned_on) and not plan.actions:
            return planned_on
        acted = [host.apply(action) for action in plan.actions]
        if not any(acted):
            host.wait(lambda now, before=planned_on: now != before, plan.wake_at)  # type: ignore[misc]
    raise AssertionError(f"did not converge: {host.observe()}")


def shape(observed: Observed) -> dict[str, object]:
    """What must be the same on both hosts: all but times, PIDs and addresses."""
    return {
        container.name.split("-")[1]: (
            container.state.value,
            container.run,
            container.health.value,
            [
                (run.number, run.exit.code, run.exit.signal, run.exit.error is not None, run.asked)
                for run in container.runs
            ],
        )
        for container in observed.containers
    }


# --- one action after another -----------------------------------------------------------------------------------------


def test_nothing_is_there_at_first(host: Host) -> None:
    assert host.observe() == Observed()


def test_networks_and_volumes_are_there_as_soon_as_they_are_made(host: Host) -> None:
    created(host, spec("sleeper"))
    assert (host.observe().networks, host.observe().volumes) == (("contract_net",), ("contract_data",))


def test_a_removed_network_is_gone_and_a_volume_stays(host: Host) -> None:
    created(host, spec("sleeper"))
    assert host.apply(RemoveContainer("stack-sleeper-1", "test"))
    assert host.apply(RemoveNetwork("contract_net", "test"))
    assert host.observe() == Observed(volumes=("contract_data",))


def test_a_created_container_has_not_run(host: Host) -> None:
    desired = created(host, spec("sleeper"))
    container = one(host.observe())
    assert container.spec == desired.containers[0]
    assert (container.state, container.run, container.runs, container.started_at) == (State.CREATED, 0, (), None)
    assert container.exit is None


def test_a_created_container_can_be_removed(host: Host) -> None:
    created(host, spec("sleeper"))
    assert host.apply(RemoveContainer("stack-sleeper-1", "test"))
    assert host.observe().containers == ()


def test_a_started_container_runs_from_now_on(host: Host) -> None:
    before = host.now()
    started(host, spec("sleeper"))
    container = one(host.observe())
    assert (container.state, container.run, container.runs) == (State.RUNNING, 1, ())
    assert container.started_at is not None and before <= container.started_at <= host.now()


def test_a_run_that_has_begun_is_not_begun_again(host: Host) -> None:
    started(host, spec("sleeper"))
    before = host.observe()
    assert not host.apply(StartContainer("stack-sleeper-1", 1, "again"))
    assert host.observe() == before


@pytest.mark.parametrize(
    ("service", "exit"), [("task", Exit(code=0)), ("failing", Exit(code=3))], ids=["success", "failure"]
)
def test_an_exit_code_is_kept(host: Host, service: str, exit: Exit) -> None:
    started(host, spec(service))
    container = one(host.wait(all_in(State.EXITED)))
    assert container.exit == exit
    (run,) = container.runs
    assert (run.number, run.asked) == (1, False)
    assert run.started_at is not None and run.started_at <= run.ended_at <= host.now()
    assert (container.started_at, container.stop) == (None, None)


def test_a_signal_from_outside_is_told_as_such(host: Host) -> None:
    started(host, spec("sleeper"))
    host.kill("stack-sleeper-1")
    container = one(host.wait(all_in(State.EXITED)))
    assert container.exit == Exit(signal=9)
    assert not container.runs[0].asked


def test_a_launch_that_fails_is_a_run_with_an_error_and_no_start(host: Host) -> None:
    started(host, spec("missing"))
    container = one(host.wait(all_in(State.EXITED)))
    assert (container.state, container.run) == (State.EXITED, 1)
    (run,) = container.runs
    assert (run.number, run.started_at, run.exit.code, run.exit.signal) == (1, None, 127, None)
    assert run.exit.error is not None and "no-such-program: not found" in run.exit.error


def test_the_next_run_has_the_next_number_and_the_last_is_remembered(host: Host) -> None:
    started(host, spec("failing"))
    for number in (2, 3):
        host.wait(all_in(State.EXITED))
        assert host.apply(StartContainer("stack-failing-1", number, "test"))
        host.wait(lambda observed, number=number: one(observed).run == number)  # type: ignore[misc]
    container = one(host.wait(lambda observed: len(one(observed).runs) == 3))
    assert [run.number for run in container.runs] == [1, 2, 3]
    assert container.run == 3


def test_ten_runs_are_remembered(host: Host) -> None:
    started(host, spec("task"))
    for number in range(2, 13):
        host.wait(all_in(State.EXITED))
        assert host.apply(StartContainer("stack-task-1", number, "test"))
        host.wait(lambda observed, number=number: one(observed).run == number)  # type: ignore[misc]
    container = one(host.wait(all_in(State.EXITED)))
    assert [run.number for run in container.runs] == list(range(3, 13))


def test_an_exited_container_can_be_removed_and_made_again_from_the_start(host: Host) -> None:
    started(host, spec("task"))
    host.wait(all_in(State.EXITED))
    assert host.apply(RemoveContainer("stack-task-1", "test"))
    assert host.observe().containers == ()
    assert host.apply(CreateContainer(spec("task"), "test"))
    container = one(host.observe())
    assert (container.state, container.run, container.runs) == (State.CREATED, 0, ())


def test_a_stop_is_recorded_and_obeyed(host: Host) -> None:
    started(host, spec("polite", stop_grace_period=60.0))
    host.wait_for_handler("stack-polite-1", signal.SIGTERM)
    assert host.apply(StopContainer("stack-polite-1", 1, "because"))
    container = one(host.observe())
    if container.state is State.STOPPING:
        assert container.stop is not None
        assert (container.stop.signal, container.stop.cause) == ("SIGTERM", "because")
        assert (container.stop.reacts, container.stop.killed) == (True, False)
        assert container.stop.deadline == container.stop.since + 60.0
    container = one(host.wait(all_in(State.EXITED)))
    assert container.exit == Exit(code=0)
    assert (container.runs[0].asked, container.stop) == (True, None)


def test_a_program_that_cannot_react_is_said_to_be_so_and_can_be_killed(host: Host) -> None:
    started(host, spec("sleeper", stop_grace_period=3600.0))
    assert host.apply(StopContainer("stack-sleeper-1", 1, "because"))
    container = one(host.observe())
    assert container.state is State.STOPPING
    assert container.stop is not None and not container.stop.reacts
    assert host.apply(KillContainer("stack-sleeper-1", 1, "because"))
    container = one(host.wait(all_in(State.EXITED)))
    assert container.exit == Exit(signal=9)
    assert container.runs[0].asked


def test_a_stop_or_kill_is_not_sent_twice(host: Host) -> None:
    started(host, spec("sleeper", stop_grace_period=3600.0))
    assert host.apply(StopContainer("stack-sleeper-1", 1, "first"))
    assert not host.apply(StopContainer("stack-sleeper-1", 1, "second"))
    stop = one(host.observe()).stop
    assert stop is not None and stop.cause == "first"


def test_a_new_spec_is_taken_without_touching_the_process(host: Host) -> None:
    started(host, spec("sleeper"))
    before = one(host.observe())
    changed = spec("sleeper", stop_grace_period=1.0)
    assert host.apply(AdoptSpec(changed, "test"))
    assert one(host.observe()) == replace(before, spec=changed)


def test_health_starts_with_a_check_and_ends_with_the_run(host: Host) -> None:
    started(host, spec("sleeper", healthcheck=Healthcheck(("true",))))
    assert one(host.observe()).health is Health.STARTING
    host.note_health("stack-sleeper-1", Health.HEALTHY)
    assert one(host.observe()).health is Health.HEALTHY
    host.kill("stack-sleeper-1")
    assert one(host.wait(all_in(State.EXITED))).health is Health.NONE
    assert host.apply(StartContainer("stack-sleeper-1", 2, "test"))
    assert one(host.wait(all_in(State.RUNNING))).health is Health.STARTING


def test_another_supervisor_observes_the_same(host: Host) -> None:
    checked = spec("sleeper", healthcheck=Healthcheck(("true",)), mounts=(VolumeMount("data", "/data"),))
    desired = started(host, checked, spec("failing"), spec("missing"), spec("polite"))
    before = host.wait(lambda observed: observed.by_name["stack-failing-1"].state is State.EXITED)
    host.note_health("stack-sleeper-1", Health.HEALTHY)
    before = host.wait(lambda observed: observed.by_name["stack-missing-1"].state is State.EXITED)
    host.adopt(desired)
    assert host.observe() == before


def test_another_supervisor_can_go_on(host: Host) -> None:
    desired = started(host, spec("sleeper"), spec("task"))
    host.wait(lambda observed: observed.by_name["stack-task-1"].state is State.EXITED)
    host.adopt(desired)
    assert host.apply(StartContainer("stack-task-1", 2, "test"))
    assert host.apply(StopContainer("stack-sleeper-1", 1, "test"))
    assert host.apply(CreateContainer(spec("sleeper", 2), "test"))
    assert host.apply(KillContainer("stack-sleeper-1", 1, "test"))
    observed = host.wait(all_in(State.EXITED, State.CREATED))
    assert (observed.by_name["stack-task-1"].run, observed.by_name["stack-sleeper-2"].run) == (2, 0)
    assert observed.by_name["stack-sleeper-1"].exit == Exit(signal=9)


# --- what a supervisor makes of it ------------------------------------------------------------------------------------

ON_FAILURE, ALWAYS = RestartPolicy(RestartMode.ON_FAILURE, 2), RestartPolicy(RestartMode.ALWAYS)

SCENARIOS: dict[str, tuple[Desired, dict[str, object]]] = {
    "independent services run": (
        wanted(spec("sleeper"), spec("polite")),
        {"sleeper": ("running", 1, "none", []), "polite": ("running", 1, "none", [])},
    ),
    "a dependent starts when its dependency has completed": (
        wanted(spec("task"), spec("sleeper", depends_on=(Dependency("task", Condition.COMPLETED),))),
        {"task": ("exited", 1, "none", [(1, 0, None, False, False)]), "sleeper": ("running", 1, "none", [])},
    ),
    "a dependent of a failure stays where it is": (
        wanted(spec("failing"), spec("sleeper", depends_on=(Dependency("failing", Condition.COMPLETED),))),
        {"failing": ("exited", 1, "none", [(1, 3, None, False, False)])},
    ),
    "on-failure gives up after its attempts": (
        wanted(spec("failing", restart=ON_FAILURE)),
        {"failing": ("exited", 3, "none", [(number, 3, None, False, False) for number in (1, 2, 3)])},
    ),
    "what cannot be launched is not tried for ever": (
        wanted(spec("missing", restart=ALWAYS)),
        {"missing": ("exited", 1, "none", [(1, 127, None, True, False)])},
    ),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_desire_converges_to_the_same(host: Host, scenario: str) -> None:
    desired, expected = SCENARIOS[scenario]

    def reached(observed: Observed) -> bool:
        found = shape(observed)
        return all(found.get(name) == value for name, value in expected.items())

    observed = converge(host, desired, reached)
    found = shape(observed)
    for name in found.keys() - expected.keys():  # made, and waiting
        assert found[name] == ("created", 0, "none", [])


def test_a_change_recreates_and_what_left_is_removed(host: Host) -> None:
    running = all_in(State.RUNNING)
    converge(host, wanted(spec("sleeper"), spec("polite")), running)
    before = host.observe().by_name
    changed = spec("sleeper", environment=(("A", "1"),))
    after = converge(host, wanted(changed), lambda observed: len(observed.containers) == 1 and running(observed))
    assert one(after).spec == changed
    assert (one(after).run, one(after).runs) == (1, ())
    assert one(after).pid is None or one(after).pid != before["stack-sleeper-1"].pid


def test_down_leaves_volumes_only(host: Host) -> None:
    converge(host, wanted(spec("sleeper"), spec("polite"), spec("task")), all_in(State.RUNNING, State.EXITED))
    assert converge(host, wanted(), lambda observed: not observed.containers) == Observed(volumes=("contract_data",))


def test_a_killed_service_is_started_again_by_its_policy(host: Host) -> None:
    desired = wanted(spec("sleeper", restart=ALWAYS))
    converge(host, desired, all_in(State.RUNNING))
    host.kill("stack-sleeper-1")
    after = converge(host, desired, lambda observed: one(observed).run == 2 and all_in(State.RUNNING)(observed))
    assert shape(after) == {"sleeper": ("running", 2, "none", [(1, None, 9, False, False)])}
