"""What the launcher tells, as the core's types. Light: `ps` uses it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stackup.core.codec import from_plain
from stackup.core.types import Container, ContainerSpec, Exit, Health, Observed, Run, State, StopOrder
from stackup.statedir import StackDir


def container_from(view: Mapping[str, Any], record: Mapping[str, Any], spec: ContainerSpec | None = None) -> Container:
    """One observed container from the launcher's view of it and the record left there at its creation.

    `spec` saves decoding the record's again.
    """
    stop = StopOrder(**view["stop"]) if view["stop"] else None
    state = State(view["state"])
    if state is State.RUNNING and stop is not None:
        state = State.STOPPING
    spec = spec or from_plain(ContainerSpec, record["spec"])
    return Container(
        name=view["name"],
        spec=spec,
        state=state,
        run=view["run"],
        pid=view["pid"],
        started_at=view["started_at"],
        stop=stop,
        health=_health(view, spec),
        runs=tuple(
            Run(
                run["number"],
                run["started_at"],
                run["ended_at"],
                Exit(run["code"], run["signal"], run["error"]),
                run["asked"],
            )
            for run in view["runs"]
        ),
        addresses=tuple((network, address) for network, address in record["addresses"]),
    )


def _health(view: Mapping[str, Any], spec: ContainerSpec) -> Health:
    if spec.healthcheck is None or view["state"] != "running":
        return Health.NONE
    return Health(view["note"].get("health", "starting"))


def observe_unattended(directory: StackDir, views: Sequence[Mapping[str, Any]]) -> Observed:
    """The snapshot of a stack without its supervisor: the launcher's list, and what is on disk. Changes nothing."""
    networks = (directory.read("launcher") or {}).get("networks", ()) if views else ()
    return Observed(
        containers=tuple(sorted((container_from(view, view["record"]) for view in views), key=lambda each: each.name)),
        networks=tuple(networks),
        volumes=tuple(directory.state.volumes()),
    )
