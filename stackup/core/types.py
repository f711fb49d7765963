"""The words of stackup as types: what is desired, what is observed. Pure: no I/O, no clock, standard library only.

Everything is frozen and hashable. Times are seconds of CLOCK_BOOTTIME, durations seconds, sizes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

# --- what a stack file asks for -------------------------------------------------------------------------------------


class Condition(str, Enum):
    """When a dependency releases its dependents (Compose specification, `depends_on`)."""

    STARTED = "service_started"
    HEALTHY = "service_healthy"
    COMPLETED = "service_completed_successfully"


class RestartMode(str, Enum):
    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


class WatchAction(str, Enum):
    RESTART = "restart"
    SYNC = "sync"
    SYNC_RESTART = "sync+restart"


@dataclass(frozen=True, slots=True)
class Dependency:
    """An edge of the graph: the service that is waited for, and until when."""

    service: str
    condition: Condition = Condition.STARTED
    restart: bool = False
    required: bool = True


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """`test` is an argv to execute inside the container; a CMD-SHELL test is `("/bin/sh", "-c", text)`."""

    test: tuple[str, ...]
    interval: float = 30.0
    timeout: float = 30.0
    retries: int = 3
    start_period: float = 0.0
    start_interval: float = 5.0


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    mode: RestartMode = RestartMode.NO
    max_attempts: int | None = None
    """For `on-failure:N`: automatic restarts in a row before giving up; None means no limit."""


@dataclass(frozen=True, slots=True)
class Port:
    """A published port. `published` is the port on the host, 0 for any free one; `host_ip` None is the default."""

    target: int
    published: int = 0
    host_ip: str | None = None
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class Bind:
    """A host path in the container. `source` is absolute."""

    source: str
    target: str
    read_only: bool = False
    create_host_path: bool = True


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """A named volume in the container; `volume` is the key below the stack's `volumes`."""

    volume: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Tmpfs:
    target: str
    size: int | None = None
    mode: int = 0o1777


Mount = Bind | VolumeMount | Tmpfs


@dataclass(frozen=True, slots=True)
class Attachment:
    """Membership in a network, with the extra names the container answers to there."""

    network: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WatchRule:
    """`path` is absolute. `ignore` and `include` are .dockerignore patterns relative to it."""

    path: str
    action: WatchAction
    target: str | None = None
    ignore: tuple[str, ...] = ()
    include: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A complete order to run one container. Two specs with one digest (core/digest.py) need no new container."""

    name: str
    service: str
    index: int
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    working_dir: str = "/"
    user: str | None = None
    hostname: str = ""
    init: bool = False
    show: tuple[str, ...] = ()
    """Host paths made visible read-only in a host root (`x-stackup.rootfs.show`)."""
    mounts: tuple[Mount, ...] = ()
    networks: tuple[Attachment, ...] = ()
    ports: tuple[Port, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    healthcheck: Healthcheck | None = None
    restart: RestartPolicy = RestartPolicy()
    stop_signal: str = "SIGTERM"
    stop_grace_period: float = 10.0
    depends_on: tuple[Dependency, ...] = ()
    watch: tuple[WatchRule, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """`key` is the name in the file, `name` the real one (`STACK_KEY` unless the file says otherwise)."""

    key: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    key: str
    name: str
    external: bool = False
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """The project directory and how containers see it (docs/architecture.md, "The project directory").

    `protected` are absolute paths inside it that stay read-only in every container. `shared` is False where the
    directory is not bound at all.
    """

    directory: str
    files: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    shared: bool = True


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A wish that outlives its command: run number `run` of a container shall end, and another one begin."""

    run: int
    cause: str


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything wanted of one stack.

    `containers` are sorted by name. `stopped` holds the services that a user stopped by hand (service, cause).
    `restarts` holds (container, request); a request is spent once the container's run number is beyond it.
    """

    stack: str
    project: Project
    containers: tuple[ContainerSpec, ...] = ()
    networks: tuple[NetworkSpec, ...] = ()
    volumes: tuple[VolumeSpec, ...] = ()
    stopped: tuple[tuple[str, str], ...] = ()
    restarts: tuple[tuple[str, RunRequest], ...] = ()


# --- what is found --------------------------------------------------------------------------------------------------


class State(str, Enum):
    """The life of a container; absent means not observed. Health is a separate question."""

    CREATED = "created"
    RUNNING = "running"
    STOPPING = "stopping"
    EXITED = "exited"


class Health(str, Enum):
    NONE = "none"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended. Both `code` and `signal` are None where that is not known; a launch that failed has `error`."""

    code: int | None = None
    signal: int | None = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.code == 0 and self.error is None

    @property
    def status(self) -> int | None:
        """The shell's view of it: the code, or 128 + signal; None where unknown."""
        return 128 + self.signal if self.signal is not None else self.code

    def __str__(self) -> str:
        if self.error is not None:
            return f"could not start: {self.error}"
        if self.signal is not None:
            return f"killed by signal {self.signal} ({128 + self.signal})"
        return "exited with an unknown status" if self.code is None else f"exited {self.code}"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run of a container, for back-off and for `why`."""

    number: int
    started_at: float | None
    ended_at: float
    exit: Exit
    asked: bool = False
    """True where stackup itself ended the run (stop, restart, recreate)."""


@dataclass(frozen=True, slots=True)
class StopOrder:
    """A stop in progress. `reacts` is False where no thread of the container can react to the signal."""

    signal: str
    since: float
    deadline: float
    cause: str
    reacts: bool = True
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """One observed container.

    `run` counts the runs begun, from 1; 0 means created and never started. `pid` is the host's PID of the container's
    first process. `runs` are the last finished runs, oldest first (bounded by the launcher).
    """

    name: str
    spec: ContainerSpec
    state: State
    run: int = 0
    pid: int | None = None
    started_at: float | None = None
    stop: StopOrder | None = None
    health: Health = Health.NONE
    runs: tuple[Run, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()

    @property
    def exit(self) -> Exit | None:
        """How the last run ended, if the container is exited."""
        return self.runs[-1].exit if self.state is State.EXITED and self.runs else None


@dataclass(frozen=True, slots=True)
class Observed:
    """One snapshot of everything found of a stack. Never edited. `networks` and `volumes` hold real names."""

    containers: tuple[Container, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    by_name: dict[str, Container] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {container.name: container for container in self.containers})
