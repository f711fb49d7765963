"""`stackup config`: what is dumped loads again to the same Desired."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stackup.errors import StackFileError, StackupError
from stackup.stackfile import Source, dump, load, resolve
from stackup.stackfile.config import canonical_model, to_json
from stackup.stackfile.models import Service, StackFile
from stackup.stackfile.vocabulary import STACK

FULL = """
name: full
x-common: &common {environment: {A: $$x, B: '0o10', C: 1e3, N: no}}
services:
  web:
    <<: *common
    command: sh -c 'echo $$HOME "a b"'
    env_file: web.env
    ports: ['8080:80', '127.0.0.1:9000-9001:9000-9001', 7]
    volumes: [data:/data, './src:/src:ro', {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o700}}]
    networks: {front: {aliases: [w]}, back: }
    depends_on: {db: {condition: service_healthy, restart: true}, gone: {condition: service_started, required: false}}
    develop: {watch: [{path: ./src, action: sync+restart, target: /src, ignore: ['*.log']}]}
    x-stackup: {rootfs: {show: [~/.pyenv]}}
    scale: 1
  db: {command: [db], networks: [back], healthcheck: {test: 'a && b', interval: 1s}, working_dir: db}
  gone: {command: [x], profiles: [p]}
networks: {front: , back: {labels: [a=b]}}
volumes: {data: {name: real}}
"""


def reloaded(project, text):
    """The Desired of a dump that stands in the place of the file it was made from."""
    project.write("stack.yaml", text)
    return resolve(load(project.source()))


@pytest.mark.parametrize("format", ["yaml", "json"])
def test_a_dump_loads_to_the_same_desired(project, format):
    project.write("web.env", "D=d$$\nB=other\n")
    stack = project.load(FULL)
    again = reloaded(project, dump(stack, format=format))
    before = resolve(stack)
    # The env file is part of the environment now, so it is no longer a file of the stack.
    assert dataclasses.replace(before, project=again.project) == again


def test_the_model_is_what_the_dumps_say(project):
    project.write("web.env", "")
    stack = project.load(FULL)
    parsed = json.loads(dump(stack, format="json"))
    assert parsed["services"]["web"]["environment"]["A"] == "$$x"
    assert canonical_model(stack)["services"]["web"]["environment"]["A"] == "$x"
    assert list(parsed["services"]) == ["db", "web"]


def test_other_yaml_readers_see_the_same_strings(project):
    stack = project.load("services: {web: {command: [x, 'no', '0o10', '22:22', '1e3', 'on', '2024-01-31']}}")
    command = yaml.safe_load(dump(stack))["services"]["web"]["command"]
    assert command == ["x", "no", "0o10", "22:22", "1e3", "on", "2024-01-31"]


def test_every_key_has_one_place():
    """A key is built or not built, never both; and the table names every key of a service that Compose has."""

    def walk(place):
        if place.model:
            assert place.built().isdisjoint(place.unbuilt), place.model
        for below in (*place.below.values(), *filter(None, [place.each])):
            walk(below)

    walk(STACK)
    assert "command" in STACK.below["services"].each.built()
    assert set(StackFile.model_fields) >= {"name", "services"}
    assert "image" not in Service.model_fields


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    [
        "no",
        "0o10",
        "1e3",
        "22:22",
        "~",
        "null",
        "$A",
        "${A:-b}",
        "$$",
        "a\nb",
        "<<",
        "- a",
        "# c",
        "",
        "012",
        "1_0",
        "=",
        "\u2028",
    ]
)
keys = st.from_regex(r"[a-z][a-z0-9_]{0,6}", fullmatch=True)
services = st.fixed_dictionaries(
    {"command": st.lists(words, max_size=3).map(lambda rest: ["run", *rest])},
    optional={
        "environment": st.dictionaries(
            st.from_regex(r"[A-Z][A-Z0-9_]{0,5}", fullmatch=True), words | st.integers(0, 9999), max_size=4
        ),
        "labels": st.dictionaries(keys, words, max_size=3),
        "user": words.filter(bool),
        "ports": st.lists(st.integers(1, 65535), max_size=3),
        "volumes": st.lists(keys.map(lambda key: f"./{key}:/{key}"), max_size=3, unique=True),
        "healthcheck": st.fixed_dictionaries({"test": words.filter(bool), "retries": st.integers(0, 5)}),
        "restart": st.sampled_from(["no", "always", "on-failure:2"]),
        "stop_grace_period": st.sampled_from(["1m", "1.5s", "0"]),
        "scale": st.integers(0, 3),
        "init": st.booleans(),
        "x-other": st.dictionaries(words, words, max_size=2),
    },
)


def doubled(value):
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, dict):
        return {key: doubled(item) for key, item in value.items()}
    return [doubled(item) for item in value] if isinstance(value, list) else value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(stack=st.dictionaries(keys, services, min_size=1, max_size=3), format=st.sampled_from(["yaml", "json"]))
def test_load_of_dump_is_load(project, stack, format):
    first = project.load(to_json({"services": doubled(stack)}))
    before = resolve(first)
    text = dump(first, format=format)
    assert reloaded(project, text) == before
    second = load(Source(str(project.directory), project.source().environ))
    assert dump(second, format=format) == text
    for spec in before.containers:
        assert spec.command == tuple(stack[spec.service]["command"])


samples = st.sampled_from(["/", "a:/b", "1-2:3", "10s", "x-a"])
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words | samples
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | keys, inner, max_size=3), max_leaves=6
)
built = sorted(STACK.below["services"].each.built())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    service=st.dictionaries(st.sampled_from(built), values, max_size=3),
    top=st.dictionaries(st.sampled_from(["name", "networks", "volumes", "x-stackup", "version"]), values, max_size=2),
)
def test_any_value_of_any_key_loads_or_is_reported(project, service, top):
    text = yaml.safe_dump({"services": {"web": {"command": ["x"], **service}}, **top}, allow_unicode=True)
    try:
        stack = project.load(text)
        desired = resolve(stack)
    except StackFileError as error:
        assert error.problems
        assert all(problem.line >= 1 for problem in error.problems)
    except StackupError as error:
        assert error.hint
    else:
        assert reloaded(project, dump(stack)) == desired
