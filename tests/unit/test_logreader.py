"""The log reader on files that the tests write, rotate and remove as the log helper does."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackup import logreader
from stackup.helpers import logs
from stackup.logreader import END, STDERR, STDOUT, Follower, Record, sanitize


class Log:
    """Writes a container's log through the helper's own append and rotate."""

    def __init__(self, directory: Path, container: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.name, self.seq = directory, container, 0

    def write(self, *texts: bytes, flag: str = "o", run: int = 1, ns: int = 0) -> None:
        data = b""
        for text in texts:
            self.seq += 1
            data += b"%d %d %d %s %s\n" % (ns or self.seq, self.seq, run, flag.encode(), text)
        self.raw(data)

    def raw(self, data: bytes) -> None:
        fd = os.open(self.directory, os.O_RDONLY)
        assert logs.append(fd, self.name + ".log", data)[1] is None
        os.close(fd)

    def rotate(self) -> None:
        fd = os.open(self.directory, os.O_RDONLY)
        logs.rotate(fd, self.name + ".log")
        os.close(fd)

    def remove(self) -> None:
        for name in logs.segments(self.name):
            (self.directory / name).unlink(missing_ok=True)


def texts(records: Iterator[Record] | list[Record]) -> list[bytes]:
    return [record.text for record in records]


def test_read_goes_through_all_segments(tmp_path: Path) -> None:
    log = Log(tmp_path, "web-1")
    for number in range(4):
        log.write(b"%d" % number, run=number // 2 + 1)
        log.rotate()
    log.write(b"4", run=3)
    assert texts(logreader.read(str(tmp_path), "web-1")) == [b"0", b"1", b"2", b"3", b"4"]
    assert texts(logreader.read(str(tmp_path), "web-1", run=2)) == [b"2", b"3"]


def test_what_is_not_there_is_empty(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert list(logreader.read(missing, "web-1")) == []
    assert logreader.tail(missing, "web-1", 5) == []
    assert logreader.containers(missing) == []


def test_a_record_has_all_its_fields(tmp_path: Path) -> None:
    Log(tmp_path, "web-1").write(b"a b  c ", flag="e", run=7, ns=12)
    assert list(logreader.read(str(tmp_path), "web-1")) == [Record("web-1", 12, 1, 7, STDERR, b"a b  c ")]


def test_pieces_are_put_together_per_stream(tmp_path: Path) -> None:
    log = Log(tmp_path, "web-1")
    log.write(b"be", flag="O")
    log.write(b"ERR", flag="E")
    log.write(b"gin", flag="O")
    log.write(b" end")
    log.write(b"OR", flag="e")
    log.write(b"cut", flag="O")
    log.write(b"", flag="x")
    found = list(logreader.read(str(tmp_path), "web-1"))
    assert [(record.stream, record.text) for record in found] == [
        (STDOUT, b"begin end"),
        (STDERR, b"ERROR"),
        (STDOUT, b"cut"),
        (END, b""),
    ]


def test_a_line_without_end_is_handed_out_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logreader, "JOIN_LIMIT", 10)
    log = Log(tmp_path, "web-1")
    log.write(b"123456", b"789012", b"3456", flag="O")
    log.write(b"end")
    found = list(logreader.read(str(tmp_path), "web-1"))
    assert [(record.text, record.partial) for record in found] == [(b"123456789012", True), (b"3456end", False)]


@pytest.mark.parametrize("garbage", [b"\n", b"x\n", b"1 2 3\n", b"1 2 3 q text\n", b"a b c o text\n", b"\0\0\0\n"])
def test_what_is_no_record_is_left_out(tmp_path: Path, garbage: bytes) -> None:
    log = Log(tmp_path, "web-1")
    log.write(b"before")
    log.raw(garbage)
    log.write(b"after")
    assert texts(logreader.read(str(tmp_path), "web-1")) == [b"before", b"after"]


@given(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=5), lines=st.integers(0, 60), width=st.integers(0, 9000))
def test_tail_is_the_end_of_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], lines: int, width: int
) -> None:
    directory = tmp_path_factory.mktemp("logs")
    log = Log(directory, "web-1")
    for size in sizes:
        log.rotate()
        log.write(*(b"%d" % number + b"x" * width for number in range(size)))
    log.write(b"", flag="x")
    everything = [record for record in logreader.read(str(directory), "web-1") if record.stream != END]
    assert logreader.tail(str(directory), "web-1", lines) == everything[max(0, len(everything) - lines) :]


def test_merged_goes_by_time(tmp_path: Path) -> None:
    web, db = Log(tmp_path, "web-1"), Log(tmp_path, "db-1")
    for ns in range(1, 1001):
        (web if ns % 3 else db).write(b"%d" % ns, ns=ns)
    names = logreader.containers(str(tmp_path))
    assert names == ["db-1", "web-1"]
    assert texts(logreader.merged(str(tmp_path), names)) == [b"%d" % ns for ns in range(1, 1001)]
    assert texts(logreader.merged(str(tmp_path), names, lines=2)) == [b"996", b"998", b"999", b"1000"]


# --- following ------------------------------------------------------------------------------------------------------


def readable(follower: Follower) -> bool:
    poll = select.poll()
    poll.register(follower, select.POLLIN)
    return bool(poll.poll(0))


def drain(follower: Follower) -> list[bytes]:
    """Everything up to now. inotify(7) queues events before the write returns, so nothing has to be waited for."""
    found: list[Record] = []
    while readable(follower):
        found += follower.read()
    return texts(found)


@pytest.mark.parametrize(("lines", "past"), [(0, []), (2, [b"2", b"3"]), (None, [b"1", b"2", b"3"])])
def test_follow_gives_the_past_and_then_what_comes(tmp_path: Path, lines: int | None, past: list[bytes]) -> None:
    log = Log(tmp_path, "web-1")
    log.write(b"1", b"2", b"3")
    with Follower(str(tmp_path), lines=lines) as follower:
        assert drain(follower) == past
        assert not readable(follower)
        log.write(b"4")
        assert readable(follower)
        assert drain(follower) == [b"4"]


def test_what_is_written_before_the_first_read_is_not_missed(tmp_path: Path) -> None:
    log = Log(tmp_path, "web-1")
    log.write(b"old")
    with Follower(str(tmp_path), lines=0) as follower:
        log.write(b"new")
        log.rotate()
        log.write(b"newer")
        assert drain(follower) == [b"new", b"newer"]


def test_follow_survives_rotation_at_any_time(tmp_path: Path) -> None:
    log = Log(tmp_path, "web-1")
    with Follower(str(tmp_path)) as follower:
        written, found = [], []
        for number in range(60):
            written.append(b"%d" % number)
            log.write(written[-1])
            if number % 3 == 0:
                log.rotate()
            if number % 7 == 0:
                found += drain(follower)
        assert found + drain(follower) == written


def test_follow_goes_on_where_too_much_was_rotated_away(tmp_path: Path) -> None:
    log = Log(tmp_path, "web-1")
    log.write(b"old")
    with Follower(str(tmp_path)) as follower:
        for number in range(2 * logs.SEGMENTS):
            log.rotate()
            log.write(b"%d" % number)
        assert drain(follower) == [b"%d" % number for number in range(logs.SEGMENTS, 2 * logs.SEGMENTS)]


def test_a_container_that_is_made_anew_under_the_same_name_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = Log(tmp_path, "web-1")
    log.write(b"old", ns=100)
    with Follower(str(tmp_path)) as follower:
        log.remove()
        again = Log(tmp_path, "web-1")
        again.write(b"new", ns=200)
        assert drain(follower) == [b"new"]


def test_containers_that_come_later_are_followed_if_they_are_wanted(tmp_path: Path) -> None:
    with Follower(str(tmp_path), {"web-1", "web-2"}) as follower:
        Log(tmp_path, "web-2").write(b"from web-2")
        Log(tmp_path, "db-1").write(b"from db-1")
        assert drain(follower) == [b"from web-2"]


def test_a_directory_that_comes_later_or_anew_is_followed(tmp_path: Path) -> None:
    directory = tmp_path / "stacks" / "demo" / "logs"
    with Follower(str(directory)) as follower:
        assert drain(follower) == []
        Log(directory, "web-1").write(b"first", ns=1)
        assert drain(follower) == [b"first"]
        (tmp_path / "stacks" / "demo").rename(tmp_path / "stacks" / ".removed")
        Log(tmp_path / "stacks" / ".removed" / "logs", "web-1").remove()
        (tmp_path / "stacks" / ".removed" / "logs").rmdir()
        (tmp_path / "stacks" / ".removed").rmdir()
        Log(directory, "web-1").write(b"second", ns=2)
        assert drain(follower) == [b"second"]


def test_a_torn_record_waits_for_its_rest(tmp_path: Path) -> None:
    log = Log(tmp_path, "web-1")
    with Follower(str(tmp_path)) as follower, open(tmp_path / "web-1.log", "ab", buffering=0) as file:
        file.write(b"1 1 1 o be")
        assert drain(follower) == []
        file.write(b"gin\n")
        assert drain(follower) == [b"begin"]
        log.seq = 1
        log.write(b"next")
        assert drain(follower) == [b"next"]


def test_iteration_blocks_until_something_comes(tmp_path: Path) -> None:
    Log(tmp_path, "web-1").write(b"past")
    pid = 0
    with Follower(str(tmp_path), lines=None) as follower:
        records = iter(follower)
        assert next(records).text == b"past"
        pid = os.fork()
        if pid == 0:
            Log(tmp_path, "db-1").write(b"now")
            os._exit(0)
        assert next(records).text == b"now"
    os.waitpid(pid, 0)


def test_a_backlog_larger_than_one_read_stays_readable(tmp_path: Path) -> None:
    log = Log(tmp_path, "web-1")
    with Follower(str(tmp_path)) as follower:
        log.write(*(b"x" * 1000 for _ in range(2000)))
        assert len(drain(follower)) == 2000


# --- terminals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (b"plain text", "plain text"),
        ("grüße ✓".encode(), "grüße ✓"),
        (b"tab\there", "tab\there"),
        (b"windows\r", "windows"),
        (b"10%\r20%", "10%\ufffd20%"),
        (b"bad \xff byte", "bad \ufffd byte"),
        (b"\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        (b"\x1b[1;31mopen", "\x1b[1;31mopen\x1b[0m"),
        (b"\x1b[2J\x1b[Hcleared", "cleared"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bcreset", "reset"),
        (b"bell\x07 nul\x00 del\x7f", "bell\ufffd nul\ufffd del\ufffd"),
        ("c1 \x9b2J".encode(), "c1 \ufffd2J"),
        (b"cut off \x1b[", "cut off "),
    ],
)
def test_sanitize(text: bytes, clean: str) -> None:
    assert sanitize(text) == clean


def test_sanitize_without_colours() -> None:
    assert sanitize(b"\x1b[31mred\x1b[0m", colours=False) == "red"


@given(st.binary())
def test_nothing_but_colours_and_tabs_controls_the_terminal(text: bytes) -> None:
    clean = sanitize(text, colours=False)
    assert not any((ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160 for char in clean)
