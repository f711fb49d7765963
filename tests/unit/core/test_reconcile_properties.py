"""Whatever happens to whatever stack: the promises of reconcile, over random stacks and random events.

A supervisor that is killed anywhere is one that applies only a part of its plan and then looks again.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stackup.core.plan import Action, Plan, StartContainer, StopContainer
from stackup.core.reconcile import reconcile
from stackup.core.requests import for_down, for_restart, for_start, for_stop, for_up, merge
from stackup.core.simulate import forecast
from stackup.core.types import (
    Condition,
    Container,
    ContainerSpec,
    Dependency,
    Desired,
    Exit,
    Health,
    Observed,
    Project,
    RestartMode,
    RestartPolicy,
    State,
)
from stackup.testing.fake_host import FakeHost, Script

from .stacks import HEALTHCHECK

NAMES = ("a", "b", "c", "d", "e")
JOBS = frozenset("bd")
LIVE = (State.RUNNING, State.STOPPING)

SERVER_POLICIES = [RestartPolicy(mode) for mode in RestartMode] + [RestartPolicy(RestartMode.ON_FAILURE, 2)]
JOB_POLICIES = [RestartPolicy(), RestartPolicy(RestartMode.ON_FAILURE, 2)]

server_scripts = st.builds(
    Script,
    launch_error=st.sampled_from([None, None, None, "no such program"]),
    healthy_after=st.sampled_from([0.0, 1.0, None]),
    unhealthy_after=st.sampled_from([None, None, 3.0]),
    stops_after=st.sampled_from([0.0, 2.0, None]),
    reacts=st.booleans(),
)
job_scripts = st.builds(
    Script, exits_after=st.sampled_from([0.0, 1.0, 5.0]), exit=st.sampled_from([Exit(code=0), Exit(code=1), Exit()])
)


@st.composite
def dependencies(draw: st.DrawFn, names: tuple[str, ...]) -> tuple[Dependency, ...]:
    chosen = draw(st.lists(st.sampled_from(names), unique=True, max_size=3)) if names else []
    found = []
    for name in sorted(chosen):
        conditions = [Condition.STARTED, Condition.COMPLETED if name in JOBS else Condition.HEALTHY]
        condition = draw(st.sampled_from(conditions))
        found.append(Dependency(name, condition, draw(st.booleans()), draw(st.sampled_from([True, True, False]))))
    return tuple(found)


@st.composite
def stacks(draw: st.DrawFn) -> Desired:
    """A stack of up to five services, each depending only on those before it."""
    containers = []
    for position, name in enumerate(NAMES):
        needs = draw(dependencies(NAMES[:position]))
        policy = draw(st.sampled_from(JOB_POLICIES if name in JOBS else SERVER_POLICIES))
        argument = draw(st.sampled_from(["old", "old", "new"]))
        check = None if name in JOBS else HEALTHCHECK
        for index in range(1, draw(st.sampled_from([0, 1, 1, 2])) + 1):
            containers.append(
                ContainerSpec(
                    f"demo-{name}-{index}",
                    name,
                    index,
                    ("run", argument),
                    restart=policy,
                    healthcheck=check,
                    depends_on=needs,
                )
            )
    return Desired("demo", Project("/project"), tuple(sorted(containers, key=lambda spec: spec.name)))


def has_come(condition: Condition, container: Container | None) -> bool:
    """The specification's words for each condition, apart from how gates.py says it."""
    if container is None:
        return False
    if condition is Condition.HEALTHY:
        return container.state is State.RUNNING and container.health is Health.HEALTHY
    if condition is Condition.COMPLETED:
        return container.exit is not None and container.exit.code == 0
    executed = container.exit is not None and container.exit.error is None
    return container.state is State.RUNNING or executed


