"""What a valid file means: container specs, environments, selection, the project directory."""

from __future__ import annotations

import os
import sys

import pytest

from stackup.core.types import (
    Attachment,
    Bind,
    Condition,
    Dependency,
    Healthcheck,
    NetworkSpec,
    Port,
    RestartMode,
    RestartPolicy,
    Tmpfs,
    VolumeMount,
    VolumeSpec,
    WatchAction,
    WatchRule,
)
from stackup.errors import StackFileError, StackupError
from stackup.stackfile import load, resolve
from stackup.stackfile.config import canonical_model


def test_defaults(project):
    spec = project.service("command: [run]")
    assert (spec.name, spec.service, spec.index, spec.command) == ("demo-web-1", "web", 1, ("run",))
    assert (spec.hostname, spec.user, spec.init, spec.environment) == ("demo-web-1", None, False, ())
    assert (spec.stop_signal, spec.stop_grace_period, spec.restart) == ("SIGTERM", 10.0, RestartPolicy())
    assert (spec.networks, spec.healthcheck, spec.depends_on) == ((Attachment("default"),), None, ())
    assert spec.working_dir == str(project.directory)


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ("entrypoint: [a, b]\ncommand: c d", "command", ("a", "b", "c", "d")),
        ("command: sh -c 'echo $$HOME'", "command", ("sh", "-c", "echo $HOME")),
        ("environment: [A=1, B=, C=x=y]", "environment", (("A", "1"), ("B", ""), ("C", "x=y"))),
        ("environment: {F: 2.50, I: 012, T: true, N: no, E: 1e10}", "environment",
         (("E", "1e+10"), ("F", "2.5"), ("I", "10"), ("N", "no"), ("T", "true"))),
        ("environment: {D: 2024-01-31}", "environment", (("D", "2024-01-31"),)),
        ("working_dir: /srv/../var", "working_dir", "/var"),
        ("user: '1000:1000'", "user", "1000:1000"),
        ("user: nobody", "user", "nobody"),
        ("user: $UNSET", "user", None),
        ("restart: no", "restart", RestartPolicy()),
        ("restart: on-failure:3", "restart", RestartPolicy(RestartMode.ON_FAILURE, 3)),
        ("restart: unless-stopped", "restart", RestartPolicy(RestartMode.UNLESS_STOPPED)),
        ("ports: ['80-81:8080-8081', 53/TCP]", "ports", (Port(8080, 80), Port(8081, 81), Port(53))),
        ("ports: [80, 80]", "ports", (Port(80),)),
        ("ports: [{target: '80', published: 8080, host_ip: '::1', mode: host}]", "ports", (Port(80, 8080, "::1"),)),
        ("networks: {default: {aliases: [b, a, b]}}", "networks", (Attachment("default", ("b", "a")),)),
        ("networks: []", "networks", (Attachment("default"),)),
        ("volumes: [{type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o700}}]", "mounts",
         (Tmpfs("/t", 1 << 20, 0o700),)),
        ("volumes: [{type: tmpfs, target: /t, tmpfs: {mode: '0700'}}]", "mounts", (Tmpfs("/t", None, 0o700),)),
        ("volumes: [/etc/x:/a/../b:ro]", "mounts", (Bind("/etc/x", "/b", True, True),)),
        ("volumes: [~/x:/b]", "mounts", (Bind("/home/nobody-here/x", "/b"),)),
        ("volumes: [{type: bind, source: /x, target: /b}]", "mounts", (Bind("/x", "/b", create_host_path=False),)),
        ("volumes: [{type: bind, source: /x, target: /b, bind: {propagation: rprivate}}]", "mounts",
         (Bind("/x", "/b"),)),
        ("stop_signal: INT", "stop_signal", "SIGINT"),
        ("stop_grace_period: 1m30s", "stop_grace_period", 90.0),
        ("init: 'yes'", "init", True),
        ("hostname: a.b", "hostname", "a.b"),
        ("labels: [b=1, a]", "labels", (("a", ""), ("b", "1"))),
        ("healthcheck: {test: curl x, interval: 1s, retries: '2'}", "healthcheck",
         Healthcheck(("/bin/sh", "-c", "curl x"), interval=1.0, retries=2)),
        ("healthcheck: {test: [CMD, a, b], timeout: 0s, start_period: 2s, start_interval: 1s}", "healthcheck",
         Healthcheck(("a", "b"), start_period=2.0, start_interval=1.0)),
        ("healthcheck: {test: [NONE]}", "healthcheck", None),
        ("healthcheck: {disable: true}", "healthcheck", None),
        ("x-stackup: {rootfs: host}", "show", ()),
        ("x-stackup: {rootfs: {show: [/opt/a, ~/.nvm]}}", "show", ("/opt/a", "/home/nobody-here/.nvm")),
        ("privileged: false\ntty: false\nattach: true\nipc: private\ncap_add: []", "command", ("run",)),
        ("x-anything: [1, {a: b}]", "command", ("run",)),
    ],
)  # fmt: skip
def test_keys(project, keys, field, value):
    assert getattr(project.service(keys), field) == value


