"""Broken files: each names its problem, at the place marked with « in the text."""

from __future__ import annotations

import re

import pytest

WEB = "services:\n  web:\n    command: [run]\n"
RING = """\
services:
  a: {command: [x], depends_on: [«b]}
  b: {command: [x], depends_on: [c]}
  c: {command: [x], depends_on: [a]}
"""

CORPUS = {
    # --- YAML
    "unclosed list": ("services:\n  web:\n    command: [a, b\n«", "YAML syntax"),
    "tab as indentation": ("services:\n«\tweb:\n", "tab character"),
    "colon in plain text": ("services:\n  web:\n    command: a«: b\n", "mapping values are not allowed"),
    "duplicate key": (WEB + "    «command: [x]\n", 'mapping key "command" already defined at line 3'),
    "integer key": ("services:\n  «1: {command: [run]}\n", "non-string key: 1"),
    "boolean key": (WEB + "    environment: {«true: x}\n", "non-string key: true"),
    "list as key": ("services: {«[a]: b}\n", "non-string key"),
    "undefined alias": ("services:\n  web: «*nobody\n", "no anchor &nobody"),
    "alias to itself": ("services:\n  web: &a\n    labels: {x: «*a}\n", "cycle detected"),
    "merge of a scalar": (WEB + "    <<: «x\n", "map merge requires map"),
    "merge into itself": ("services:\n  web: &a\n    command: [run]\n    <<: «*a\n", "cycle detected"),
    "list at the top": ("«- a\n", "top-level object must be a mapping"),
    "text at the top": ("«hello\n", "top-level object must be a mapping"),
    "empty file": ("«", "empty compose file"),
    "bad integer tag": (WEB + "    scale: «!!int many\n", "cannot be read as !!int"),
    "NUL character": (WEB + '    user: «"a\\0b"\n', "NUL character"),
    # --- keys
    "misspelt key": (WEB + "    «enviroment: {A: b}\n", "unknown key 'enviroment' (did you mean 'environment'?)"),
    "misspelt top-level key": ("«service: {}\n", "did you mean 'services'?"),
    "unknown key without a neighbour": (WEB + "    «qqqq: 1\n", "unknown key 'qqqq' (known here:"),
    "unknown key in a port": (WEB + "    ports: [{target: 80, «publish: 80}]\n", "did you mean 'published'?"),
    "unknown key in x-stackup": (WEB + "    x-stackup: {«rotfs: host}\n", "did you mean 'rootfs'?"),
    "unknown key in the top x-stackup": (WEB + "x-stackup: {«projekt: rw}\n", "did you mean 'project'?"),
    "key in a network's x-stackup": (WEB + "networks: {a: {x-stackup: {«b: 1}}}\n", "unknown key 'b'"),
    "image": ("services:\n  web:\n    «image: nginx\n", "is not built yet in stackup"),
    "build": (WEB + "    «build: .\n", "give a command"),
    "privileged": (WEB + "    «privileged: true\n", "is not built yet"),
    "swarm key": (WEB + "    deploy: {«placement: {constraints: [a]}}\n", "is not built yet"),
    "windows key": (WEB + "    «cpu_count: 2\n", "is not built yet"),
    "secrets": (WEB + "«secrets: {a: {file: b}}\n", "is not built yet"),
    "directory as root": (WEB + "    x-stackup: {rootfs: «./root}\n", "is not built yet"),
    "network option": (WEB + "    networks: {default: {«ipv4_address: 10.0.0.2}}\n", "is not built yet"),
    "internal network": (WEB + "networks: {a: {«internal: true}}\n", "is not built yet"),
    "rebuild": (WEB + "    develop: {watch: [{path: a, action: «rebuild}]}\n", "rebuild is not built yet"),
    # --- values
    "empty ports": (WEB + "    ports:«\n", "is empty, and must be a list"),
    "ports as text": (WEB + "    ports: «80:80\n", "must be a list, not a string"),
    "number in a command": (
        "services:\n  web:\n    command: [sleep, «10]\n",
        'must be a string, not an integer (quote it: "10")',
    ),
    "user as a number": (WEB + "    user: «1000\n", 'quote it: "1000"'),
    "name as a number": ("name: «12\n" + WEB, "must be a string"),
    "bad restart": (WEB + "    restart: «sometimes\n", "use one of no, always, on-failure[:N], unless-stopped"),
    "restart as a boolean": (WEB + "    restart: «false\n", 'must be a string, not a boolean (quote it: "false")'),
    "bad signal": (WEB + "    stop_signal: «SIGFOO\n", "SIGTERM"),
    "duration without a unit": (WEB + "    stop_grace_period: «'10'\n", "missing unit"),
    "duration as a number": (WEB + "    stop_grace_period: «10\n", "must be a string"),
    "bad duration": (WEB + "    stop_grace_period: «1y\n", "not a duration"),
    "bad port": (WEB + "    ports: [«'80:http']\n", "invalid container port 'http'"),
    "port too high": (WEB + "    ports: [«'70000:80']\n", "the highest is 65535"),
    "port zero": (WEB + "    ports: [{target: «0}]\n", "must be at least 1"),
    "ranges of two lengths": (WEB + "    ports: [«'80-82:80-81']\n", "differ in length"),
    "bad address": (WEB + "    ports: [«'localhost:80:80']\n", "invalid IP address 'localhost'"),
    "bad protocol": (WEB + "    ports: [«80/tpc]\n", "invalid protocol 'tpc'"),
    "port without a target": (WEB + "    ports: [«{published: 80}]\n", "'target' is missing"),
    "host port range": (WEB + "    ports: [«'80-90:80']\n", "not built yet"),
    "environment of lists": (WEB + "    environment: {A: «[1]}\n", "must be a single value, not a list"),
    "environment with a blank": (WEB + "    environment: [«'A =1']\n", "blanks around its name"),
    "replicas as text": (WEB + "    scale: «many\n", "invalid integer: 'many'"),
    "negative replicas": (WEB + "    scale: «-1\n", "must be at least 0"),
    "init as text": (WEB + "    init: «maybe\n", "invalid boolean"),
    "bad host name": (WEB + "    hostname: «a_b\n", "is not a host name"),
    "bad service name": ("services:\n  «a/b: {command: [run]}\n", "not a valid name"),
    "null service": ("services:\n  web:«\n", "is empty, and must be a mapping"),
    "bad condition": (WEB + "    depends_on: {web: {condition: «healthy}}\n", "did you mean 'service_healthy'?"),
    "missing condition": (WEB + "    depends_on: {a: «{required: false}}\n", "'condition' is missing"),
    "unbalanced quote": ("services:\n  web:\n    command: «sh -c 'x\n", "unbalanced quote"),
    "shell operator": ("services:\n  web:\n    command: «a && b\n", "needs a shell"),
    "test without a word": (WEB + "    healthcheck: {test: «[curl, x]}\n", "begins with one of CMD, CMD-SHELL, NONE"),
    "test of nothing": (WEB + "    healthcheck: {test: «[CMD]}\n", "has nothing to run"),
    "healthcheck without a test": (WEB + "    healthcheck: «{interval: 1s}\n", "has no test"),
    "relative target": (WEB + "    volumes: [«./a:b]\n", "is not absolute"),
    "root as a target": (WEB + "    volumes: [«./a:/]\n", "the container's root"),
    "empty volume section": (WEB + "    volumes: [«'a::/b']\n", "empty section between colons"),
    "volume type": (WEB + "    volumes: [{type: «npipe, target: /a}]\n", "'npipe' is not one of bind, volume, tmpfs"),
    "tmpfs size": (WEB + "    volumes: [{type: tmpfs, target: /a, tmpfs: {size: «10x}}]\n", "is not a size"),
    "sync without a target": (WEB + "    develop: {watch: [«{path: a, action: sync}]}\n", "needs a target"),
    "bad action": (WEB + "    develop: {watch: [{path: a, action: «synk}]}\n", "did you mean 'sync'?"),
    "bad project": (WEB + "x-stackup: {project: «ro}\n", "is not one of rw, off"),
    # --- interpolation
    "bad template": (WEB + "    user: «${1A}\n", "escape any $ with another $"),
    "required variable": (WEB + "    user: «${WHO:?say who}\n", "required variable WHO is missing a value: say who"),
    "bad template in an x- block": ("x-a: {b: «'${'}\n" + WEB, "invalid interpolation format"),
    # --- between keys
    "no command": ("services:\n  «web: {environment: {A: b}}\n", "has no command"),
    "unknown dependency": (WEB + "    depends_on: [«wev]\n", "unknown service 'wev' (did you mean 'web'?)"),
    "dependency on itself": (WEB + "    depends_on: [«web]\n", "cycle detected: web -> web"),
    "cycle": (
        RING,
        "cycle detected: a -> b -> c -> a",
    ),
    "healthy without a check": (
        WEB + "    depends_on: {db: {condition: service_healthy}}\n  db: {command: [x]}\n",
        "'db' has no healthcheck",
    ),
    "unknown network": (WEB + "    networks: [«back]\n", "undefined network 'back'"),
    "unknown volume": (WEB + "    volumes: [«data:/data]\n", "undefined volume 'data'"),
    "anonymous volume": (WEB + "    volumes: [«/data]\n", "anonymous volume is not built yet"),
    "target twice": (
        WEB + "    volumes: [./a:/x, «./b:/x/]\n",
        "target /x is already mounted as volumes[0]",
    ),
    "host port twice": (
        WEB + "    ports: [8080:80]\n  api: {command: [x], ports: [8080:81]}\n",
        "host port 8080/tcp is already published",
    ),
    "replicas with a host port": (WEB + "    scale: 2\n    ports: [«8080:80]\n", "2 replicas cannot share"),
    "two numbers of replicas": (WEB + "    scale: «2\n    deploy: {replicas: 3}\n", "say it once"),
    "external volume with labels": (
        WEB + "volumes: {a: {external: true, «labels: {b: c}}}\n",
        'conflicting parameters "external" and "labels"',
    ),
    "variable with an equals sign": (WEB + "    environment: {«A=B: c}\n", "cannot be the name of a variable"),
    "mount over the kernel's files": (WEB + "    volumes: [«./a:/proc/self]\n", "nothing can be mounted at /proc/self"),
    "sync that a restart loses": (
        WEB + "    develop: {watch: [{path: ., action: sync+restart, target: «/tmp/app}]}\n",
        "begins empty with every run",
    ),
    "udp port": (WEB + "    ports: [«53:53/udp]\n", "publishing udp ports is not built yet"),
    "missing env file": (WEB + "    env_file: «nothing.env\n", "nothing.env not found"),
    "disabled dependency": (
        WEB + "    depends_on: [«db]\n  db: {command: [x], profiles: [dev]}\n",
        "is disabled: none of its profiles (dev) is active",
    ),
}


