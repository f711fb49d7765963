"""The plan: what reconcile decided, the object that `stackup plan` prints and the executor runs. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from stackup.core.types import Condition, ContainerSpec, NetworkSpec, VolumeSpec


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    network: NetworkSpec
    cause: str


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    name: str
    cause: str


@dataclass(frozen=True, slots=True)
class CreateVolume:
    volume: VolumeSpec
    cause: str


@dataclass(frozen=True, slots=True)
class CreateContainer:
    spec: ContainerSpec
    cause: str


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Begin run number `run` of a container that is created or exited."""

    container: str
    run: int
    cause: str


@dataclass(frozen=True, slots=True)
class StopContainer:
    """Send the stop signal and record the deadline; nobody waits here."""

    container: str
    run: int
    cause: str


@dataclass(frozen=True, slots=True)
class KillContainer:
    container: str
    run: int
    cause: str


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    container: str
    cause: str


@dataclass(frozen=True, slots=True)
class AdoptSpec:
    """Record a changed spec that needs no new container (only fields outside the digest differ)."""

    spec: ContainerSpec
    cause: str


Action = (
    CreateNetwork
    | RemoveNetwork
    | CreateVolume
    | CreateContainer
    | StartContainer
    | StopContainer
    | KillContainer
    | RemoveContainer
    | AdoptSpec
)


@dataclass(frozen=True, slots=True)
class Hold:
    """A container that could act but waits. `until` is a time where only the clock releases it (back-off, grace)."""

    container: str
    reason: str
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A condition that cannot come true without a new decision: `dependency` failed, `waiters` are held by it.

    `container` is the container of the dependency that failed. Without waiters it is a container that failed by itself.
    """

    container: str
    condition: Condition
    reason: str
    waiters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What may happen now (`actions`, in order), what waits (`holds`), what went wrong, and when to look again."""

    actions: tuple[Action, ...] = ()
    holds: tuple[Hold, ...] = ()
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    wake_at: float | None = None
