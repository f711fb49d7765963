"""A host in memory: applies actions, yields snapshots, and lets containers behave as a script says. Time is a number.

For tests of whatever talks to a host; it holds the same promises as the real one (one contract suite runs on both).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stackup.core.plan import Action, Plan, StartContainer
from stackup.core.reconcile import reconcile
from stackup.core.simulate import World
from stackup.core.types import Container, Desired, Exit, Health, Observed, State

_SUCCESS = Exit(code=0)
_TERMINATED = Exit(signal=15)


@dataclass(frozen=True, slots=True)
class Script:
    """How one run behaves; times are seconds after its start (or after the stop signal).

    `exits_after` None runs for ever, `healthy_after` None never gets healthy, `stops_after` None ignores the signal.
    """

    launch_error: str | None = None
    exits_after: float | None = None
    exit: Exit = _SUCCESS
    healthy_after: float | None = 0.0
    unhealthy_after: float | None = None
    stops_after: float | None = 0.0
    stop_exit: Exit = _TERMINATED
    reacts: bool = True


class FakeHost:
    """`scripts` give each service one script per run; the last one is also that of all later runs."""

    def __init__(self, scripts: Mapping[str, Sequence[Script]] | None = None, *, now: float = 1000.0) -> None:
        self.now = now
        self.applied: list[Action] = []
        self._scripts = dict(scripts or {})
        self._world = World(Observed())

    def observe(self) -> Observed:
        return self._world.snapshot()

    def apply(self, action: Action) -> None:
        """Do what the action says.

        Raises:
            ValueError: the action is impossible now, such as the start of a second copy.
        """
        self.applied.append(action)
        if isinstance(action, StartContainer):
            script = self._script(self._world.containers[action.container].spec.service, action.run)
            if script.launch_error is not None:
                self._world.fail(action.container, script.launch_error, self.now)
                return
        self._world.apply(action, self.now)
        self._mark_deaf(action)

    def crash(self, name: str, exit: Exit) -> None:
        """End the process of a running or stopping container."""
        self._world.end(name, exit, self.now)

    def set_health(self, name: str, health: Health) -> None:
        self._world.set_health(name, health)

    def pass_time(self, until: float) -> None:
        """Move the clock to `until`; what the scripts have for the time between happens in order."""
        while True:
            due = min(self._events(), key=lambda event: event[:2], default=None)
            if due is None or due[0] > until:
                break
            self.now = max(self.now, due[0])
            self._happen(due[1], due[2])
        self.now = max(self.now, until)

    def next_event_at(self) -> float | None:
        """When something happens by itself, or None."""
        return min((at for at, _, _ in self._events()), default=None)

    def converge(self, desired: Desired, *, patience: int = 10_000) -> Plan:
        """Plan, apply and wait until nothing more can happen; the last plan. Time jumps over the waits.

        Raises:
            RuntimeError: the stack was not quiet after `patience` plans.
        """
        for _ in range(patience):
            plan = reconcile(desired, self.observe(), self.now)
            for action in plan.actions:
                self.apply(action)
            if not plan.actions:
                moments = [at for at in (plan.wake_at, self.next_event_at()) if at is not None]
                if not moments:
                    return plan
                self.pass_time(max(min(moments), self.now))
        raise RuntimeError(f"the stack was not quiet after {patience} plans")

    def _script(self, service: str, run: int) -> Script:
        scripts = self._scripts.get(service, (Script(),))
        return scripts[min(run, len(scripts)) - 1]

    def _mark_deaf(self, action: Action) -> None:
        """A real host looks into /proc whether a process can react to its stop signal; here the script says so."""
        container = self._world.containers.get(getattr(action, "container", ""))
        if container is None or container.stop is None:
            return
        if not self._script(container.spec.service, container.run).reacts:
            stop = replace(container.stop, reacts=False)
            self._world.containers[container.name] = replace(container, stop=stop)

    def _events(self) -> Iterator[tuple[float, str, Exit | Health]]:
        """(time, container, what) of everything the scripts have ahead."""
        for container in self._world.containers.values():
            script = self._script(container.spec.service, container.run)
            if container.state is State.STOPPING:
                yield from self._ends_of_stop(container, script)
            if container.state is not State.RUNNING or container.started_at is None:
                continue
            if script.exits_after is not None:
                yield container.started_at + script.exits_after, container.name, script.exit
            if container.health is Health.STARTING and script.healthy_after is not None:
                yield container.started_at + script.healthy_after, container.name, Health.HEALTHY
            if container.health in (Health.STARTING, Health.HEALTHY) and script.unhealthy_after is not None:
                yield container.started_at + script.unhealthy_after, container.name, Health.UNHEALTHY

    def _ends_of_stop(self, container: Container, script: Script) -> Iterator[tuple[float, str, Exit]]:
        assert container.stop is not None
        if container.stop.killed:
            yield self.now, container.name, Exit(signal=9)
        elif script.stops_after is not None and script.reacts:
            yield container.stop.since + script.stops_after, container.name, script.stop_exit

    def _happen(self, name: str, what: Exit | Health) -> None:
        if isinstance(what, Exit):
            self._world.end(name, what, self.now)
        else:
            self._world.set_health(name, what)
