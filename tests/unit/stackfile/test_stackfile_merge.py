"""Several files: the merge rules, in the order the files are named."""

from __future__ import annotations

import pytest

from stackup.stackfile import load
from stackup.stackfile.config import canonical_model

BASE = "command: [base]"


def merged(project, base: str, override: str):
    for name, keys in (("a.yaml", base), ("b.yaml", override)):
        body = "".join(f"    {line}\n" for line in keys.split("\n"))
        project.write(name, f"services:\n  web:\n{body}volumes: {{v: , w: }}\nnetworks: {{n: , m: }}\n")
    return canonical_model(load(project.source(files=("a.yaml", "b.yaml"))))["services"]["web"]


@pytest.mark.parametrize(
    ("base", "override", "key", "value"),
    [
        ("command: [a, b]", "command: c", "command", ["c"]),
        ("command: [a]\nentrypoint: [x]", "entrypoint: ", "entrypoint", None),
        (
            BASE + "\nenvironment: [A=1, B=2]",
            "environment: {B: 3, C: x}",
            "environment",
            {"A": "1", "B": "3", "C": "x"},
        ),
        (BASE + "\nenvironment: {A: 1}", "environment: {A: }", "environment", None),
        (BASE + "\nlabels: [a=1]", "labels: {a: 2, b: }", "labels", {"a": "2", "b": ""}),
        (BASE + "\nports: ['80:80']", "ports: [81]", "ports", [{"target": 80, "published": "80"}, {"target": 81}]),
        (
            BASE + "\nports: ['80:80']",
            "ports: ['80:80/tcp']",
            "ports",
            [{"target": 80, "protocol": "tcp", "published": "80"}],
        ),
        (BASE + "\nports: ['80:80']", "ports: !override [81]", "ports", [{"target": 81}]),
        (BASE + "\nports: ['80:80']", "ports: !reset []", "ports", None),
        (BASE + "\nports: [80]", "ports: ", "ports", [{"target": 80}]),
        (
            BASE + "\nvolumes: ['v:/x', 'v:/y']",
            "volumes: ['w:/x/']",
            "volumes",
            [{"type": "volume", "source": "w", "target": "/x/"}, {"type": "volume", "source": "v", "target": "/y"}],
        ),
        (
            BASE + "\nnetworks: [n]",
            "networks: {m: {aliases: [q]}}",
            "networks",
            {"n": None, "m": {"aliases": ["q"]}},
        ),
        (BASE + "\nprofiles: []", "profiles: []", "profiles", []),
        (
            BASE + "\nhealthcheck: {test: [CMD, a], retries: 2}",
            "healthcheck: {test: b, interval: 1s}",
            "healthcheck",
            {"test": ["CMD-SHELL", "b"], "retries": 2, "interval": "1s"},
        ),
        (
            BASE + "\nhealthcheck: {test: a, retries: 2}",
            "healthcheck: {retries: !reset 1}",
            "healthcheck",
            {"test": ["CMD-SHELL", "a"]},
        ),
        (BASE + "\nrestart: always", "restart: 'no'", "restart", "no"),
    ],
)
def test_rules(project, base, override, key, value):
    assert merged(project, base, override).get(key) == value


def test_a_mapping_cannot_become_a_list(project):
    project.write("a.yaml", "x-a: {b: 1}\n")
    project.write("b.yaml", "x-a: [1]\n")
    (problem,) = project.problems("", files=("a.yaml", "b.yaml"))
    assert (problem.file, problem.line, problem.column) == ("b.yaml", 1, 6)
    assert "cannot override a mapping of a.yaml" in problem.reason


def test_an_override_may_be_partial_or_empty(project):
    project.write(
        "a.yaml",
        "services:\n  web: {command: [x], depends_on: {db: {condition: service_started}}}\n  db: {command: [y]}\n",
    )
    project.write("b.yaml", "services: {web: {depends_on: {db: {required: false}}}}\n---\nname: other\n")
    project.write("c.yaml", "")
    model = canonical_model(load(project.source(files=("a.yaml", "b.yaml", "c.yaml"))))
    assert model["name"] == "other"
    assert model["services"]["web"]["depends_on"]["db"] == {"condition": "service_started", "required": False}


def test_a_value_is_reported_where_its_file_wrote_it(project):
    project.write("a.yaml", "services:\n  web:\n    command: [x]\n    scale: many\n")
    project.write("b.yaml", "services:\n  web:\n    init: perhaps\n")
    problems = project.problems("", files=("a.yaml", "b.yaml"))
    assert [(problem.file, problem.line) for problem in problems] == [("a.yaml", 4), ("b.yaml", 3)]
