"""What one container is to become, seen alone: the part of reconcile that knows neither order nor conditions.

A fate says which actions a container needs and why; reconcile.py decides which of them may happen now.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stackup.core.addresses import real_names
from stackup.core.digest import changes, same_container, summarize
from stackup.core.plan import Hold
from stackup.core.restart import GiveUp, RestartNow, decide
from stackup.core.types import Container, ContainerSpec, Desired, Observed, RestartMode, RunRequest, State


class Wanted:
    """Desired by name: an index that is built once and never changed."""

    def __init__(self, desired: Desired) -> None:
        self.stack_is_down = not desired.containers
        self.specs = {spec.name: spec for spec in desired.containers}
        self.networks = real_names(desired)
        self.stopped = dict(desired.stopped)
        self.requests = dict(desired.restarts)
        self.services: dict[str, list[ContainerSpec]] = {}
        for spec in sorted(desired.containers, key=lambda spec: (spec.service, spec.index)):
            self.services.setdefault(spec.service, []).append(spec)

    def pending(self, container: Container) -> RunRequest | None:
        """The request to end the container's run and begin another. One with any other run number is spent, or was
        meant for an earlier container of this name."""
        request = self.requests.get(container.name)
        return request if request is not None and request.run == container.run else None

    def since(self, container: Container) -> int:
        """The last run that ended with a request for another one (see restart.decide), or 0."""
        request = self.requests.get(container.name)
        return request.run if request is not None and request.run < container.run else 0

    def changed(self, container: Container) -> bool:
        """Whether the container is wanted, but must be recreated to be what is wanted."""
        spec = self.specs.get(container.name)
        if spec is None:
            return False
        return not same_container(container.spec, spec) or self._renamed_network(container) is not None

    def difference(self, container: Container) -> str:
        """Why a changed container must be recreated."""
        spec = self.specs[container.name]
        if same_container(container.spec, spec):
            return f"network {self._renamed_network(container)} has a new name"
        return summarize(changes(container.spec, spec))

    def _renamed_network(self, container: Container) -> str | None:
        """The key of a network that the container should be in, but its address there was given under another name."""
        attached = {network for network, _ in container.addresses}
        for attachment in container.spec.networks if attached else ():
            if self.networks.get(attachment.network, attachment.network) not in attached:
                return attachment.network
        return None

    def runs_again(self, container: Container) -> bool:
        """Whether the container runs, or will without a new decision."""
        if container.state is not State.EXITED:
            return True
        if container.name not in self.specs or container.spec.service in self.stopped:
            return False
        if self.changed(container) or self.pending(container) is not None:
            return True
        if not container.runs:
            return False
        decision = decide(container.spec.restart, container.runs, 0.0, since=self.since(container))
        return container.runs[-1].asked or not isinstance(decision, GiveUp)


@dataclass(frozen=True, slots=True)
class Fate:
    """The actions one container needs, each as its cause; None where it needs none.

    `start` begins run number `run`. `wait` is set where only time, or the end of its process, lets the container go on.
    `rest` says why an exited container stays so. `spec` is None for a container that is not wanted.
    """

    name: str
    spec: ContainerSpec | None
    seen: Container | None
    adopt: str | None = None
    stop: str | None = None
    kill: str | None = None
    remove: str | None = None
    create: str | None = None
    start: str | None = None
    run: int = 0
    wait: Hold | None = None
    rest: str | None = None

    @property
    def service(self) -> str:
        spec = self.spec or (self.seen.spec if self.seen else None)
        assert spec is not None, "a fate belongs to a container that is wanted or seen"
        return spec.service

    @property
    def unsettled(self) -> bool:
        """Whether the container is about to be stopped, removed, created or started."""
        return any(cause is not None for cause in (self.stop, self.kill, self.remove, self.create, self.start))

    @property
    def failed_to_launch(self) -> bool:
        return (
            self.rest is not None
            and self.seen is not None
            and self.seen.runs[-1:] != ()
            and (self.seen.runs[-1].exit.error is not None)
        )


def fates(wanted: Wanted, observed: Observed, now: float) -> Iterator[Fate]:
    """The fate of every container that is wanted or observed, sorted by name."""
    for name in sorted(wanted.specs.keys() | observed.by_name.keys()):
        yield _fate(wanted, name, wanted.specs.get(name), observed.by_name.get(name), now)


def beginning(container: Container) -> bool:
    """Whether its next run was ordered already, and its process is on the way to its program."""
    ended = container.runs[-1].number if container.runs else 0
    return container.state is State.CREATED and container.run > ended


def completed(container: Container) -> bool:
    """Whether the container's program did its work: it exited with 0, and not because stackup ended it."""
    last = container.runs[-1] if container.state is State.EXITED and container.runs else None
    return last is not None and last.exit.succeeded and not last.asked