def test_paths_are_relative_to_the_project_directory(project):
    spec = project.service(
        "working_dir: api\nvolumes: [./a:/a, '.:/b']\n"
        "develop: {watch: [{path: src, action: sync, target: /src, ignore: '*.log', include: ['*.py']}]}"
    )
    here = str(project.directory)
    assert spec.working_dir == f"{here}/api"
    assert spec.mounts == (Bind(f"{here}/a", "/a"), Bind(here, "/b"))
    assert spec.watch == (WatchRule(f"{here}/src", WatchAction.SYNC, "/src", ("*.log",), ("*.py",)),)


def test_networks_volumes_and_replicas(project):
    desired = project.resolve("""
services:
  web: {command: [w], scale: 2, networks: [front, back], depends_on: [db]}
  db: {command: [d], networks: [back], volumes: [data:/data, old:/old:ro]}
  off: {command: [o], deploy: {replicas: "0"}}
networks: {front: , back: {name: shared, labels: [a=b]}, unused: }
volumes: {data: {driver: local}, old: {external: true}, unused: }
""")
    assert [spec.name for spec in desired.containers] == ["demo-db-1", "demo-web-1", "demo-web-2"]
    assert desired.containers[1].networks == (Attachment("back"), Attachment("front"))
    assert desired.containers[0].mounts == (VolumeMount("data", "/data"), VolumeMount("old", "/old", True))
    assert desired.containers[1].depends_on == (Dependency("db", Condition.STARTED),)
    assert desired.networks == (
        NetworkSpec("back", "shared", (("a", "b"),)),
        NetworkSpec("default", "demo_default"),
        NetworkSpec("front", "demo_front"),
    )
    assert desired.volumes == (VolumeSpec("data", "demo_data"), VolumeSpec("old", "old", True))


def test_the_environment_of_a_service(project):
    project.write("a.env", "A=file\nB=$A-$SHELL_ONLY\nC=file\nGONE=file\nBARE\n")
    project.write("b.env", "C=later\nD=${E}\n")
    spec = project.service(
        "env_file: [a.env, {path: b.env}, {path: missing.env, required: false}]\n"
        "environment: {A: own, E: own, GONE: , INHERITED: }",
        environ={"SHELL_ONLY": "s", "INHERITED": "i", "BARE": "b"},
    )
    assert dict(spec.environment) == {
        "A": "own",
        "B": "own-s",
        "BARE": "b",
        "C": "later",
        "D": "own",
        "E": "own",
        "INHERITED": "i",
    }


def test_an_env_file_fault_is_at_the_line_of_the_env_file(project):
    project.write("a.env", "A=1\nB C=2\n")
    (problem,) = project.problems("services: {web: {command: [x], env_file: a.env}}")
    assert (problem.file, problem.line) == ("a.env", 2)


def test_variables(project):
    project.write(".env", "PORT=8080\nNAME=dot\n")
    text = "services: {web: {command: [run, '$NAME', '${MISSING}'], ports: ['${PORT}:80']}}"
    stack = project.load(text, environ={"NAME": "shell"})
    assert resolve(stack).containers[0].command == ("run", "shell", "")
    assert resolve(stack).containers[0].ports == (Port(80, 8080),)
    assert stack.warnings == ('The "MISSING" variable is not set. Defaulting to a blank string.',)


def test_version_is_obsolete(project):
    stack = project.load("version: '3'\nservices: {web: {command: [x]}}")
    assert "version" in stack.warnings[0]
    assert "version" not in canonical_model(stack)


PROFILES = """
services:
  web: {command: [x], depends_on: {db: {condition: service_started, required: false}}}
  db: {command: [x], profiles: [data, all]}
  seed: {command: [x], profiles: [data], depends_on: [db]}
  debug: {command: [x], profiles: [dev], depends_on: [web]}
"""


