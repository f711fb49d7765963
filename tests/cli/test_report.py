"""Errors as the user reads them."""

from __future__ import annotations

from pathlib import Path

from stackup.cli.client import error_from
from stackup.cli.report import render_error
from stackup.errors import DependencyError, HostError, Problem, StackFileError, StackupError


def test_an_error_and_its_hint() -> None:
    error = HostError("bind", "127.0.0.1:80", "permission denied", hint="publish a port above 1023")
    assert render_error(error) == (
        "error: cannot bind 127.0.0.1:80: permission denied\nhint: publish a port above 1023"
    )


def test_problems_with_the_lines_they_are_in(tmp_path: Path) -> None:
    file = tmp_path / "stack.yaml"
    file.write_text("services:\n  web:\n    comand: \x1b[31mx\n")
    name = str(file)
    error = StackFileError(
        [
            Problem(name, 3, 5, "services.web.comand", "unknown key", "did you mean 'command'?"),
            Problem(name, 2, 3, "services.web", "has no command"),
        ]
    )
    assert render_error(error) == (
        f"{name}:2:3: services.web: has no command\n"
        f"{name}:3:5: services.web.comand: unknown key (did you mean 'command'?)\n"
        "error: 2 problems"
    )
    assert render_error(error, excerpts=True) == (
        f"{name}:2:3: services.web: has no command\n"
        "  2 |   web:\n"
        "        ^\n"
        f"{name}:3:5: services.web.comand: unknown key (did you mean 'command'?)\n"
        "  3 |     comand:  [31mx\n"
        "          ^\n"
        "error: 2 problems"
    )


def test_a_problem_in_a_file_that_cannot_be_shown() -> None:
    error = StackFileError([Problem("/nowhere/stack.yaml", 7, 1, "", "cannot be read")])
    assert render_error(error, excerpts=True) == "/nowhere/stack.yaml:7:1: cannot be read\nerror: 1 problem"


def test_the_block_of_a_failed_dependency() -> None:
    failure = {
        "container": "demo-db-1",
        "service": "db",
        "condition": "service_healthy",
        "reason": "is unhealthy",
        "exit": "exited 3",
        "probe": {"output": "refused\x1b[2J\nagain", "ok": False},
        "log": ["starting", "no \x07space"],
        "waiters": ["demo-api-1", "demo-web-1"],
    }
    error = error_from({"kind": "dependency", "failures": [failure]})
    assert isinstance(error, DependencyError)
    assert render_error(error) == (
        "error: demo-db-1 failed: is unhealthy\n"
        "  service     db\n"
        "  condition   service_healthy\n"
        "  exit        exited 3\n"
        "  last probe  failed\n"
        "              refused\N{REPLACEMENT CHARACTER}[2J\n"
        "              again\n"
        "  last 2 log lines\n"
        "    | starting\n"
        "    | no \N{REPLACEMENT CHARACTER}space\n"
        "  waiting     demo-api-1, demo-web-1 (wait for it to be healthy)"
    )


def test_a_failure_of_which_little_is_known() -> None:
    failure = {"container": "demo-db-1", "service": "db", "condition": "service_started", "reason": "could not start"}
    text = render_error(error_from({"kind": "dependency", "failures": [failure | {"waiters": []}]}))
    assert text == "error: demo-db-1 failed: could not start\n  service     db"


def test_errors_from_the_supervisor_keep_their_exit_codes() -> None:
    plain = error_from({"kind": "error", "message": "no such service: x", "hint": "there is web", "exit_code": 5})
    assert (type(plain), plain.message, plain.hint, plain.exit_code) == (
        StackupError,
        "no such service: x",
        "there is web",
        5,
    )
    problem = {"file": "f", "line": 1, "column": 2, "path": "p", "reason": "r", "suggestion": None}
    parsed = error_from({"kind": "stackfile", "problems": [problem]})
    assert isinstance(parsed, StackFileError)
    assert parsed.exit_code == 2
    assert parsed.problems == (Problem("f", 1, 2, "p", "r"),)
