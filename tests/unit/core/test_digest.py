"""When a container must be replaced, and the words for why."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackup.core.digest import LIVE_FIELDS, changes, digest, mask, same_container, summarize
from stackup.core.types import (
    Attachment,
    Bind,
    ContainerSpec,
    Dependency,
    Healthcheck,
    Port,
    RestartMode,
    RestartPolicy,
    VolumeMount,
    WatchAction,
    WatchRule,
)

st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False, width=32))

SPEC = ContainerSpec("demo-web-1", "web", 1, ("serve", "--port", "80"))

OTHER_VALUES: dict[str, Any] = {
    "name": "demo-api-1",
    "service": "api",
    "index": 2,
    "command": ("serve",),
    "environment": (("A", "1"),),
    "working_dir": "/srv",
    "user": "nobody",
    "hostname": "web",
    "init": True,
    "show": ("/opt/py",),
    "mounts": (Bind("/a", "/b"),),
    "networks": (Attachment("back"),),
    "ports": (Port(80),),
    "labels": (("a", "b"),),
    "healthcheck": Healthcheck(("true",)),
    "restart": RestartPolicy(RestartMode.ALWAYS),
    "stop_signal": "SIGINT",
    "stop_grace_period": 1.0,
    "depends_on": (Dependency("db"),),
    "watch": (WatchRule("/src", WatchAction.RESTART),),
}


@pytest.mark.parametrize("field", [field.name for field in fields(ContainerSpec)])
def test_every_field_but_the_live_ones_is_in_the_digest(field: str) -> None:
    other = replace(SPEC, **{field: OTHER_VALUES[field]})
    live = field in LIVE_FIELDS
    assert (digest(other) == digest(SPEC)) is live
    assert same_container(other, SPEC) is live
    assert len(changes(SPEC, other)) >= 1


@settings(max_examples=50)
@given(st.from_type(ContainerSpec), st.from_type(ContainerSpec))
def test_comparing_fields_and_comparing_digests_agree(one: ContainerSpec, other: ContainerSpec) -> None:
    assert same_container(one, other) == (digest(one) == digest(other))
    assert same_container(one, replace(one))
    assert changes(one, replace(one)) == ()


def test_the_number_5_and_5_0_are_one_digest() -> None:
    assert digest(replace(SPEC, stop_grace_period=5)) == digest(replace(SPEC, stop_grace_period=5.0))


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ({"command": ("a",)}, {"command": ("b", "c d")}, "command changed: a -> b 'c d'"),
        ({"environment": (("DEBUG", "0"),)}, {"environment": (("DEBUG", "1"),)}, "environment.DEBUG changed: 0 -> 1"),
        ({}, {"environment": (("A", ""), ("B", "2"))}, "environment.A added; environment.B added"),
        ({"environment": (("A", "1"),)}, {"environment": (("A", ""),)}, 'environment.A changed: 1 -> ""'),
        ({"environment": (("A", "1"),)}, {}, "environment.A removed"),
        ({"environment": (("A", "1"), ("B", "2"))}, {"environment": (("B", "2"), ("A", "1"))}, "environment reordered"),
        ({"labels": (("x", "1"),)}, {"labels": (("x", "2"),)}, "labels.x changed: 1 -> 2"),
        ({}, {"mounts": (VolumeMount("data", "/data"),)}, "mounts./data added"),
        ({"mounts": (Bind("/a", "/x"),)}, {"mounts": (Bind("/b", "/x"),)}, "mounts./x changed"),
        ({"ports": (Port(80, 1),)}, {"ports": (Port(80, 2),)}, "ports.1:80/tcp removed; ports.2:80/tcp added"),
        ({}, {"ports": (Port(80, host_ip="0.0.0.0"),)}, "ports.0.0.0.0:80/tcp added"),
        ({"networks": (Attachment("a"),)}, {"networks": (Attachment("a", ("x",)),)}, "networks.a changed"),
        ({}, {"show": ("/opt",)}, "show./opt added"),
        ({}, {"user": "nobody"}, "user added"),
        ({"user": "a"}, {"user": "b"}, "user changed: a -> b"),
        ({"user": "a"}, {}, "user removed"),
        ({}, {"init": True}, "init changed: false -> true"),
        ({}, {"stop_grace_period": 2.5}, "stop_grace_period changed: 10 -> 2.5"),
        ({}, {"healthcheck": Healthcheck(("true",))}, "healthcheck added"),
        (
            {"healthcheck": Healthcheck(("true",))},
            {"healthcheck": Healthcheck(("false",), interval=5.0)},
            "healthcheck.test changed: true -> false; healthcheck.interval changed: 30 -> 5",
        ),
        ({}, {"restart": RestartPolicy(RestartMode.ON_FAILURE, 3)},
         "restart.mode changed: no -> on-failure; restart.max_attempts changed: (none) -> 3"),
        ({}, {"depends_on": (Dependency("db"),)}, "depends_on.db added"),
        ({}, {"watch": (WatchRule("/src", WatchAction.RESTART),)}, "watch./src added"),
    ],
)  # fmt: skip
def test_changes_are_readable(before: dict[str, Any], after: dict[str, Any], text: str) -> None:
    assert summarize(changes(replace(SPEC, **before), replace(SPEC, **after)), limit=9) == text


@pytest.mark.parametrize("key", ["DB_PASSWORD", "api_token", "SECRET", "AWS_ACCESS_KEY_ID", "MY_CREDENTIALS"])
def test_secret_values_are_never_shown(key: str) -> None:
    found = changes(replace(SPEC, environment=((key, "hush"),)), replace(SPEC, environment=((key, "quiet"),)))
    assert summarize(found) == f"environment.{key} changed: *** -> ***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://u:hush@db/x", "postgres://u:***@db/x"),
        ("serve --password=hush --port 80", "serve --password=*** --port 80"),
        ("Authorization-Token: hush", "Authorization-Token: ***"),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_secrets_inside_a_value_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_a_cause_is_one_short_line_without_escapes() -> None:
    found = changes(SPEC, replace(SPEC, command=("sh", "-c", "echo \x1b[31m\n" + "x" * 500)))
    text = summarize(found)
    assert text.isprintable()
    assert len(text) < 200


def test_many_changes_are_counted() -> None:
    found = changes(SPEC, replace(SPEC, environment=tuple((f"K{i}", "1") for i in range(5))))
    assert summarize(found) == "environment.K0 added; environment.K1 added; environment.K2 added; and 2 more"
