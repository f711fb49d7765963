"""The log helper with real pipes and files, read back by stackup.logreader."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import struct
import subprocess
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stackup import logreader
from stackup.helpers import logs
from stackup.launcher import protocol
from stackup.logreader import END, NOTICE, STDERR, STDOUT, Record


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


class Writer:
    """The container's side of its two pipes."""

    def __init__(self, helper: Any, container: str, run: int = 1) -> None:
        out_read, self.out = os.pipe()
        err_read, self.err = os.pipe()
        helper.tell([out_read, err_read], op="add", container=container, run=run)

    def close(self) -> None:
        os.close(self.out)
        os.close(self.err)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def records(path: Path, container: str = "web-1") -> list[Record]:
    return list(logreader.read(str(path), container))


def ended(path: Path, run: int = 1, container: str = "web-1") -> bool:
    return any(record.stream == END and record.run == run for record in records(path, container))


def texts(found: list[Record], stream: str = STDOUT) -> list[bytes]:
    return [record.text for record in found if record.stream == stream]


def test_lines_of_two_streams_are_stamped_and_numbered(start, tmp_path, directory) -> None:
    helper = start(logs.main, directory)
    writer = Writer(helper, "web-1", run=3)
    write_all(writer.out, b"one\ntwo\r\n\n")
    write_all(writer.err, b"bad \xff\x00 bytes\n")
    writer.close()
    assert helper.finish() == 0
    found = records(tmp_path)
    assert texts(found) == [b"one", b"two\r", b""]
    assert texts(found, STDERR) == [b"bad \xff\x00 bytes"]
    assert [record.seq for record in found] == [1, 2, 3, 4, 5]
    assert {record.run for record in found} == {3}
    assert found[-1].stream == END
    assert [record.ns for record in found] == sorted(record.ns for record in found)


def test_a_line_that_comes_in_pieces_is_one_line(start, tmp_path, directory, eventually) -> None:
    helper = start(logs.main, directory)
    writer = Writer(helper, "web-1")
    write_all(writer.out, b"first\nbegin")
    eventually(lambda: texts(records(tmp_path)) == [b"first"])
    write_all(writer.out, b" and end\nlast without newline")
    writer.close()
    assert helper.finish() == 0
    assert texts(records(tmp_path)) == [b"first", b"begin and end", b"last without newline"]


def test_the_end_comes_after_both_pipes(start, tmp_path, directory, eventually) -> None:
    helper = start(logs.main, directory)
    writer = Writer(helper, "web-1")
    os.close(writer.out)
    write_all(writer.err, b"still here\n")
    eventually(lambda: texts(records(tmp_path), STDERR))
    assert not ended(tmp_path)
    os.close(writer.err)
    eventually(lambda: ended(tmp_path))


@pytest.mark.parametrize("size", [64 * 1024 + 1, logs.LINE_LIMIT - 1, logs.LINE_LIMIT, 3 * logs.LINE_LIMIT + 17])
@pytest.mark.parametrize("end", [b"\nnext\n", b""])
def test_long_lines_are_read_back_whole(start, tmp_path, directory, size: int, end: bytes) -> None:
    helper = start(logs.main, directory)
    writer = Writer(helper, "web-1")
    line = os.urandom(size).replace(b"\n", b"x")
    write_all(writer.out, line + end)
    writer.close()
    assert helper.finish() == 0
    assert texts(records(tmp_path)) == [line, *end.split()]
    flags = [raw.split(b" ", 4)[3] for raw in (tmp_path / "web-1.log").read_bytes().split(b"\n") if raw]
    assert (b"O" in flags) == (size >= logs.LINE_LIMIT)


