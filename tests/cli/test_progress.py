"""Events as lines on standard error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stackup.cli.invocation import Ansi, Progress
from stackup.cli.output import Output
from stackup.cli.progress import ProgressWriter

EVENTS: list[dict[str, Any]] = [
    {"type": "action", "action": "create network", "object": "demo_default", "cause": "new"},
    {"type": "action", "action": "create", "object": "demo-db-1", "cause": "new"},
    {"type": "state", "container": "demo-db-1", "service": "db", "state": "created", "run": 0},
    {"type": "hold", "container": "demo-web-1", "reason": "waits for db to be healthy"},
    {"type": "hold", "container": "demo-web-1", "reason": "waits for db to be healthy"},
    {"type": "state", "container": "demo-db-1", "service": "db", "state": "running", "health": "starting", "run": 1},
    {"type": "state", "container": "demo-db-1", "service": "db", "state": "running", "health": "none", "run": 1},
    {"type": "state", "container": "demo-db-1", "service": "db", "state": "running", "health": "healthy", "run": 1},
    {"type": "action", "action": "start", "object": "demo-web-1", "cause": "db is healthy"},
    {"type": "published", "service": "web", "address": "127.0.0.1", "port": 8080, "target": 80, "protocol": "tcp"},
    {"type": "published", "service": "web", "address": "::1", "port": 8080, "target": 80, "protocol": "tcp"},
    {"type": "note", "level": "warning", "text": "the variable X is not set"},
    {"type": "note", "level": "info", "text": "./data was created"},
    {"type": "watch", "service": "web", "action": "restart", "files": ["app.py"], "duration": 0.0612},
    {"type": "state", "container": "demo-db-1", "service": "db", "state": "exited", "exit": {"code": 1}, "run": 1},
    {"type": "a kind of a later version"},
]
LINES = """\
create network demo_default  (new)
create demo-db-1  (new)
demo-web-1  waits for db to be healthy
demo-db-1  running
demo-db-1  healthy
start demo-web-1  (db is healthy)
web: http://127.0.0.1:8080
warning: the variable X is not set
./data was created
web  restart in 61 ms  (app.py changed)
demo-db-1  exited with code 1
"""


def play(mode: Progress, ansi: Ansi = Ansi.NEVER) -> ProgressWriter:
    progress = ProgressWriter(Output(ansi), mode)
    for event in EVENTS:
        progress(event)
    return progress


@pytest.mark.parametrize("mode", [Progress.AUTO, Progress.PLAIN, Progress.TTY])
def test_one_line_for_each_change(mode: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    progress = play(mode)
    captured = capsys.readouterr()
    assert captured.err == LINES
    assert captured.out == ""
    assert progress.actions == 3


def test_plain_has_no_escapes_even_where_colours_are_forced(capsys: pytest.CaptureFixture[str]) -> None:
    play(Progress.PLAIN, Ansi.ALWAYS)
    assert "\x1b" not in capsys.readouterr().err


def test_colours_add_nothing_but_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    import re

    play(Progress.TTY, Ansi.ALWAYS)
    text = capsys.readouterr().err
    assert "\x1b[32mstart\x1b[0m demo-web-1" in text
    assert re.sub("\x1b\\[[0-9;]*m", "", text) == LINES


def test_json_repeats_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    play(Progress.JSON)
    assert [json.loads(line) for line in capsys.readouterr().err.splitlines()] == EVENTS


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    play(Progress.QUIET).say("Stopping...")
    assert capsys.readouterr().err == ""