def done(container: Container) -> bool:
    """Whether it completed and its restart policy is content with that: a one-shot that need not run again."""
    return completed(container) and container.spec.restart.mode in (RestartMode.NO, RestartMode.ON_FAILURE)


def _fate(wanted: Wanted, name: str, spec: ContainerSpec | None, seen: Container | None, now: float) -> Fate:
    if seen is None:
        assert spec is not None, "a name is wanted or observed"
        cause = "new" if spec.index == 1 else f"replica {spec.index} of {spec.service}"
        return Fate(name, spec, None, create=cause, start=None if spec.service in wanted.stopped else cause, run=1)
    if seen.state is State.STOPPING:
        return _stopping(name, spec, seen, now)
    if spec is None:
        cause = _unwanted(wanted, seen.spec)
        if seen.state is State.RUNNING:
            return Fate(name, None, seen, stop=cause)
        return Fate(name, None, seen, remove=cause)
    if wanted.changed(seen):
        difference = wanted.difference(seen)
        if seen.state is State.RUNNING:
            return Fate(name, spec, seen, stop=difference)
        start = None if spec.service in wanted.stopped else difference
        return Fate(name, spec, seen, remove=difference, create=difference, start=start, run=1)
    adopt = None if seen.spec == spec else summarize(changes(seen.spec, spec))
    if seen.state is State.RUNNING:
        request = wanted.pending(seen)
        requested = request.cause if request is not None else None
        return Fate(name, spec, seen, adopt=adopt, stop=wanted.stopped.get(spec.service, requested))
    if spec.service in wanted.stopped or beginning(seen):
        return Fate(name, spec, seen, adopt=adopt)
    if seen.state is State.CREATED:
        return Fate(name, spec, seen, adopt=adopt, start="created", run=seen.run + 1)
    return _exited(wanted, spec, seen, adopt, now)


def _exited(wanted: Wanted, spec: ContainerSpec, seen: Container, adopt: str | None, now: float) -> Fate:
    request = wanted.pending(seen)
    if request is not None:
        return Fate(seen.name, spec, seen, adopt=adopt, start=request.cause, run=seen.run + 1)
    if not seen.runs:
        return Fate(seen.name, spec, seen, adopt=adopt, rest="exited with an unknown status")
    if seen.runs[-1].asked:
        # Nothing wants it down any more: `start` after `stop`, or an edit that was taken back.
        return Fate(seen.name, spec, seen, adopt=adopt, start="was stopped and is wanted again", run=seen.run + 1)
    decision = decide(spec.restart, seen.runs, now, since=wanted.since(seen))
    if isinstance(decision, RestartNow):
        return Fate(seen.name, spec, seen, adopt=adopt, start=decision.reason, run=seen.run + 1)
    if isinstance(decision, GiveUp):
        return Fate(seen.name, spec, seen, adopt=adopt, rest=decision.reason)
    return Fate(seen.name, spec, seen, adopt=adopt, wait=Hold(seen.name, decision.reason, decision.at))


def _stopping(name: str, spec: ContainerSpec | None, seen: Container, now: float) -> Fate:
    order = seen.stop
    if order is None or order.killed:
        return Fate(name, spec, seen, wait=Hold(name, "waits for its process to end"))
    if not order.reacts:
        return Fate(name, spec, seen, kill=f"has no handler for {order.signal}")
    if now >= order.deadline:
        return Fate(name, spec, seen, kill=f"did not stop within {order.deadline - order.since:g}s of {order.signal}")
    return Fate(name, spec, seen, wait=Hold(name, f"is stopping: {order.cause}", order.deadline))


def _unwanted(wanted: Wanted, spec: ContainerSpec) -> str:
    if wanted.stack_is_down:
        return "the stack goes down"
    replicas = len(wanted.services.get(spec.service, ()))
    return f"{spec.service} is scaled to {replicas}" if replicas else f"{spec.service} is not in the stack any more"