@pytest.mark.parametrize(
    ("named", "options", "services"),
    [
        ((), {}, ["web"]),
        ((), {"profiles": ("data",)}, ["db", "seed", "web"]),
        ((), {"profiles": ("*",)}, ["db", "debug", "seed", "web"]),
        ((), {"environ": {"COMPOSE_PROFILES": "all,dev"}}, ["db", "debug", "web"]),
        (("seed",), {}, ["db", "seed"]),
        (("debug",), {}, ["debug", "web"]),
        (("web",), {"profiles": ("data",)}, ["db", "web"]),
    ],
)
def test_selection(project, named, options, services):
    desired = project.resolve(PROFILES, *named, **options)
    assert sorted({spec.service for spec in desired.containers}) == services
    for spec in desired.containers:
        assert {edge.service for edge in spec.depends_on} <= set(services)


def test_an_unknown_service_is_named_with_its_neighbour(project):
    stack = project.load("services: {gateway: {command: [x]}}")
    with pytest.raises(StackupError, match="no such service: gatevay") as caught:
        resolve(stack, ["gatevay"])
    assert caught.value.hint == "did you mean 'gateway'?"


def test_nothing_enabled_is_an_error(project):
    with pytest.raises(StackupError, match="no service selected"):
        project.resolve("services: {a: {command: [x], profiles: [p]}}")


def test_a_disabled_service_is_checked_once_it_is_named(project):
    stack = project.load("services: {a: {command: [x]}, b: {profiles: [p]}}")
    with pytest.raises(StackFileError, match="has no command"):
        resolve(stack, ["b"])


def test_protected_paths(project):
    project.write(".git/hooks/pre-commit", "")
    project.write(".git/config", "")
    project.write(".env", "")
    project.write("web.env", "")
    found = project.resolve(
        "services: {web: {command: [x], env_file: [web.env, {path: no.env, required: false}]}}"
    ).project
    here = str(project.directory)
    assert found.protected == tuple(
        f"{here}/{name}" for name in (".env", ".git/config", ".git/hooks", "stack.yaml", "web.env")
    )
    assert (found.directory, found.files, found.shared) == (here, (f"{here}/stack.yaml",), True)


def test_the_prefix_stackup_runs_from_is_protected(project, monkeypatch):
    project.write(".venv/bin/python", "")
    monkeypatch.setattr(sys, "prefix", str(project.directory / ".venv"))
    protected = project.resolve("services: {web: {command: [x]}}").project.protected
    assert str(project.directory / ".venv") in protected


@pytest.mark.parametrize("home", ["demo", "demo/user", "demo/a/b"])
def test_a_home_directory_or_its_ancestor_is_not_shared(project, home):
    path = project.directory.parent / home
    path.mkdir(parents=True, exist_ok=True)
    text = "services: {web: {command: [x]}}\n"
    with pytest.raises(StackupError, match="home directory") as caught:
        project.resolve(text, environ={"HOME": str(path)})
    assert "x-stackup: {project: rw}" in (caught.value.hint or "")
    assert project.resolve(text + "x-stackup: {project: rw}\n", environ={"HOME": str(path)}).project.shared
    assert not project.resolve(text + "x-stackup: {project: off}\n", environ={"HOME": str(path)}).project.shared


def test_a_directory_below_home_is_shared(project):
    assert project.resolve(
        "services: {web: {command: [x]}}", environ={"HOME": str(project.directory.parent)}
    ).project.shared


def test_the_project_directory_is_free_of_symlinks(project):
    project.write("stack.yaml", "services: {web: {command: [x]}}")
    link = project.directory.parent / "link"
    os.symlink(project.directory, link)
    source = project.source(files=(str(link / "stack.yaml"),))
    assert resolve(load(source)).project.directory == str(project.directory)


@pytest.mark.parametrize(("path", "refused"), [("~/.ssh", True), ("~/.ssh/id", True), ("~", True), ("~/.pyenv", False)])
def test_credentials_are_never_shown(project, path, refused):
    home = project.directory.parent / "home"
    (home / ".ssh").mkdir(parents=True)
    text = f"services:\n  web: {{command: [x], x-stackup: {{rootfs: {{show: ['{path}']}}}}}}\n"
    if refused:
        (problem,) = project.problems(text, environ={"HOME": str(home)})
        assert problem.path == "services.web.x-stackup.rootfs.show[0]"
        assert "would show the credentials" in problem.reason
    else:
        assert project.resolve(text, environ={"HOME": str(home)}).containers[0].show == (f"{home}/.pyenv",)
