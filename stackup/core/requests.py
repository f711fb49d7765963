"""What the commands wish, as Desired: pure makers. reconcile then only follows; no command has a second planner.

A RunRequest survives the command that made it: it ends the run it names and is spent once the next one begins. The
last request of a container stays, spent, because restart.py counts automatic restarts from there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from stackup.core.fate import Wanted, done
from stackup.core.graph import levels, reachable, service_edges
from stackup.core.types import Container, Desired, Observed, RunRequest, State


def merge(previous: Desired, new: Desired, *, partial: bool) -> Desired:
    """`new` with what outlives a change of the file: hand-made stops and requests. The first step of every `up`.

    `partial` says that `new` holds only selected services (`up web`): the others then stay as they were.
    """
    services = {spec.service for spec in new.containers}
    if not partial:
        stopped = tuple(entry for entry in previous.stopped if entry[0] in services)
        return replace(new, stopped=stopped, restarts=previous.restarts)
    kept = [spec for spec in previous.containers if spec.service not in services]
    networks = {network.key: network for network in (*previous.networks, *new.networks)}
    volumes = {volume.key: volume for volume in (*previous.volumes, *new.volumes)}
    return replace(
        new,
        stopped=previous.stopped,
        restarts=previous.restarts,
        containers=tuple(sorted((*kept, *new.containers), key=lambda spec: spec.name)),
        networks=tuple(networks[key] for key in sorted(networks)),
        volumes=tuple(volumes[key] for key in sorted(volumes)),
    )


def for_up(
    desired: Desired, observed: Observed, services: Collection[str] | None = None, *, rerun: bool = False
) -> Desired:
    """What `up` of `services` (None: all) wishes: they run, whatever stopped or ended them.

    One-shots that completed and have not changed stay as they are, unless `rerun`. Dependents that ask for it
    (`restart: true`) run anew with what is recreated.
    """
    chosen = _services(desired) if services is None else set(services)
    desired = _unstop(_live_requests(desired, observed), chosen)
    wanted = Wanted(desired)
    wishes = {}
    for container in _present(observed, wanted, chosen):
        if wanted.pending(container) is None and _asleep(container, rerun):
            wishes[container.name] = RunRequest(container.run, f"{container.runs[-1].exit}; up starts it again")
    recreated = {container.spec.service for container in observed.containers if wanted.changed(container)}
    return propagate(_request(desired, wishes), observed, dict.fromkeys(recreated, "recreated"))


def for_restart(desired: Desired, observed: Observed, services: Collection[str], cause: str) -> Desired:
    """What `restart` (and a watch rule) wishes: every container of `services` begins another run, running or exited."""
    chosen = set(services)
    desired = _unstop(_live_requests(desired, observed), chosen)
    wanted = Wanted(desired)
    wishes = {
        container.name: RunRequest(container.run, cause)
        for container in _present(observed, wanted, chosen)
        if container.state in (State.RUNNING, State.EXITED)
    }
    restarted = {observed.by_name[name].spec.service for name in wishes}
    return propagate(_request(desired, wishes), observed, dict.fromkeys(restarted, "restarted"))


def for_start(desired: Desired, observed: Observed, services: Collection[str], *, rerun: bool = False) -> Desired:
    """What `start` wishes: `services` and all they depend on run. Like `up`, but with the file as it was."""
    chosen = reachable(service_edges(desired.containers), services) & _services(desired)
    desired = _unstop(_live_requests(desired, observed), chosen)
    wanted = Wanted(desired)
    wishes = {
        container.name: RunRequest(container.run, f"{container.runs[-1].exit}; started by hand")
        for container in _present(observed, wanted, chosen)
        if wanted.pending(container) is None and _asleep(container, rerun)
    }
    return _request(desired, wishes)


def for_stop(desired: Desired, services: Collection[str], cause: str) -> Desired:
    """What `stop` wishes: `services` end and stay down, over every event but `up`, `start` and `restart` of them."""
    stopped = dict(desired.stopped) | dict.fromkeys(services, cause)
    members = {spec.name for spec in desired.containers if spec.service in stopped}
    requests = tuple((name, request) for name, request in desired.restarts if name not in members)
    return replace(desired, stopped=tuple(sorted(stopped.items())), restarts=requests)


def for_down(desired: Desired) -> Desired:
    """What `down` wishes: nothing of the stack but its volumes, which nobody removes unasked."""
    return replace(desired, containers=(), networks=(), volumes=(), stopped=(), restarts=())


def propagate(desired: Desired, observed: Observed, cause_of: dict[str, str]) -> Desired:
    """Requests for the running dependents (`restart: true`) of services that are restarted or recreated by stackup.

    `cause_of` says for each such service which of the two. Dependents of dependents follow.
    """
    if not cause_of:
        return desired
    wanted, affected = Wanted(desired), dict(cause_of)
    wishes: dict[str, RunRequest] = {}
    for level in levels(service_edges(desired.containers)):
        for service in level:
            for spec in wanted.services.get(service, ()):
                upstream = [each.service for each in spec.depends_on if each.restart and each.service in affected]
                container = observed.by_name.get(spec.name)
                if not upstream or container is None or container.state is not State.RUNNING:
                    continue
                if service in wanted.stopped or wanted.changed(container) or wanted.pending(container) is not None:
                    continue
                cause = f"depends on {min(upstream)}, which is {affected[min(upstream)]}"
                wishes[spec.name] = RunRequest(container.run, cause)
                affected.setdefault(service, "restarted")
    return _request(desired, wishes)


def _services(desired: Desired) -> set[str]:
    return {spec.service for spec in desired.containers}


def _present(observed: Observed, wanted: Wanted, services: set[str]) -> Iterable[Container]:
    """The containers of `services` that exist and are to stay. What is to be recreated runs anew without a request."""
    for container in observed.containers:
        if container.spec.service in services and container.name in wanted.specs and not wanted.changed(container):
            yield container


def _asleep(container: Container, rerun: bool) -> bool:
    """Whether the container would not run at once by itself. What stackup ended is begun again without a request."""
    if container.state is not State.EXITED or not container.runs or container.runs[-1].asked:
        return False
    return rerun or not done(container)


def _unstop(desired: Desired, services: set[str]) -> Desired:
    return replace(desired, stopped=tuple((name, cause) for name, cause in desired.stopped if name not in services))


def _live_requests(desired: Desired, observed: Observed) -> Desired:
    """Without requests for containers that are gone or will be recreated: their successors count runs from 1 again."""
    wanted = Wanted(desired)
    live = {container.name for container in observed.containers if not wanted.changed(container)} & wanted.specs.keys()
    return replace(desired, restarts=tuple(entry for entry in desired.restarts if entry[0] in live))


def _request(desired: Desired, wishes: dict[str, RunRequest]) -> Desired:
    requests = dict(desired.restarts) | wishes
    return replace(desired, restarts=tuple(sorted(requests.items(), key=lambda entry: entry[0])))
