"""The examples, run as a user runs them, on copies of their directories: pages over HTTP, data, reload, networks."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support import REPOSITORY, TestStack, eventually, processes_matching

_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"


class Example:
    """One running example: its stack, and the address of its page."""

    def __init__(self, stack: TestStack, port_variable: str) -> None:
        self.stack = stack
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        stack.environment |= {"STACKUP_PROJECT_NAME": stack.name, port_variable: str(port)}

    def up(self) -> str:
        """Start it and wait until all is healthy; returns what the command said."""
        return self.stack.run("up", "-d", "--wait").all

    def get(self, path: str = "/") -> str:
        with urlopen(self.url + path, timeout=10) as answer:
            return str(answer.read().decode())

    def json(self, path: str = "/state") -> dict[str, Any]:
        value = json.loads(self.get(path))
        assert isinstance(value, dict)
        return value

    def post(self, path: str, body: str, content_type: str) -> int:
        """The status of the answer."""
        request = Request(self.url + path, body.encode(), {"Content-Type": content_type}, method="POST")
        try:
            with urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    def can_connect(self, service: str, address: str, port: int) -> bool:
        """Whether a program in the service's container reaches an address."""
        return self.stack.run("exec", service, "python3", "-c", _CONNECT, address, str(port), check=False).code == 0

    def address(self, service: str, network: str) -> str:
        return str(self.stack.container(service)["Networks"][f"{self.stack.name}_{network}"])

    def down(self, *arguments: str) -> None:
        """Take it down; nothing of it may be left."""
        pids = self.stack.pids().values()
        self.stack.run("down", *arguments)
        assert [pid for pid in pids if _is_alive(pid)] == []
        assert _processes_in(self.stack.directory) == []
        assert self.stack.leftovers() == []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _processes_in(directory: Path) -> list[int]:
    """Processes that work in the directory, in whatever namespace."""
    found = []
    for pid in processes_matching(""):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == str(directory):
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.fixture
def guestbook(stack: TestStack) -> Example:
    shutil.copy(REPOSITORY / "stack.example.yaml", stack.directory)
    shutil.copytree(REPOSITORY / "examples" / "guestbook", stack.directory / "examples" / "guestbook")
    stack.environment["STACKUP_FILE"] = "stack.example.yaml"
    return Example(stack, "GUESTBOOK_PORT")


def _sign(guestbook: Example, author: str, text: str) -> int:
    return guestbook.post("/messages", json.dumps({"author": author, "text": text}), "application/json")


def _messages(guestbook: Example) -> list[tuple[str, str]]:
    return [(message["author"], message["text"]) for message in guestbook.json()["messages"]]


def _latest(guestbook: Example) -> dict[str, Any]:
    latest: dict[str, Any] = guestbook.json()["messages"][0]
    return latest


def _edit_title(guestbook: Example, title: str) -> None:
    file = guestbook.stack.directory / "examples" / "guestbook" / "api.py"
    text, count = re.subn(r'^TITLE = ".*"$', f'TITLE = "{title}"', file.read_text(), flags=re.MULTILINE)
    assert count == 1
    file.write_text(text)


def test_the_guestbook_shows_its_seed_and_takes_messages(guestbook: Example) -> None:
    assert f"gateway: {guestbook.url}" in guestbook.up()
    assert "<title>Guestbook</title>" in guestbook.get()
    assert [author for author, _ in _messages(guestbook)] == ["Linus", "Grace", "Ada"]
    assert _sign(guestbook, "Zoë", "<b>two</b> words") == 201
    message = eventually(lambda: _latest(guestbook) if "words" in _latest(guestbook) else {}, what="the worker")
    assert (message["author"], message["words"]) == ("Zoë", 2)
    seed = guestbook.stack.container("seed")
    assert (seed["State"], seed["ExitCode"]) == ("exited", 0)
    assert guestbook.stack.container("gateway")["Health"] == "healthy"
    guestbook.down()


def test_saving_the_api_changes_the_page_and_restarts_nothing_else(guestbook: Example) -> None:
    guestbook.up()
    before, version = guestbook.stack.pids(), guestbook.json()["api"]["version"]
    _edit_title(guestbook, "Changed")
    eventually(lambda: "<title>Changed</title>" in guestbook.get())
    after = guestbook.stack.pids()
    assert guestbook.json()["api"]["version"] != version
    assert after.pop("api-1") != before.pop("api-1")
    assert after == before


def test_only_services_that_share_a_network_reach_one_another(guestbook: Example) -> None:
    guestbook.up()
    store = guestbook.address("store", "back")
    assert guestbook.json("/gateway")["sees"]["store"].startswith("not found")
    assert guestbook.json("/gateway")["sees"]["api"] == guestbook.address("api", "front")
    assert guestbook.can_connect("api", "store", 7000)
    assert guestbook.can_connect("api", store, 7000)
    assert not guestbook.can_connect("gateway", "store", 7000)
    assert not guestbook.can_connect("gateway", store, 7000)


