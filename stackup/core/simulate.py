"""A stack that exists only in memory: actions applied to a snapshot, as if the host did what it was told.

Owns the effect of each action (`World`) and `forecast`, which `stackup plan` prints. The fake host builds on `World`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from stackup.core.fate import beginning
from stackup.core.lifecycle import Event, transition
from stackup.core.plan import (
    Action,
    AdoptSpec,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    KillContainer,
    Plan,
    RemoveContainer,
    RemoveNetwork,
    StartContainer,
    StopContainer,
)
from stackup.core.reconcile import reconcile
from stackup.core.types import Condition, Container, Desired, Exit, Health, Observed, Run, State, StopOrder

REMEMBERED_RUNS = 10


class World:
    """Containers, networks and volumes, changed only through lifecycle.TRANSITIONS.

    Every method raises ValueError for what cannot be, such as a second start of a running container.
    """

    def __init__(self, observed: Observed) -> None:
        self.containers = dict(observed.by_name)
        self.networks = set(observed.networks)
        self.volumes = set(observed.volumes)

    def snapshot(self) -> Observed:
        return Observed(
            tuple(self.containers[name] for name in sorted(self.containers)),
            tuple(sorted(self.networks)),
            tuple(sorted(self.volumes)),
        )

    def apply(self, action: Action, now: float) -> None:
        """What `action` does if nothing goes wrong. A container is running as soon as it is started."""
        match action:
            case CreateNetwork():
                self.networks.add(action.network.name)
            case RemoveNetwork():
                self.networks.remove(action.name)
            case CreateVolume():
                self.volumes.add(action.volume.name)
            case CreateContainer():
                self._move(action.spec.name, Event.CREATE)
                self.containers[action.spec.name] = Container(action.spec.name, action.spec, State.CREATED)
            case RemoveContainer():
                transition(self._state(action.container), Event.REMOVE)
                del self.containers[action.container]
            case AdoptSpec():
                name = action.spec.name
                self.containers[name] = replace(self.containers[name], spec=action.spec)
            case StartContainer():
                self._start(action, now)
            case StopContainer():
                state, container = self._move(action.container, Event.STOP), self._at_run(action)
                signal, grace = container.spec.stop_signal, container.spec.stop_grace_period
                order = StopOrder(signal, now, now + grace, action.cause)
                self.containers[container.name] = replace(container, state=state, stop=order)
            case KillContainer():
                self._move(action.container, Event.KILL)
                container = self._at_run(action)
                if container.stop is None or container.stop.killed:
                    raise ValueError(f"{container.name} is killed twice")
                self.containers[container.name] = replace(container, stop=replace(container.stop, killed=True))
            case _:
                assert_never(action)

    def end(self, name: str, exit: Exit, now: float) -> None:
        """The process of a container ends."""
        state, container = self._move(name, Event.EXIT), self.containers[name]
        self._finish(container, state, Run(container.run, container.started_at, now, exit, container.stop is not None))

    def fail(self, name: str, error: str, now: float) -> None:
        """A run fails before its program is executed."""
        state, container = self._move(name, Event.FAIL), self.containers[name]
        begun = replace(container, run=container.run + 1)
        self._finish(begun, state, Run(begun.run, None, now, Exit(code=127, error=error)))

    def set_health(self, name: str, health: Health) -> None:
        self.containers[name] = replace(self.containers[name], health=health)

    def _start(self, action: StartContainer, now: float) -> None:
        state, container = self._move(action.container, Event.START), self.containers[action.container]
        if action.run != container.run + 1:
            raise ValueError(f"the next run of {container.name} is {container.run + 1}, not {action.run}")
        health = Health.NONE if container.spec.healthcheck is None else Health.STARTING
        self.containers[container.name] = replace(container, state=state, run=action.run, started_at=now, health=health)

    def _finish(self, container: Container, state: State, run: Run) -> None:
        runs = (*container.runs, run)[-REMEMBERED_RUNS:]
        self.containers[container.name] = replace(
            container, state=state, runs=runs, stop=None, started_at=None, health=Health.NONE
        )

    def _at_run(self, action: StopContainer | KillContainer) -> Container:
        container = self.containers[action.container]
        if container.run != action.run:
            raise ValueError(f"{container.name} is at run {container.run}, not {action.run}")
        return container

    def _move(self, name: str, event: Event) -> State:
        after = transition(self._state(name), event)
        assert after is not None, "only a removal ends in no state"
        return after

    def _state(self, name: str) -> State | None:
        container = self.containers.get(name)
        return container.state if container is not None else None


def forecast(desired: Desired, observed: Observed, now: float) -> Plan:
    """All that would happen until the stack is quiet, in order, if everything goes well.

    Whatever is started gets healthy, what somebody awaits to complete exits with 0, stops are obeyed. The holds and
    failures are those that remain at the end.
    """
    world = World(observed)
    awaited = {
        dependency.service
        for spec in desired.containers
        for dependency in spec.depends_on
        if dependency.condition is Condition.COMPLETED
    }
    actions: list[Action] = []
    warnings: dict[str, None] = {}
    while True:
        plan = reconcile(desired, world.snapshot(), now)
        for action in plan.actions:
            world.apply(action, now)
        actions += plan.actions
        warnings |= dict.fromkeys(plan.warnings)
        if not _pass_time(world, awaited, now) and not plan.actions:
            return Plan(tuple(actions), plan.holds, plan.failures, tuple(warnings))


def _pass_time(world: World, awaited: set[str], now: float) -> bool:
    """Let what is under way come to its good end. False if there was nothing."""
    passed = False
    for container in list(world.containers.values()):
        if container.state is State.STOPPING or (
            container.state is State.RUNNING and container.spec.service in awaited
        ):
            world.end(container.name, Exit(code=0), now)
        elif container.state is State.RUNNING and container.health is Health.STARTING:
            world.set_health(container.name, Health.HEALTHY)
        elif beginning(container):
            world.containers[container.name] = replace(container, state=State.RUNNING, started_at=now)
        else:
            continue
        passed = True
    return passed