@pytest.mark.parametrize(("text", "expected"), CORPUS.values(), ids=CORPUS.keys())
def test_a_broken_file_names_its_problem_and_place(project, text, expected):
    before, marked, _ = text.partition("«")
    problems = project.problems(text.replace("«", ""))
    rendered = [str(problem) for problem in problems]
    matching = [problem for problem in problems if expected in str(problem)]
    assert matching, rendered
    if marked:
        lines = before.split("\n")
        assert (matching[0].line, matching[0].column) == (len(lines), len(lines[-1]) + 1), rendered
    assert len(problems) == 1, rendered
    assert all(problem.file == "stack.yaml" for problem in problems)


def test_all_problems_of_all_files_come_in_one_error(project):
    project.write("base.yaml", "services:\n  web:\n    comand: [run]\n    restart: maybe\n")
    project.write("more.yaml", "services:\n  web:\n    ports: [http]\n    networks: [nowhere]\nvolume: {}\n")
    problems = project.problems("", files=("base.yaml", "more.yaml"))
    assert [(problem.file, problem.line, problem.path) for problem in problems] == [
        ("base.yaml", 3, "services.web.comand"),
        ("base.yaml", 4, "services.web.restart"),
        ("more.yaml", 3, "services.web.ports[0]"),
        ("more.yaml", 4, "services.web.networks.nowhere"),
        ("more.yaml", 5, "volume"),
    ]


