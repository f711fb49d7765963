"""The plain form of core types: nothing is lost through JSON, and what does not fit is said."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackup.core.codec import from_plain, to_plain
from stackup.core.types import (
    Bind,
    Condition,
    Container,
    ContainerSpec,
    Dependency,
    Desired,
    Healthcheck,
    Observed,
    Project,
    State,
    Tmpfs,
    VolumeMount,
)

st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False, width=32))

MINIMAL = {"name": "demo-web-1", "service": "web", "index": 1, "command": ["true"]}


@settings(max_examples=50)
@given(st.from_type(ContainerSpec))
def test_a_spec_survives_json(spec: ContainerSpec) -> None:
    assert from_plain(ContainerSpec, json.loads(json.dumps(to_plain(spec)))) == spec


@settings(max_examples=20)
@given(st.from_type(Desired))
def test_everything_desired_survives_json(desired: Desired) -> None:
    assert from_plain(Desired, json.loads(json.dumps(to_plain(desired)))) == desired


@settings(max_examples=20)
@given(st.from_type(Container))
def test_a_container_survives_json(container: Container) -> None:
    assert from_plain(Container, json.loads(json.dumps(to_plain(container)))) == container


def test_derived_fields_are_not_written() -> None:
    assert to_plain(Observed()) == {"containers": [], "networks": [], "volumes": []}


def test_a_mount_says_its_kind() -> None:
    mounts = (Bind("/a", "/b"), VolumeMount("data", "/data"), Tmpfs("/tmp"))
    assert [mount["kind"] for mount in to_plain(mounts)] == ["bind", "volume", "tmpfs"]


def test_enums_are_their_values_and_whole_floats_stay_floats() -> None:
    assert to_plain(Dependency("db", Condition.HEALTHY))["condition"] == "service_healthy"
    assert repr(to_plain(Healthcheck(("true",), interval=5))["interval"]) == "5.0"


def test_absent_fields_take_their_defaults() -> None:
    assert from_plain(ContainerSpec, MINIMAL) == ContainerSpec("demo-web-1", "web", 1, ("true",))


@pytest.mark.parametrize(
    ("cls", "data", "message"),
    [
        (ContainerSpec, {"name": "x"}, "ContainerSpec without command, index, service"),
        (ContainerSpec, MINIMAL | {"colour": "red"}, "ContainerSpec has no field 'colour'"),
        (ContainerSpec, MINIMAL | {"index": "1"}, "ContainerSpec.index: expected int, found str"),
        (ContainerSpec, MINIMAL | {"index": True}, "ContainerSpec.index: expected int, found bool"),
        (ContainerSpec, MINIMAL | {"command": "true"}, "ContainerSpec.command: expected a list, found str"),
        (ContainerSpec, MINIMAL | {"environment": [["A"]]}, "ContainerSpec.environment"),
        (ContainerSpec, MINIMAL | {"stop_grace_period": "10s"}, "stop_grace_period: expected a number, found str"),
        (ContainerSpec, MINIMAL | {"mounts": [{"target": "/"}]}, "expected a kind out of bind, tmpfs, volume"),
        (ContainerSpec, MINIMAL | {"healthcheck": {"test": [1]}}, "healthcheck: Healthcheck.test: expected str"),
        (Container, {"name": "x", "spec": MINIMAL, "state": "dead"}, "Container.state"),
        (Bind, {"kind": "volume", "source": "/", "target": "/"}, "kind 'volume' instead of 'bind'"),
        (Project, [], "expected Project, found list"),
    ],
)
def test_what_does_not_fit_is_named(cls: type, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        from_plain(cls, data)


def test_a_type_without_a_plain_form_is_a_defect() -> None:
    with pytest.raises(TypeError):
        to_plain(object())


def test_plain_values_of_scalars() -> None:
    assert to_plain((State.RUNNING, 1, "a", None)) == ["running", 1, "a", None]
