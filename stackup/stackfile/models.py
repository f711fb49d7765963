"""The stack file in its canonical form as pydantic models: which keys there are and which values they take.

One value at a time: what depends on other keys is check.py's business. Keys that Compose has and stackup has not built
are in vocabulary.py. Values are strict; the casts are those that the Compose loader makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

from stackup.stackfile import units
from stackup.stackfile.shortforms import MAX_PORT, port_range

_BOOL_WORDS = {
    **dict.fromkeys(("true", "yes", "y", "on"), True),
    **dict.fromkeys(("false", "no", "n", "off"), False),
}


def _cast_bool(value: object) -> object:
    if isinstance(value, str):
        if value.lower() not in _BOOL_WORDS:
            raise ValueError(f"invalid boolean: {value!r}")
        return _BOOL_WORDS[value.lower()]
    return value


def _cast_int(value: object) -> object:
    if isinstance(value, str):
        try:
            return int(value.removeprefix("+"), 10)
        except ValueError:
            raise ValueError(f"invalid integer: {value!r}") from None
    return value


def _bytes(value: object) -> object:
    if isinstance(value, str):
        return units.parse_bytes(value)
    return value


def _mode(value: object) -> object:
    if isinstance(value, str):
        try:
            return int(value, 8)
        except ValueError:
            raise ValueError(f"invalid mode: {value!r}: write it in octal, like 0755") from None
    return value


def _from_text(parse: Callable[[str], Any]) -> Callable[[object], Any]:
    def convert(value: object) -> Any:
        if not isinstance(value, str):
            raise PydanticKnownError("string_type")
        return parse(value)

    return convert


def _published(text: str) -> int:
    if not text:
        return 0
    first, last = port_range(text, "host port")
    if first != last:
        raise ValueError(f"a range of host ports ({text}) for one container port is not built yet in stackup")
    return first


def _protocol(text: str) -> str:
    name = text.lower()
    if name == "sctp":
        raise ValueError("sctp ports are not built yet in stackup")
    if name not in ("tcp", "udp"):
        raise ValueError(f"invalid protocol {text!r}: use tcp or udp")
    return name


def _target(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not absolute: a path in the container begins with /")
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    if not parts:
        raise ValueError("the container's root cannot be a mount target")
    return "/" + "/".join(parts)


def _action(value: object) -> object:
    if value in ("rebuild", "sync+exec"):
        raise ValueError(f"the action {value} is not built yet in stackup: use restart, sync or sync+restart")
    return value


Bool = Annotated[bool, BeforeValidator(_cast_bool)]
Int = Annotated[int, BeforeValidator(_cast_int)]
Count = Annotated[Int, Field(ge=0)]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=0)]
Mode = Annotated[int, BeforeValidator(_mode), Field(ge=0, le=0o7777)]
Duration = Annotated[float, BeforeValidator(_from_text(units.parse_duration))]
Restart = Annotated[tuple[str, int | None], BeforeValidator(_from_text(units.parse_restart))]
Signal = Annotated[str, BeforeValidator(_from_text(units.parse_signal))]
Hostname = Annotated[str, AfterValidator(lambda text: units.check_hostname(text) if text else text)]
Address = Annotated[str, AfterValidator(units.parse_address)]
Target = Annotated[str, AfterValidator(_target)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$")]
ResourceName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$")]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class NoExtension(Model):
    """An `x-stackup` where stackup has no keys of its own."""


class Dependency(Model):
    condition: Literal["service_started", "service_healthy", "service_completed_successfully"]
    restart: Bool = False
    required: Bool = True


class EnvFile(Model):
    path: Text
    required: Bool = True
    format: Literal["raw"] | None = None


class Port(Model):
    target: Annotated[Int, Field(ge=1, le=MAX_PORT)]
    published: Annotated[int, BeforeValidator(_from_text(_published))] = 0
    host_ip: Address | None = None
    protocol: Annotated[str, AfterValidator(_protocol)] = "tcp"
    mode: Literal["ingress", "host"] | None = None


class BindOptions(Model):
    create_host_path: Bool = True


class VolumeOptions(Model):
    nocopy: Bool = False


class TmpfsOptions(Model):
    size: Bytes | None = None
    mode: Mode | None = None


class ServiceVolume(Model):
    type: Literal["bind", "volume", "tmpfs"]
    source: str | None = None
    target: Target
    read_only: Bool = False
    consistency: str | None = None
    bind: BindOptions | None = None
    volume: VolumeOptions | None = None
    tmpfs: TmpfsOptions | None = None


class ServiceNetwork(Model):
    aliases: list[Text] = []


class Healthcheck(Model):
    test: list[str] = []
    interval: Duration | None = None
    timeout: Duration | None = None
    retries: Count | None = None
    start_period: Duration | None = None
    start_interval: Duration | None = None
    disable: Bool = False
    x_stackup: NoExtension | None = Field(default=None, alias="x-stackup")


class WatchRule(Model):
    path: Text
    action: Annotated[Literal["restart", "sync", "sync+restart"], BeforeValidator(_action)]
    target: Target | None = None
    ignore: list[str] = []
    include: list[str] = []
    x_stackup: NoExtension | None = Field(default=None, alias="x-stackup")


class Develop(Model):
    watch: list[WatchRule] = []


class Deploy(Model):
    replicas: Count | None = None


class HostRoot(Model):
    """`rootfs: host`, or host paths that are made visible in it."""

    show: list[Text] = []


class ServiceExtension(Model):
    rootfs: HostRoot = HostRoot()


class Service(Model):
    command: list[str] | None = None
    entrypoint: list[str] | None = None
    environment: dict[str, str | None] = {}
    env_file: list[EnvFile] = []
    working_dir: str | None = None
    user: str | None = None
    depends_on: dict[str, Dependency] = {}
    healthcheck: Healthcheck | None = None
    restart: Restart = ("no", None)
    ports: list[Port] = []
    networks: dict[str, ServiceNetwork | None] = {}
    volumes: list[ServiceVolume] = []
    develop: Develop | None = None
    stop_signal: Signal = "SIGTERM"
    stop_grace_period: Duration = 10.0
    init: Bool = False
    scale: Count | None = None
    deploy: Deploy | None = None
    hostname: Hostname | None = None
    labels: dict[str, str] = {}
    profiles: list[Name] = []
    x_stackup: ServiceExtension = Field(default=ServiceExtension(), alias="x-stackup")

    @property
    def argv(self) -> tuple[str, ...]:
        return (*(self.entrypoint or ()), *(self.command or ()))

    @property
    def replicas(self) -> int:
        if self.scale is not None:
            return self.scale
        return 1 if self.deploy is None or self.deploy.replicas is None else self.deploy.replicas

    @property
    def is_checked(self) -> bool:
        """Whether the service has a healthcheck that runs."""
        check = self.healthcheck
        return check is not None and not check.disable and bool(check.test) and check.test[0] != "NONE"


class Network(Model):
    name: ResourceName | None = None
    driver: Literal["bridge"] | None = None
    labels: dict[str, str] = {}
    attachable: Bool = False
    x_stackup: NoExtension | None = Field(default=None, alias="x-stackup")


class Volume(Model):
    name: ResourceName | None = None
    driver: Literal["local"] | None = None
    external: Bool = False
    labels: dict[str, str] = {}
    x_stackup: NoExtension | None = Field(default=None, alias="x-stackup")


class StackExtension(Model):
    project: Literal["rw", "off"] | None = None


class StackFile(Model):
    """The whole file. A network or volume of null has no options."""

    version: str | None = None
    name: str | None = None
    services: dict[Name, Service] = {}
    networks: dict[Name, Network | None] = {}
    volumes: dict[Name, Volume | None] = {}
    x_stackup: StackExtension = Field(default=StackExtension(), alias="x-stackup")
