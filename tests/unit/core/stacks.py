"""Small stacks for the tests of the core: `stack(service("db"), service("web", needs=[...]))`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stackup.core.planview import render
from stackup.core.reconcile import reconcile
from stackup.core.types import (
    Condition,
    ContainerSpec,
    Dependency,
    Desired,
    Healthcheck,
    Project,
    RestartMode,
    RestartPolicy,
)
from stackup.testing.fake_host import FakeHost

HEALTHCHECK = Healthcheck(("true",))
ALWAYS = RestartPolicy(RestartMode.ALWAYS)


def on_failure(attempts: int | None = None) -> RestartPolicy:
    return RestartPolicy(RestartMode.ON_FAILURE, attempts)


def healthy(service: str, **options: Any) -> Dependency:
    return Dependency(service, Condition.HEALTHY, **options)


def started(service: str, **options: Any) -> Dependency:
    return Dependency(service, Condition.STARTED, **options)


def completed(service: str, **options: Any) -> Dependency:
    return Dependency(service, Condition.COMPLETED, **options)


def service(
    name: str, *, replicas: int = 1, needs: Sequence[Dependency] = (), check: bool = False, **fields: Any
) -> list[ContainerSpec]:
    healthcheck = HEALTHCHECK if check else None
    fields = {"command": ("run", name), "depends_on": tuple(needs), "healthcheck": healthcheck} | fields
    return [
        ContainerSpec(name=f"demo-{name}-{index}", service=name, index=index, **fields)
        for index in range(1, replicas + 1)
    ]


def stack(*services: list[ContainerSpec], **fields: Any) -> Desired:
    containers = sorted((spec for specs in services for spec in specs), key=lambda spec: spec.name)
    return Desired("demo", Project("/project"), tuple(containers), **fields)


def edit(desired: Desired, service: str, **fields: Any) -> Desired:
    """The same stack with one service's fields changed."""
    containers = tuple(replace(spec, **fields) if spec.service == service else spec for spec in desired.containers)
    return replace(desired, containers=containers)


def step(desired: Desired, host: FakeHost) -> str:
    """Plan once, apply it, and give the plan's text."""
    plan = reconcile(desired, host.observe(), host.now)
    for action in plan.actions:
        host.apply(action)
    return render(plan, now=host.now)


def states(host: FakeHost) -> dict[str, str]:
    """The state of every container, with its run number: `running 2`."""
    return {each.name.removeprefix("demo-"): f"{each.state.value} {each.run}" for each in host.observe().containers}