def test_messages_survive_down_and_go_with_its_volume(guestbook: Example) -> None:
    guestbook.up()
    assert _sign(guestbook, "Zoë", "kept") == 201
    guestbook.down()
    guestbook.up()
    assert ("Zoë", "kept") in _messages(guestbook)
    assert len(_messages(guestbook)) == 4
    assert guestbook.json()["store"]["starts"] == 2
    guestbook.down("-v")
    guestbook.up()
    assert len(_messages(guestbook)) == 3
    assert guestbook.json()["store"]["starts"] == 1


def test_an_api_that_crashes_comes_back(guestbook: Example) -> None:
    guestbook.up()
    started = guestbook.json()["api"]["started"]
    assert guestbook.post("/crash", "{}", "application/json") == 502
    assert guestbook.json()["api"]["started"] > started
    api = eventually(lambda: (now := guestbook.stack.container("api"))["Health"] == "healthy" and now)
    assert api["Restarts"] == 1


def test_without_the_worker_messages_wait_for_it(guestbook: Example) -> None:
    guestbook.up()
    guestbook.stack.run("stop", "worker")
    assert _sign(guestbook, "Zoë", "later") == 201
    assert "words" not in _latest(guestbook)
    guestbook.stack.run("start", "worker")
    eventually(lambda: "words" in _latest(guestbook))


def test_in_the_foreground_ctrl_c_stops_the_guestbook(guestbook: Example) -> None:
    process = guestbook.stack.start("up")
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert any(line.strip() == f"{guestbook.stack.name}-gateway-1  healthy" for line in lines)
    assert "<title>Guestbook</title>" in guestbook.get()
    process.send_signal(signal.SIGINT)
    rest = list(lines)
    assert process.wait(timeout=30) == 128 + signal.SIGINT
    order = [
        index
        for service in ("gateway", "api", "store")
        for index, line in enumerate(rest)
        if f"stop {guestbook.stack.name}-{service}-1" in line
    ]
    assert len(order) == 3
    assert order == sorted(order)
    assert _processes_in(guestbook.stack.directory) == []
    assert guestbook.stack.leftovers() == []


@pytest.fixture
def notes(stack: TestStack) -> Example:
    missing = _missing_servers()
    if missing:
        reason = f"needs real servers: apt-get install {' '.join(missing)}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    shutil.copytree(REPOSITORY / "examples" / "postgres-redis-nginx", stack.directory, dirs_exist_ok=True)
    return Example(stack, "NOTES_PORT")


def _missing_servers() -> list[str]:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"))
    programs = {"redis-server": "redis-server", "nginx": "nginx"}
    missing = [package for package, program in programs.items() if shutil.which(program, path=path) is None]
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        missing.append("postgresql")
    return missing


def _write_note(notes: Example, text: str) -> None:
    # 200: urlopen has followed the redirection to the page.
    assert notes.post("/notes", f"text={text}", "application/x-www-form-urlencoded") == 200


def test_notes_go_through_nginx_to_two_replicas_postgresql_and_redis(notes: Example) -> None:
    assert f"web: {notes.url}" in notes.up()
    hosts: set[str] = set()

    def both_answered() -> bool:
        hosts.add(notes.json()["host"])
        return hosts == {f"{notes.stack.name}-api-{number}" for number in (1, 2)}

    eventually(both_answered)
    _write_note(notes, "first")
    _write_note(notes, "second")
    states = [notes.json(), notes.json()]
    assert [state["notes"] for state in states] == [["second", "first"]] * 2
    assert states[1]["source"] == "Redis"
    assert states[1]["visits"] == states[0]["visits"] + 1
    query = ("exec", "database", "sh", "postgres.sh", "psql", "-qAtc", "SELECT text FROM notes")
    assert notes.stack.run(*query).stdout.split() == ["first", "second"]
    assert "GET /state" in notes.stack.logs("web")
    notes.down()


def test_each_server_runs_as_the_user_it_asks_for(notes: Example) -> None:
    notes.up()
    for service, user in (("database", "postgres"), ("cache", "redis"), ("web", "www-data")):
        assert notes.stack.run("exec", service, "id", "-un").stdout.strip() == user


def test_nginx_reaches_neither_database_nor_cache(notes: Example) -> None:
    notes.up()
    for service, port in (("database", 5432), ("cache", 6379)):
        reaches = partial(notes.can_connect, port=port)
        assert reaches("api", notes.address(service, "back"))
        assert not reaches("web", notes.address(service, "back"))


def test_notes_survive_down_and_go_with_their_volume(notes: Example) -> None:
    notes.up()
    _write_note(notes, "kept")
    notes.down()
    notes.up()
    assert notes.json()["notes"] == ["kept"]
    assert "there is a cluster already" in notes.stack.logs("initdb")
    notes.down()
    notes.down("-v")  # also of a stack that is down already
    notes.up()
    assert notes.json()["notes"] == []


def test_the_database_that_is_killed_recovers_what_it_confirmed(notes: Example) -> None:
    notes.up()
    _write_note(notes, "confirmed")
    first = notes.stack.container("database")["Pid"]
    notes.stack.kill(first)
    again = eventually(lambda: (now := notes.stack.container("database"))["Health"] == "healthy" and now)
    assert again["Pid"] != first
    assert notes.json()["notes"] == ["confirmed"]
    assert "automatic recovery" in notes.stack.logs("database")
