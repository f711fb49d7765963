"""Where a stack is found: files, project directory, environment, name. And what these imports cost."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from stackup.errors import StackFileError, StackupError
from stackup.stackfile import Source, load, locate, stack_name
from stackup.stackfile.config import canonical_model

FILE = "services: {web: {command: [run]}}\n"


def names(location):
    return [path.rsplit("/", 1)[1] for path in location.files]


def test_the_first_name_wins_and_its_override_is_loaded(project):
    for name in ("docker-compose.yaml", "compose.yml", "compose.override.yaml"):
        project.write(name, FILE)
    location = locate(project.source())
    assert names(location) == ["compose.yml", "compose.override.yaml"]
    assert "using compose.yml" in location.warnings[0]


def test_parents_are_searched_and_give_the_project_directory(project):
    project.write("stack.yaml", FILE)
    project.write("sub/deep/x", "")
    location = locate(Source(str(project.directory / "sub/deep"), {}))
    assert location.project_directory == str(project.directory)


def test_named_files_have_no_override_and_resolve_against_the_first(project):
    project.write("sub/a.yaml", FILE)
    project.write("sub/compose.override.yaml", FILE)
    project.write("b.yaml", FILE)
    location = locate(project.source(files=("sub/a.yaml", "b.yaml")))
    assert names(location) == ["a.yaml", "b.yaml"]
    assert location.project_directory == str(project.directory / "sub")


def test_nothing_found_says_where_it_looked(project):
    with pytest.raises(StackupError, match=rf"no stack file found in {project.directory} or its parents") as caught:
        locate(project.source())
    assert "stack.yaml" in (caught.value.hint or "")


def test_a_missing_file_is_named(project):
    with pytest.raises(StackupError, match=r"no such stack file: .*/gone\.yaml"):
        locate(project.source(files=("gone.yaml",)))


def test_settings_come_from_the_environment_and_from_dotenv(project):
    project.write("a.yaml", FILE)
    project.write("b.yaml", FILE)
    project.write(".env", "COMPOSE_FILE=a.yaml;b.yaml\nCOMPOSE_PATH_SEPARATOR=;\n")
    assert names(locate(project.source())) == ["a.yaml", "b.yaml"]
    assert names(locate(project.source(environ={"COMPOSE_FILE": "b.yaml", "STACKUP_FILE": "a.yaml"}))) == ["a.yaml"]


def test_the_process_wins_over_dotenv_and_env_file_replaces_it(project):
    project.write("stack.yaml", FILE)
    project.write(".env", "A=dot\nB=dot\n1C=x\n")
    project.write("other.env", "A=other\n")
    assert locate(project.source(environ={"A": "shell"})).environment["A"] == "shell"
    environment = locate(project.source()).environment
    assert environment["B"] == "dot"
    assert "1C" not in environment
    assert "B" not in locate(project.source(env_files=("other.env",))).environment
    assert "B" not in locate(project.source(environ={"COMPOSE_DISABLE_ENV_FILE": "1"})).environment
    with pytest.raises(StackupError, match="couldn't find env file"):
        locate(project.source(env_files=("gone.env",)))


def test_a_faulty_dotenv_has_a_place(project):
    project.write("stack.yaml", FILE)
    project.write(".env", "A=1\nB C=2\n")
    with pytest.raises(StackFileError, match=r"^\.env:2:1: key cannot contain a space"):
        locate(project.source())


@pytest.mark.parametrize(
    ("text", "environ", "option", "name"),
    [
        ("", {}, None, "demo"),
        ("name: My.Stack\n", {}, None, "mystack"),
        ("name: ${WHO:-x}-1\n", {"WHO": "me"}, None, "me-1"),
        ("name: a\n---\nname: b\n", {}, None, "b"),
        ("name: a\n", {"COMPOSE_PROJECT_NAME": "c"}, None, "c"),
        ("name: a\n", {"COMPOSE_PROJECT_NAME": "c", "STACKUP_PROJECT_NAME": "s"}, None, "s"),
        ("name: a\n", {"COMPOSE_PROJECT_NAME": "c"}, "p", "p"),
    ],
)
def test_the_name(project, text, environ, option, name):
    project.write("stack.yaml", text + ("---\n" if text else "") + FILE)
    source = project.source(environ=environ, name=option)
    assert stack_name(source) == name
    assert load(source).name == name


def test_a_given_name_must_be_valid(project):
    project.write("stack.yaml", FILE)
    with pytest.raises(StackupError, match="'My Stack' is not a valid stack name"):
        stack_name(project.source(name="My Stack"))


def test_the_name_of_the_last_file_is_a_variable_in_the_first(project):
    project.write("a.yaml", "services: {web: {command: [run, $COMPOSE_PROJECT_NAME]}}\n")
    project.write("b.yaml", "name: late\n")
    model = canonical_model(load(project.source(files=("a.yaml", "b.yaml"))))
    assert model["services"]["web"]["command"] == ["run", "late"]


def test_a_source_travels_as_json(project):
    source = project.source(files=("a",), name="n", profiles=("p",), env_files=("e",))
    assert Source.from_plain(json.loads(json.dumps(source.to_plain()))) == source


@pytest.mark.parametrize(
    ("call", "forbidden"),
    [("locate", {"yaml", "pydantic"}), ("stack_name", {"pydantic", "networkx"}), ("load", {"networkx", "asyncio"})],
)
def test_imports_stay_light(project, call, forbidden):
    project.write("stack.yaml", FILE)
    code = (
        f"import sys; from stackup.stackfile import Source, {call}; {call}(Source({str(project.directory)!r}, {{}}));"
        "print(' '.join(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert forbidden.isdisjoint(loaded)