class Stack(RuleBasedStateMachine):
    """One host, one supervisor that may die at any point, and a user who changes their mind."""

    host: FakeHost
    desired: Desired

    @initialize(desired=stacks(), data=st.data())
    def begin(self, desired: Desired, data: st.DataObject) -> None:
        scripts = {}
        for name in NAMES:
            *first, last = data.draw(st.lists(job_scripts if name in JOBS else server_scripts, min_size=1, max_size=3))
            # A program that vanishes after its first run would be tried again for ever: no stack gets quiet then.
            scripts[name] = [*first, replace(last, launch_error=None) if first else last]
        self.host = FakeHost(scripts)
        self.desired = for_up(desired, self.host.observe())

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def plan_and_die(self, data: st.DataObject) -> None:
        plan = self.plan()
        self.apply(plan, plan.actions[: data.draw(st.integers(0, len(plan.actions)))])

    @rule()
    def plan_and_apply(self) -> None:
        plan = self.plan()
        self.apply(plan, plan.actions)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 15.0]))
    def time_passes(self, seconds: float) -> None:
        self.host.pass_time(self.host.now + seconds)

    @precondition(lambda self: self.live())
    @rule(data=st.data(), exit=st.sampled_from([Exit(code=0), Exit(code=1), Exit(signal=9), Exit()]))
    def crash(self, data: st.DataObject, exit: Exit) -> None:
        self.host.crash(data.draw(st.sampled_from(self.live())), exit)

    @rule(data=st.data(), health=st.sampled_from([Health.HEALTHY, Health.UNHEALTHY]))
    def health_flips(self, data: st.DataObject, health: Health) -> None:
        checked = [
            each.name
            for each in self.host.observe().containers
            if each.state is State.RUNNING and each.spec.healthcheck is not None
        ]
        if checked:
            self.host.set_health(data.draw(st.sampled_from(checked)), health)

    @rule(new=stacks(), partial=st.booleans())
    def up_again(self, new: Desired, partial: bool) -> None:
        merged = merge(self.desired, new, partial=partial)
        self.desired = for_up(merged, self.host.observe())

    @rule()
    def up_unchanged(self) -> None:
        self.desired = for_up(self.desired, self.host.observe())

    @rule(services=st.sets(st.sampled_from(NAMES), min_size=1))
    def stop(self, services: set[str]) -> None:
        self.desired = for_stop(self.desired, services, "stopped by hand")

    @rule(services=st.sets(st.sampled_from(NAMES), min_size=1))
    def start(self, services: set[str]) -> None:
        self.desired = for_start(self.desired, self.host.observe(), services)

    @rule(services=st.sets(st.sampled_from(NAMES), min_size=1))
    def restart(self, services: set[str]) -> None:
        self.desired = for_restart(self.desired, self.host.observe(), services, "restart asked for")

    @rule()
    def down(self) -> None:
        self.desired = for_down(self.desired)

    @rule()
    def come_to_rest(self) -> None:
        """Left alone the stack gets quiet, and then every container is as it should be or the plan says why not."""
        for _ in range(500):
            plan = self.plan()
            self.apply(plan, plan.actions)
            if not plan.actions:
                moments = [at for at in (plan.wake_at, self.host.next_event_at()) if at is not None]
                if not moments:
                    break
                self.host.pass_time(max(min(moments), self.host.now))
        else:
            raise AssertionError("not quiet after 500 plans")
        observed, stopped = self.host.observe(), dict(self.desired.stopped)
        assert observed.by_name.keys() == {spec.name for spec in self.desired.containers}
        explained = {hold.container for hold in plan.holds} | {failure.container for failure in plan.failures}
        for spec in self.desired.containers:
            container = observed.by_name[spec.name]
            assert container.spec == spec
            if spec.service in stopped:
                assert container.state in (State.CREATED, State.EXITED)
            elif container.state is State.EXITED:
                assert not container.runs[-1].asked or spec.name in explained
                assert spec.restart.mode not in (RestartMode.ALWAYS, RestartMode.UNLESS_STOPPED) or (
                    spec.name in explained
                )
            else:
                assert container.state is State.RUNNING or spec.name in explained
        for name, request in self.desired.restarts:
            assert (
                observed.by_name[name].run > request.run
                or name in explained
                or (observed.by_name[name].spec.service in stopped)
            )

    # --- what must hold -----------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        observed = self.host.observe()
        plan = reconcile(self.desired, observed, self.host.now)
        turned = Observed(observed.containers[::-1], observed.networks, observed.volumes)
        shuffled = replace(self.desired, containers=self.desired.containers[::-1])
        assert reconcile(shuffled, turned, self.host.now) == plan
        assert plan.wake_at is None or plan.wake_at > self.host.now
        return plan

    def apply(self, plan: Plan, actions: tuple[Action, ...]) -> None:
        """The fake host itself refuses a second live copy, a stop of another run, a removal of a running container."""
        going = {action.container for action in plan.actions if isinstance(action, StopContainer)}
        before = self.host.observe()
        going |= {each.name for each in before.containers if each.state is State.STOPPING}
        for action in actions:
            if isinstance(action, StartContainer):
                self.check_start(action, before)
            elif isinstance(action, StopContainer):
                self.check_stop(action, going, before)
            self.host.apply(action)

    def check_start(self, action: StartContainer, before: Observed) -> None:
        spec = self.host.observe().by_name[action.container].spec
        wanted = {each.name: each for each in self.desired.containers}
        assert spec == wanted[action.container]
        assert spec.service not in dict(self.desired.stopped)
        for dependency in spec.depends_on:
            if dependency.required:
                for name, each in wanted.items():
                    if each.service == dependency.service:
                        seen = before.by_name.get(name)
                        assert has_come(dependency.condition, seen), (action, dependency, seen)
                        assert seen is not None and seen.spec.command == each.command

    def check_stop(self, action: StopContainer, going: set[str], before: Observed) -> None:
        service = before.by_name[action.container].spec.service
        for each in before.containers:
            if each.name in going and each.name != action.container:
                assert all(dependency.service != service for dependency in each.spec.depends_on), (action, each)

    def live(self) -> list[str]:
        return [each.name for each in self.host.observe().containers if each.state in LIVE]

    @invariant()
    def a_forecast_ends(self) -> None:
        if hasattr(self, "host"):
            forecast(self.desired, self.host.observe(), self.host.now)


TestStack = Stack.TestCase
TestStack.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