def test_nothing_is_lost_or_doubled_over_rotation(start, tmp_path, directory, monkeypatch) -> None:
    monkeypatch.setattr(logs, "SEGMENT_SIZE", 1024 * 1024)
    helper = start(logs.main, directory)
    writer = Writer(helper, "web-1")
    data = b"".join(b"line %d of a busy container\n" % number for number in range(60_000))
    write_all(writer.out, data)
    writer.close()
    assert helper.finish() == 0
    assert (tmp_path / "web-1.log.2").exists()
    found = records(tmp_path)
    assert texts(found) == data.splitlines()
    assert [record.seq for record in found] == list(range(1, 60_002))


def test_only_five_segments_are_kept(start, tmp_path, directory, monkeypatch) -> None:
    monkeypatch.setattr(logs, "SEGMENT_SIZE", 20_000)
    helper = start(logs.main, directory)
    writer = Writer(helper, "web-1")
    for number in range(100):
        write_all(writer.out, b"%d %s\n" % (number, b"x" * 30_000))
    writer.close()
    assert helper.finish() == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names - {"web-1.log"} == {f"web-1.log.{number}" for number in range(1, logs.SEGMENTS)}
    last = [int(text.split()[0]) for text in texts(records(tmp_path))]
    assert last == list(range(last[0], 100))


def test_a_restarted_helper_continues_the_numbers_and_drops_a_torn_record(
    start, tmp_path, directory, eventually
) -> None:
    first = start(logs.main, directory)
    writer = Writer(first, "web-1")
    write_all(writer.out, b"a\nb\n")
    eventually(lambda: len(records(tmp_path)) == 2)
    first.kill()
    with open(tmp_path / "web-1.log", "ab") as file:
        file.write(b"1700000000000000000 3 1 o torn by a ki")
    second = start(logs.main, directory)
    again = Writer(second, "web-1", run=2)
    write_all(again.out, b"c\n")
    again.close()
    writer.close()
    assert second.finish() == 0
    found = records(tmp_path)
    assert texts(found) == [b"a", b"b", b"c"]
    assert [record.seq for record in found] == [1, 2, 3, 4]


def test_remove_deletes_the_files_and_the_numbers_begin_anew(start, tmp_path, directory, eventually) -> None:
    helper = start(logs.main, directory)
    writer = Writer(helper, "web-1")
    write_all(writer.out, b"old\n")
    eventually(lambda: texts(records(tmp_path)))
    helper.tell(op="remove", container="web-1")
    eventually(lambda: not list(tmp_path.iterdir()))
    writer.close()
    writer = Writer(helper, "web-1")
    write_all(writer.out, b"new\n")
    writer.close()
    assert helper.finish() == 0
    assert [(record.seq, record.text) for record in records(tmp_path)] == [(1, b"new"), (2, b"")]


@pytest.mark.parametrize(
    "message",
    [
        {"op": "explode", "container": "web-1"},
        {"op": "add", "container": "../../etc/passwd", "run": 1},
        {"op": "add", "container": "web-1"},
        {"op": "remove"},
        {},
    ],
)
def test_a_bad_message_ends_nothing(start, tmp_path, directory, message: dict[str, Any]) -> None:
    helper = start(logs.main, directory)
    read, write = os.pipe()
    helper.tell([read], **message)
    writer = Writer(helper, "web-2")
    write_all(writer.out, b"alive\n")
    writer.close()
    assert helper.finish() == 0
    os.close(write)
    assert texts(records(tmp_path, "web-2")) == [b"alive"]


def test_a_link_in_place_of_the_log_is_not_followed(start, tmp_path, directory) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "web-1.log").symlink_to(victim)
    helper = start(logs.main, directory)
    writer = Writer(helper, "web-1")
    write_all(writer.out, b"attack\n")
    writer.close()
    assert helper.finish() == 0
    assert victim.read_bytes() == b"precious"


def test_a_flood_of_one_container_does_not_starve_another(start, tmp_path, directory, eventually) -> None:
    helper = start(logs.main, directory)
    loud = Writer(helper, "loud-1")
    quiet = Writer(helper, "quiet-1")
    pid = os.fork()
    if pid == 0:
        helper.channel.close()
        while True:
            os.write(loud.out, b"noise\n" * 1000)
    try:
        write_all(quiet.out, b"hello\n")
        eventually(lambda: texts(records(tmp_path, "quiet-1")) == [b"hello"])
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    loud.close()
    quiet.close()
    assert helper.finish() == 0


