"""The heart: what is desired and what is observed become a plan of what may happen now. Pure, and the only planner.

fate.py says what each container needs, gates.py whether its dependencies let it start. This module adds the order:
dependents stop first, dependencies are made first, networks last as long as somebody is attached. It is
level-triggered: whoever was killed halfway starts over with the next snapshot and loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError

from stackup.core.addresses import real_names
from stackup.core.fate import Fate, Wanted, fates
from stackup.core.gates import Gate, Gates
from stackup.core.graph import dependents, levels, service_edges
from stackup.core.plan import (
    Action,
    AdoptSpec,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    Failure,
    Hold,
    KillContainer,
    Plan,
    RemoveContainer,
    RemoveNetwork,
    StartContainer,
    StopContainer,
)
from stackup.core.types import Condition, Desired, Observed, State


def reconcile(desired: Desired, observed: Observed, now: float) -> Plan:
    """What may happen now, what waits and until when, and what went wrong. The same input gives the same plan.

    Everything in the plan may be tried in its order, and repeated after a crash. `now` is in the times of `observed`.
    """
    wanted = Wanted(desired)
    by_name = {fate.name: fate for fate in fates(wanted, observed, now)}
    depth = {
        service: level for level, group in enumerate(levels(service_edges(desired.containers))) for service in group
    }
    ordered = sorted(by_name.values(), key=_order(depth))

    stops, held_stops = _stops(by_name)
    gates = Gates(wanted, by_name)
    gate_of = {fate.name: gates.of(fate.spec) for fate in ordered if fate.start is not None and fate.spec is not None}
    closed = {name: gate for name, gate in gate_of.items() if not gate.is_open}

    actions: list[Action] = [
        AdoptSpec(fate.spec, fate.adopt) for fate in ordered if fate.adopt is not None and fate.spec is not None
    ]
    actions += [
        KillContainer(fate.name, fate.seen.run, fate.kill)
        for fate in ordered
        if fate.kill is not None and fate.seen is not None
    ]
    actions += stops
    actions += [RemoveContainer(fate.name, fate.remove) for fate in ordered if fate.remove and not fate.create]
    actions += _missing(desired, observed)
    for fate in ordered:
        actions += _births(fate, gate_of.get(fate.name))
    actions += _leftover_networks(desired, observed, by_name)

    holds = [fate.wait for fate in ordered if fate.wait is not None] + held_stops
    holds += [Hold(name, gate.text) for name, gate in closed.items()]
    return Plan(
        actions=tuple(actions),
        holds=tuple(sorted(holds, key=lambda hold: hold.container)),
        failures=_failures(by_name, closed, depth),
        warnings=tuple(warning for _, gate in sorted(gate_of.items()) for warning in gate.warnings),
        wake_at=min((hold.until for hold in holds if hold.until is not None), default=None),
    )


def _order(depth: Mapping[str, int]) -> Callable[[Fate], tuple[int, str, int, str]]:
    """Dependencies before dependents, then by service and index; what is not wanted comes last."""

    def key(fate: Fate) -> tuple[int, str, int, str]:
        level = depth.get(fate.service, len(depth)) if fate.spec is not None else len(depth)
        return level, fate.service, fate.spec.index if fate.spec is not None else 0, fate.name

    return key


def _stops(by_name: Mapping[str, Fate]) -> tuple[list[Action], list[Hold]]:
    """The stops that may happen now: of services on which nothing depends, directly or not, that is still to stop."""
    stopping = [fate for fate in by_name.values() if fate.stop or (fate.seen and fate.seen.state is State.STOPPING)]
    blockers = _blockers(by_name.values(), {fate.service for fate in stopping}) if stopping else {}
    stops: list[Action] = []
    holds: list[Hold] = []
    for fate in stopping:
        if fate.stop is None or fate.seen is None:
            continue
        blocker = blockers.get(fate.service)
        if blocker is None:
            stops.append(StopContainer(fate.name, fate.seen.run, fate.stop))
        else:
            holds.append(Hold(fate.name, f"waits for {blocker} to stop"))
    return stops, holds


def _blockers(every: Iterable[Fate], stopping: set[str]) -> dict[str, str]:
    """For each service one that must have stopped before it, by the specs that the containers were made from."""
    edges = service_edges(fate.seen.spec for fate in every if fate.seen is not None)
    try:
        dependencies_first = levels(edges)
    except CycleError:
        # Only where containers of two generations of the file depend on each other: then there is no order to keep.
        return {}
    above = dependents(edges)
    blockers: dict[str, str] = {}
    for level in reversed(dependencies_first):
        for service in level:
            for dependent in sorted(above[service]):
                blocker = dependent if dependent in stopping else blockers.get(dependent)
                if blocker is not None:
                    blockers[service] = blocker
                    break
    return blockers


def _missing(desired: Desired, observed: Observed) -> list[Action]:
    """Networks and volumes that do not exist. A missing external volume is for the host to report: nobody makes it."""
    networks = sorted(desired.networks, key=lambda network: network.name)
    volumes = sorted(desired.volumes, key=lambda volume: volume.name)
    actions: list[Action] = [CreateNetwork(each, "new") for each in networks if each.name not in observed.networks]
    actions += [
        CreateVolume(each, "new") for each in volumes if not each.external and each.name not in observed.volumes
    ]
    return actions


def _births(fate: Fate, gate: Gate | None) -> list[Action]:
    """Remove, create and start of one wanted container, as far as the gate allows."""
    actions: list[Action] = []
    if fate.create is not None and fate.spec is not None:
        if fate.remove is not None:
            actions.append(RemoveContainer(fate.name, fate.remove))
        actions.append(CreateContainer(fate.spec, fate.create))
    if fate.start is not None and gate is not None and gate.is_open:
        waited = fate.seen is not None and fate.seen.state is State.CREATED and fate.create is None
        cause = gate.text if waited and gate.text else fate.start
        actions.append(StartContainer(fate.name, fate.run, cause))
    return actions


def _leftover_networks(desired: Desired, observed: Observed, by_name: Mapping[str, Fate]) -> list[Action]:
    """Networks that are not wanted, once no container is left that is or may be attached to them."""
    names = real_names(desired)
    leftover = sorted(set(observed.networks) - set(names.values()))
    staying = [fate.seen for fate in by_name.values() if fate.seen is not None and fate.remove is None]
    if any(attachment.network not in names for container in staying for attachment in container.spec.networks):
        return []  # the name of a network whose key has left the file is not known here
    attached = {network for container in staying for network, _ in container.addresses}
    cause = "the stack goes down" if not desired.containers else "not in the stack any more"
    return [RemoveNetwork(name, cause) for name in leftover if name not in attached]


def _failures(by_name: Mapping[str, Fate], closed: Mapping[str, Gate], depth: Mapping[str, int]) -> tuple[Failure, ...]:
    """Dependencies that will not come, each with everybody it holds up; and containers that could not be launched."""
    direct: dict[tuple[str, Condition], tuple[str, set[str]]] = {}
    for name, gate in closed.items():
        for container, condition, reason in gate.failed:
            direct.setdefault((container, condition), (reason, set()))[1].add(name)
    held = sorted((by_name[name] for name in closed), key=_order(depth))
    found = [
        Failure(container, condition, reason, _waiters(held, waiters))
        for (container, condition), (reason, waiters) in direct.items()
    ]
    awaited = {container for container, _ in direct}
    found += [
        Failure(fate.name, Condition.STARTED, fate.rest)
        for fate in by_name.values()
        if fate.rest is not None and fate.failed_to_launch and fate.name not in awaited
    ]
    return tuple(sorted(found, key=lambda failure: (failure.container, failure.condition.value)))


def _waiters(held: Iterable[Fate], direct: set[str]) -> tuple[str, ...]:
    """The held containers that wait for one of `direct`, directly or not. `held` has dependencies first."""
    services: set[str] = set()
    waiters = set()
    for fate in held:
        depends_on = fate.spec.depends_on if fate.spec is not None else ()
        if fate.name in direct or any(each.required and each.service in services for each in depends_on):
            services.add(fate.service)
            waiters.add(fate.name)
    return tuple(sorted(waiters))
