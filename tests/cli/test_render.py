"""Text made from plain data."""

from __future__ import annotations

from typing import Any

import pytest

from stackup.cli import render
from stackup.cli.logview import service_of, timestamp

from .fakes import container, ended


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "Less than a second"),
        (1, "1 second"),
        (59.9, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (2 * 3600, "2 hours"),
        (47 * 3600, "47 hours"),
        (3 * 86400, "3 days"),
        (20 * 86400, "2 weeks"),
        (100 * 86400, "3 months"),
        (800 * 86400, "2 years"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (container("c", "s", "created", run=0), "Created"),
        (container("c", "s", "running", started_at=95.0), "Up 5 seconds"),
        (container("c", "s", "running", started_at=95.0, note={"health": "healthy"}), "Up 5 seconds (healthy)"),
        (
            container("c", "s", "running", started_at=95.0, note={"health": "starting"}),
            "Up 5 seconds (health: starting)",
        ),
        (container("c", "s", "running", started_at=95.0, note={"health": "none"}), "Up 5 seconds"),
        (container("c", "s", "running", started_at=95.0, stop={"signal": "SIGTERM"}), "Up 5 seconds, stopping"),
        (container("c", "s", "exited", runs=[ended(code=1, ended_at=97.0)]), "Exited (1) 3 seconds ago"),
        (container("c", "s", "exited", runs=[ended(code=None, signal=9, ended_at=97.0)]), "Exited (137) 3 seconds ago"),
        (container("c", "s", "exited", runs=[ended(code=None, ended_at=97.0)]), "Exited (unknown) 3 seconds ago"),
        (container("c", "s", "exited", runs=[ended(code=127, error="exec: no x")]), "Could not start: exec: no x"),
        (container("c", "s", "exited"), "Exited"),
    ],
)
def test_status(record: dict[str, Any], text: str) -> None:
    assert render.status(record, 100.0) == text


@pytest.mark.parametrize(
    ("end", "text"),
    [
        ({"code": 0}, "exited with code 0"),
        ({"code": None, "signal": 9}, "killed by SIGKILL, exited with code 137"),
        ({"code": None, "signal": 40}, "killed by signal 40, exited with code 168"),
        ({"code": None, "signal": None}, "exited with an unknown code"),
        ({"code": 127, "error": "exec: no such file"}, "could not start: exec: no such file"),
    ],
)
def test_exit_text(end: dict[str, Any], text: str) -> None:
    assert render.exit_text(end) == text


def test_table_has_no_blanks_at_the_end() -> None:
    text = render.table(("NAME", "PORTS"), [("a", ""), ("longer", "80")])
    assert text == "NAME     PORTS\na\nlonger   80"


@pytest.mark.parametrize(
    ("published", "text"),
    [
        ({"url": "127.0.0.1:8080", "target": 80}, "web: http://127.0.0.1:8080"),
        ({"address": "::1", "port": 8080, "target": 80, "protocol": "tcp"}, "web: http://[::1]:8080"),
        ({"address": "127.0.0.1", "port": 5432, "target": 5432, "protocol": "tcp"}, "web: 127.0.0.1:5432"),
        ({"address": "127.0.0.1", "port": 53, "target": 1053, "protocol": "udp"}, "web: 127.0.0.1:53/udp"),
    ],
)
def test_published_line(published: dict[str, Any], text: str) -> None:
    assert render.published_line({"service": "web", **published}) == text


@pytest.mark.parametrize(
    ("name", "service"), [("demo-web-1", "web"), ("demo-a-b-12", "a-b"), ("demo-demo-web-1", "demo-web")]
)
def test_service_of(name: str, service: str) -> None:
    assert service_of("demo", name) == service


def test_timestamp_keeps_nanoseconds() -> None:
    assert timestamp(1_700_000_000_000_000_007) == "2023-11-14T22:13:20.000000007Z"