def test_without_descriptors_containers_wait_and_lose_nothing(start, tmp_path, directory, eventually) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))

    helper = start(logs.main, directory, before=limit)
    writers = []
    for number in range(30):
        writers.append(Writer(helper, f"web-{number}"))
        write_all(writers[-1].out, b"hello %d\n" % number)
    eventually(lambda: helper.open_descriptors() > 30)
    for writer in writers:
        writer.close()
    assert helper.finish() == 0
    for number in range(30):
        assert texts(records(tmp_path, f"web-{number}")) == [b"hello %d" % number]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_drops_whole_lines_and_says_so_later(start, small_disk, eventually) -> None:
    fd = os.open(small_disk, os.O_RDONLY | os.O_DIRECTORY)
    helper = start(logs.main, fd)
    os.close(fd)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 40_000)
    writer = Writer(helper, "web-1")
    lines = [b"%d %s" % (number, b"y" * 90) for number in range(1000)]
    write_all(writer.out, b"\n".join(lines) + b"\n")
    write_all(writer.err, b"on a full disk\n")
    eventually(lambda: unread(writer.out) + unread(writer.err) == 0)
    ballast.unlink()
    write_all(writer.out, b"the disk has room again\n")
    eventually(lambda: b"the disk has room again" in texts(records(small_disk)))
    writer.close()
    assert helper.finish() == 0
    found = records(small_disk)
    notices = texts(found, NOTICE)
    assert notices and all(os.strerror(errno.ENOSPC).encode() in notice for notice in notices)
    lost = sum(int(notice.split()[1]) for notice in notices)
    kept = [record for record in found if record.stream in (STDOUT, STDERR)]
    assert lost > 0 and lost + len(kept) == 1002
    assert all(record.text in {*lines, b"on a full disk", b"the disk has room again"} for record in kept)
    assert [record.seq for record in found] == sorted({record.seq for record in found})
    assert found[-1].stream == END


def unread(pipe: int) -> int:
    """Bytes in a pipe."""
    size: int = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]
    return size


@settings(max_examples=60, deadline=None)
@given(
    writes=st.lists(
        st.tuples(st.booleans(), st.binary(max_size=300) | st.sampled_from([b"\n", b"\n\n", b"a\nb", b" o x \n"])),
        max_size=12,
    ),
    limit=st.integers(1, 400),
)
def test_whatever_is_written_is_read_back_line_by_line(writes: list[tuple[bool, bytes]], limit: int) -> None:
    ours, theirs = protocol.pair()
    pipes = {flag: os.pipe() for flag in (False, True)}
    with tempfile.TemporaryDirectory() as path, pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "LINE_LIMIT", limit)
        patch.setattr(logs, "SEGMENT_SIZE", 2_000)
        patch.setattr(logs, "READ_SIZE", 100)
        protocol.send(ours, {"op": "add", "container": "c", "run": 1}, [pipes[False][0], pipes[True][0]])
        for flag, data in writes:
            os.write(pipes[flag][1], data)
        for fds in pipes.values():
            os.close(fds[0])
            os.close(fds[1])
        ours.close()
        directory = os.open(path, os.O_RDONLY)
        logs.main(theirs, directory)
        os.close(directory)
        theirs.close()
        found = list(logreader.read(path, "c"))
    for flag, stream in ((False, STDOUT), (True, STDERR)):
        lines = b"".join(data for which, data in writes if which is flag).split(b"\n")
        assert texts(found, stream) == lines[:-1] + [lines[-1]] * bool(lines[-1])
    assert found[-1].stream == END
    assert [record.ns for record in found] == sorted(record.ns for record in found)