def test_a_syntax_error_does_not_hide_the_problems_of_another_file(project):
    project.write("base.yaml", "a: [\n")
    project.write("more.yaml", "services: {web: {user: '${'}}\n")
    assert [problem.file for problem in project.problems("", files=("base.yaml", "more.yaml"))] == [
        "base.yaml",
        "more.yaml",
    ]


def test_key_paths_keep_the_index_that_was_written(project):
    text = "services:\n  web:\n    command: [run]\n    ports: ['1000-1009:1000-1009', {target: many}]\n"
    assert [problem.path for problem in project.problems(text)] == ["services.web.ports[1].target"]


def test_an_alias_bomb_is_refused_at_once(project):
    levels = ["x-0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (problem,) = project.problems("\n".join(levels))
    assert "excessive aliasing" in problem.reason


@pytest.mark.parametrize("text", ["[" * 5000, "a: " + "{b: " * 5000, "- " * 5000])
def test_deep_nesting_is_refused(project, text):
    (problem,) = project.problems(text)
    assert "levels deep" in problem.reason


def test_text_that_is_not_utf8_has_a_place(project):
    (project.directory / "stack.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(Exception, match=re.escape("stack.yaml:2:4: byte 0xff is not UTF-8")):
        from stackup.stackfile import load

        load(project.source())
