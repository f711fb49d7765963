"""The program from outside: help, exit codes, what it imports, where its output goes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stackup import __version__
from stackup.cli.main import VERBS

from .conftest import Place

HEAVY = {"asyncio", "networkx", "pydantic", "pyroute2", "rich", "watchfiles", "yaml"}


def test_help_lists_every_verb_with_a_sentence(place: Place) -> None:
    shown = place.run("--help").stdout
    for verb in VERBS:
        line = next(line for line in shown.splitlines() if line.startswith(f"  {verb} "))
        assert len(line.split()) > 3


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(place: Place, verb: str) -> None:
    done = place.run(verb, "-h")
    assert done.returncode == 0
    assert f"Usage: stackup {verb}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "Usage: stackup"),
        (("pss",), 2, "No such command 'pss'. Did you mean ps?"),
        (("ps", "--formt", "json"), 2, "--format"),
        (("ps", "--format", "xml"), 2, "'xml' is not one of table, json"),
        (("down", "-t", "-1"), 2, "-1 is less than 0"),
        (("down", "-t", "nan"), 2, "not a number"),
        (("exec", "web"), 2, "COMMAND"),
        (("exec", "--index", "x", "web", "ls"), 2, "not a number"),
        (("logs", "--tail", "some"), 2, "neither a number nor `all`"),
        (("up", "--wait-timeout", "5"), 2, "needs --wait"),
        (("-f", "nosuch.yaml", "config"), 1, "nosuch.yaml"),
        (("-p", "Not A Name", "ps"), 1, "not a stack name"),
        (("restart",), 1, "there is no stack demo to restart"),
        (("exec", "web", "ls"), 1, "not running"),
    ],
)
def test_wrong_usage(place: Place, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = place.run(*arguments)
    assert done.returncode == code
    assert said in done.stderr + (done.stdout if not arguments else "")
    assert "Traceback" not in done.stderr


def test_problems_of_the_stack_file_exit_2_with_their_places(place: Place) -> None:
    (place.project / "stack.yaml").write_text("services:\n  web:\n    comand: x\n    command: y\n")
    done = place.run("config")
    assert done.returncode == 2
    assert "stack.yaml:3:5: services.web.comand" in done.stderr
    assert done.stdout == ""


def test_a_stack_without_a_file(place: Place) -> None:
    (place.project / "stack.yaml").unlink()
    done = place.run("ps")
    assert done.returncode == 1
    assert "error: no stack file found" in done.stderr
    assert "hint: " in done.stderr


def test_version(place: Place) -> None:
    assert place.run("version").stdout == f"stackup version {__version__}\n"
    assert place.run("version", "--short").stdout == f"{__version__}\n"
    assert json.loads(place.run("version", "--format", "json").stdout) == {"version": __version__}


def test_config_prints_what_loads_again(place: Place) -> None:
    first = place.run("config")
    assert (first.returncode, first.stderr) == (0, "")
    (place.project / "stack.yaml").write_text(first.stdout)
    assert place.run("config").stdout == first.stdout
    assert place.run("config", "--services").stdout == "db\nweb\n"
    assert place.run("config", "-q").stdout == ""
    assert json.loads(place.run("config", "--format", "json").stdout)["services"].keys() == {"db", "web"}


def test_plan_of_a_stack_that_does_not_run(place: Place) -> None:
    done = place.run("plan")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "create network demo_default  (new)"
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[1:]] == [
        "create demo-db-1",
        "start demo-db-1",
        "create demo-web-1",
        "start demo-web-1",
    ]
    assert place.run("plan", "--detailed-exitcode").returncode == 100
    objects = [action["object"] for action in json.loads(place.run("plan", "--format", "json").stdout)["actions"]]
    assert objects[0] == "demo_default"
    only = place.run("plan", "db").stdout
    assert "demo-db-1" in only
    assert "demo-web-1" not in only


@pytest.mark.parametrize("arguments", [("ps", "-a"), ("plan",), ("config",), ("logs",), ("ls",), ("version",)])
def test_reading_changes_nothing(place: Place, arguments: tuple[str, ...]) -> None:
    assert place.run(*arguments).returncode == 0
    assert list(place.state.iterdir()) == []


def test_down_of_nothing(place: Place) -> None:
    done = place.run("down")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "demo: nothing to do\n"
    assert not place.stack.exists()


def test_no_escapes_where_there_is_no_terminal(place: Place) -> None:
    for arguments in (("--help",), ("ps",), ("doctor",), ("plan",), ("config",), ("nosuch",)):
        done = place.run(*arguments, FORCE_COLOR="1", CLICOLOR_FORCE="1")
        assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("verb", ["ps", "ls", "logs", "version", "down"])
def test_light_verbs_load_nothing_heavy(place: Place, verb: str) -> None:
    code = (
        "import sys; from stackup.cli.main import main\n"
        f"main(['-p', 'demo', '{verb}'])\n"
        "print(*sorted(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=place.project,
        env=place.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stderr.splitlines()[-1].split())
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_completion_knows_verbs_and_services(place: Place) -> None:
    verbs = place.run(_STACKUP_COMPLETE="complete_bash", COMP_WORDS="stackup re", COMP_CWORD="1")
    assert verbs.stdout.split() == ["restart"]
    services = place.run(_STACKUP_COMPLETE="complete_bash", COMP_WORDS="stackup logs ", COMP_CWORD="2")
    assert services.stdout.split() == ["db", "web"]


def test_completion_of_a_broken_file_suggests_nothing(place: Place) -> None:
    (place.project / "stack.yaml").write_text("services: [")
    done = place.run(_STACKUP_COMPLETE="complete_bash", COMP_WORDS="stackup logs ", COMP_CWORD="2")
    assert done.stdout.split() == []
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early(place: Place) -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" | true', "sh", *place.command("--help")],
        env=place.environ,
        cwd=place.project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
