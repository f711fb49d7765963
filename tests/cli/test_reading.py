"""`ps`, `ls` and `logs` against a launcher and log files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stackup.cli import ps

from .conftest import Place
from .fakes import FakeLauncher, container, ended

Launch = Callable[..., FakeLauncher]


@pytest.fixture
def launch(place: Place) -> Iterator[Launch]:
    launchers: list[FakeLauncher] = []

    def start(*records: dict[str, Any]) -> FakeLauncher:
        launchers.append(FakeLauncher(place.launcher, list(records)))
        return launchers[-1]

    yield start
    for launcher in launchers:
        launcher.close()


def web(**fields: Any) -> dict[str, Any]:
    addresses = [["demo_default", "10.64.0.3"], ["demo_front", "10.64.4.2"]]
    spec = {
        "command": ["python3", "-m", "http.server", "--bind", "0.0.0.0"],
        "labels": [["tier", "front"]],
        "mounts": [{"kind": "volume", "volume": "data", "target": "/data"}, {"kind": "bind", "source": "/src"}],
    }
    base = {"pid": 4242, "started_at": 90.0, "addresses": addresses, "spec": spec, "note": {"health": "healthy"}}
    return container("demo-web-1", "web", "running", **(base | fields))


PORT = {"service": "web", "address": "127.0.0.1", "port": 8080, "target": 80, "protocol": "tcp"}


def test_json_of_a_running_container() -> None:
    record = web(run=3, runs=[ended(1, started_at=40.0), ended(2, started_at=60.0)])
    assert ps.to_json("demo", record, [PORT], now=100.0, wall=1_700_000_100.0) == {
        "Command": '"python3 -m http.ser\N{HORIZONTAL ELLIPSIS}"',
        "CreatedAt": "2023-11-14 22:14:00 +0000 UTC",
        "ExitCode": 0,
        "Health": "healthy",
        "ID": "demo-web-1",
        "Image": "",
        "Labels": "tier=front",
        "LocalVolumes": "1",
        "Mounts": "data,/src",
        "Name": "demo-web-1",
        "Names": "demo-web-1",
        "Networks": {"demo_default": "10.64.0.3", "demo_front": "10.64.4.2"},
        "Ports": "127.0.0.1:8080->80/tcp",
        "Project": "demo",
        "Publishers": [{"URL": "127.0.0.1", "TargetPort": 80, "PublishedPort": 8080, "Protocol": "tcp"}],
        "RunningFor": "About a minute ago",
        "Service": "web",
        "Size": "",
        "State": "running",
        "Status": "Up 10 seconds (healthy)",
        "Pid": 4242,
        "InnerPid": 1,
        "Restarts": 2,
    }


def test_json_of_an_exited_container() -> None:
    record = container("demo-web-1", "web", "exited", pid=9, runs=[ended(code=None, signal=15, ended_at=40.0)])
    shown = ps.to_json("demo", record, [], now=100.0, wall=0.0)
    assert (shown["State"], shown["ExitCode"], shown["Health"]) == ("exited", 143, "")
    assert (shown["Pid"], shown["InnerPid"], shown["Publishers"]) == (None, None, [])
    unknown = ps.to_json("demo", container("c", "s", "exited", runs=[ended(code=None)]), [], now=9.0, wall=0.0)
    assert unknown["ExitCode"] is None


def test_ps_shows_what_runs_and_with_all_what_ended(place: Place, launch: Launch) -> None:
    launch(
        web(),
        container("demo-db-1", "db", "exited", runs=[ended(code=2)]),
        container("demo-job-1", "job", "created", run=0),
    )
    (place.stack / "stack.json").write_text(json.dumps({"published": [PORT]}))
    lines = place.run("ps").stdout.splitlines()
    assert lines[0].split() == ["NAME", "SERVICE", "STATUS", "PORTS", "PID"]
    assert re.fullmatch(r"demo-job-1 +job +Created", lines[1])
    assert re.fullmatch(r"demo-web-1 +web +Up .+ \(healthy\) +127\.0\.0\.1:8080->80/tcp +4242", lines[2])
    assert len(lines) == 3
    assert place.run("ps", "-aq").stdout.split() == ["demo-db-1", "demo-job-1", "demo-web-1"]
    rows = [json.loads(line) for line in place.run("ps", "-a", "--format", "json").stdout.splitlines()]
    assert [(row["Name"], row["ExitCode"]) for row in rows] == [("demo-db-1", 2), ("demo-job-1", 0), ("demo-web-1", 0)]
    assert place.run("ps", "-q", "web").stdout == "demo-web-1\n"


def test_ps_of_an_unknown_service(place: Place, launch: Launch) -> None:
    launch(web())
    done = place.run("ps", "wbe")
    assert done.returncode == 1
    assert done.stderr == "error: no such service: wbe\nhint: did you mean web?\n"


def test_ps_of_many_containers(place: Place, launch: Launch) -> None:
    """More than a packet holds: the list travels in a memfd."""
    launch(*(container(f"demo-s{number}-1", f"s{number}", "running", started_at=1.0) for number in range(1000)))
    assert len(place.run("ps", "-q").stdout.splitlines()) == 1000


def test_ps_after_the_launcher_died(place: Place, launch: Launch) -> None:
    launch(web()).close()
    (place.stack / "desired.json").write_text("{}")
    done = place.run("ps")
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["NAME   SERVICE   STATUS   PORTS   PID"]
    assert "demo is not running" in done.stderr


def test_ls(place: Place, launch: Launch) -> None:
    launch(web(), container("demo-db-1", "db", "exited", runs=[ended()]))
    (place.stack / "desired.json").write_text(json.dumps({"project": {"files": ["/p/stack.yaml"]}}))
    (place.state / "stacks" / "other").mkdir()
    assert place.run("ls").stdout == (
        "NAME   STATUS                  CONFIG FILES\ndemo   exited(1), running(1)   /p/stack.yaml\n"
    )
    assert place.run("ls", "-aq").stdout == "demo\nother\n"
    assert json.loads(place.run("ls", "-a", "--format", "json").stdout) == [
        {"Name": "demo", "Status": "exited(1), running(1)", "ConfigFiles": "/p/stack.yaml"},
        {"Name": "other", "Status": "not running", "ConfigFiles": ""},
    ]


@pytest.fixture
def logs(write_log: Callable[..., None]) -> None:
    write_log(
        "demo-web-1",
        "1700000000000000001 1 1 o one",
        "1700000000000000004 2 1 e four\x1b[2J\x1b[31mred",
        "1700000000000000005 3 1 x ",
    )
    write_log(
        "demo-database-1",
        "1700000000000000002 1 1 O two, ",
        "1700000000000000003 2 1 o joined",
        "1700000000000000006 3 1 ! stackup: 5 lines lost: No space left on device",
    )


@pytest.mark.usefixtures("logs")
def test_logs_by_time_with_prefixes_and_no_escapes(place: Place) -> None:
    assert place.run("logs").stdout == (
        "web-1       | one\n"
        "database-1  | two, joined\n"
        "web-1       | fourred\n"
        "database-1  | stackup: 5 lines lost: No space left on device\n"
    )


@pytest.mark.usefixtures("logs")
def test_options_of_logs(place: Place) -> None:
    (place.stack / "desired.json").write_text(json.dumps({"containers": [{"service": "web"}]}))
    assert place.run("logs", "-n", "1", "--no-log-prefix", "web").stdout == "fourred\n"
    assert place.run("logs", "-t", "web").stdout.splitlines()[0] == "web-1  | 2023-11-14T22:13:20.000000001Z one"
    coloured = place.run("--ansi", "always", "logs", "web").stdout
    assert coloured.splitlines()[1].endswith("four\x1b[31mred\x1b[0m")
    assert "\x1b" not in place.run("--ansi", "always", "logs", "--no-color", "web").stdout
    assert place.run("logs", "nosuch").returncode == 1


def test_logs_follow_until_the_launcher_ends(place: Place, launch: Launch, write_log: Callable[..., None]) -> None:
    write_log("demo-web-1", "1700000000000000001 1 1 o old", "1700000000000000002 2 1 o before")
    launcher = launch(web())
    following = place.start("logs", "-f", "--tail", "1")
    assert following.stdout is not None
    assert following.stdout.readline() == "web-1  | before\n"
    write_log("demo-web-1", "1700000000000000003 3 1 o after")
    assert following.stdout.readline() == "web-1  | after\n"
    write_log("demo-db-1", "1700000000000000004 1 1 o new")
    assert following.stdout.readline() == "db-1   | new\n"
    launcher.close()
    assert following.communicate(timeout=20) == ("", "")
    assert following.returncode == 0
