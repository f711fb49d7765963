"""The log helper: reads every container's pipes, stamps and splits their lines, writes and rotates the log files.

A forked child of the launcher. One record per line of NAME.log, read by stackup/logreader.py:

    <unix ns> <seq> <run> <flag> <text>
    flag: o e   a line of stdout, stderr        O E  a piece of one, continued by the stream's next record
          x     the run's pipes are at EOF      !    a notice of stackup: lines were lost

`seq` counts per container, over runs, rotations and restarts of this helper; a gap in it is lost lines. Text is bytes,
never decoded. A full pipe slows its writer; a full disk drops lines and counts them. Only SIGKILL ends this process.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from stackup.helpers.loop import READ, Loop, raise_descriptor_limit

READ_SIZE = 256 * 1024
LINE_LIMIT = 1024 * 1024
"""Bytes of one line that are kept together."""

CROWDED_LINE_LIMIT = 64 * 1024
"""The same while unfinished lines of all streams hold more than UNFINISHED_LIMIT bytes."""

UNFINISHED_LIMIT = 32 * 1024 * 1024
SEGMENT_SIZE = 10 * 1024 * 1024
SEGMENTS = 5
RETRY_SECONDS = 1.0

_NAME = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,199}", re.ASCII)
_TAIL_SIZE = 64 * 1024


@dataclass(eq=False, slots=True)
class Stream:
    """One pipe of a run. `unfinished` is a line's beginning; `split` is True when pieces of that line are written."""

    fd: int
    log: Log
    run: Run
    flag: str
    unfinished: bytearray = field(default_factory=bytearray)
    split: bool = False


@dataclass(eq=False, slots=True)
class Run:
    number: int
    open_streams: int


@dataclass(eq=False, slots=True)
class Log:
    """One container's log. `lost` lines since `reason`; `ended` runs whose `x` record is still to be written."""

    name: str
    seq: int = 0
    run: int = 0
    pending: list[bytes] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    lost: int = 0
    lost_seq: int = 0
    reason: str = ""


def main(channel: socket.socket, directory_fd: int) -> None:
    """Keep the logs in the directory until the channel is closed and all pipes are at EOF.

    Messages: {"op": "add", "container": NAME, "run": N} with the read ends of stdout and stderr;
    {"op": "remove", "container": NAME} deletes the container's files.
    """
    raise_descriptor_limit()
    LogHelper(channel, directory_fd).run()


class LogHelper:
    def __init__(self, channel: socket.socket, directory_fd: int) -> None:
        self._directory = directory_fd
        self._loop = Loop(channel, self._handle)
        self._logs: dict[str, Log] = {}
        self._streams: dict[int, Stream] = {}
        self._changed: dict[str, Log] = {}
        self._unfinished = 0
        self._retrying = False

    def run(self) -> None:
        self._loop.run(self._write_changed, finished=lambda: not self._streams)
        self._write_changed()

    # --- messages ---

    def _handle(self, message: dict[str, Any], fds: list[int]) -> None:
        name = message["container"]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"not a container name: {name!r}")
        match message["op"]:
            case "add":
                self._add(name, int(message["run"]), fds)
            case "remove":
                self._remove(name)
            case other:
                raise ValueError(f"unknown operation: {other!r}")

    def _add(self, name: str, number: int, fds: list[int]) -> None:
        log = self._logs.get(name)
        if log is None:
            log = self._logs[name] = Log(name)
            try:
                log.seq = recover(self._directory, name)
            except (OSError, ValueError, IndexError) as error:  # the container's pipes are worth more than its numbers
                self._loop.complain(f"cannot read the old log of {name}: {error}")
        log.run = number
        run = Run(number, 0)
        for flag in "oe":
            if not fds:
                break
            os.set_blocking(fds[0], False)
            stream = Stream(fds[0], log, run, flag)
            self._loop.watch(stream.fd, READ, partial(self._read, stream))
            self._streams[fds.pop(0)] = stream
            run.open_streams += 1

    def _remove(self, name: str) -> None:
        for stream in [stream for stream in self._streams.values() if stream.log.name == name]:
            self._unfinished -= len(stream.unfinished)
            self._close(stream)
        self._logs.pop(name, None)
        self._changed.pop(name, None)
        for path in segments(name):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path, dir_fd=self._directory)

    # --- pipes ---

    def _read(self, stream: Stream, _: int) -> None:
        try:
            data = os.read(stream.fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:  # a terminal whose other side is gone says EIO (pty(7)) where a pipe says EOF
            data = b""
        log = stream.log
        self._changed[log.name] = log
        self._unfinished -= len(stream.unfinished)
        if data:
            self._split(stream, data)
        else:
            self._end(stream)
        self._unfinished += len(stream.unfinished)

    def _split(self, stream: Stream, data: bytes) -> None:
        unfinished = stream.unfinished
        if b"\n" in data:
            lines = data.split(b"\n")
            if unfinished:
                lines[0] = bytes(unfinished) + lines[0]
                unfinished.clear()
            unfinished += lines.pop()
            self._append(stream, lines, stream.flag)
            stream.split = False
        else:
            unfinished += data
        crowded = self._unfinished > UNFINISHED_LIMIT
        if len(unfinished) >= (CROWDED_LINE_LIMIT if crowded else LINE_LIMIT):
            self._append(stream, [bytes(unfinished)], stream.flag.upper())
            unfinished.clear()
            stream.split = True

    def _end(self, stream: Stream) -> None:
        if stream.unfinished or stream.split:
            self._append(stream, [bytes(stream.unfinished)], stream.flag)
            stream.unfinished.clear()
        self._close(stream)
        if stream.run.open_streams == 0:
            stream.log.ended.append(stream.run.number)

    def _append(self, stream: Stream, lines: list[bytes], flag: str) -> None:
        log = stream.log
        now, middle = time.time_ns(), f" {stream.run.number} {flag} ".encode()
        log.pending += [b"%d %d%b%b\n" % (now, seq, middle, line) for seq, line in enumerate(lines, log.seq + 1)]
        log.seq += len(lines)

    def _close(self, stream: Stream) -> None:
        self._loop.unwatch(stream.fd)
        del self._streams[stream.fd]
        os.close(stream.fd)
        stream.run.open_streams -= 1

    # --- files ---

    def _write_changed(self) -> None:
        changed, self._changed = self._changed, {}
        for log in changed.values():
            self._write(log)
        if not self._retrying and any(log.lost or log.ended for log in changed.values()):
            self._retrying = True
            self._loop.call_later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        self._retrying = False
        self._changed |= {log.name: log for log in self._logs.values() if log.lost or log.ended}

    def _write(self, log: Log) -> None:
        """Write all that is pending in one go. What does not fit whole is dropped and counted."""
        now = time.time_ns()
        notice = b""
        if log.lost:
            text = f"stackup: {log.lost} lines lost: {log.reason}"
            notice = b"%d %d %d ! %b\n" % (now, log.lost_seq, log.run, text.encode())
        lines = b"".join(log.pending)
        log.pending.clear()
        last_line_seq = log.seq
        ends = b"".join(b"%d %d %d x \n" % (now, log.seq + n, run) for n, run in enumerate(log.ended, 1))
        log.seq += len(log.ended)
        data = notice + lines + ends
        if not data:
            return
        written, error = append(self._directory, log.name + ".log", data)
        if error is None:
            log.lost = 0
            log.ended.clear()
        else:
            if notice and written >= len(notice):
                log.lost = 0
            lost = lines.count(b"\n", max(0, written - len(notice)))
            if lost:
                log.lost, log.lost_seq = log.lost + lost, last_line_seq
                log.reason = error.strerror or str(error)
            del log.ended[: ends.count(b"\n", 0, max(0, written - len(notice) - len(lines)))]
            if written == len(data):
                self._loop.complain(f"cannot rotate the log of {log.name}: {error.strerror}")


def segments(name: str) -> list[str]:
    """File names of a container's log, newest first."""
    return [f"{name}.log", *(f"{name}.log.{number}" for number in range(1, SEGMENTS))]


def append(directory: int, path: str, data: bytes) -> tuple[int, OSError | None]:
    """Append whole records to a file and rotate it when it is full.

    Returns the bytes that stay written and the error that stopped it. What a full disk cut in two is taken back.
    """
    written = 0
    try:
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        return 0, error
    try:
        before = os.fstat(fd).st_size
        try:
            if before and os.pread(fd, 1, before - 1) != b"\n":
                before += os.write(fd, b"\n")  # taking back has failed
            rest = memoryview(data)
            while rest:
                count = os.write(fd, rest)
                written += count
                rest = rest[count:]
        except OSError as error:
            written = data.rfind(b"\n", 0, written) + 1
            with contextlib.suppress(OSError):  # the next call notices
                os.ftruncate(fd, before + written)
            return written, error
    finally:
        os.close(fd)
    if before + written >= SEGMENT_SIZE:
        try:
            rotate(directory, path)
        except OSError as error:
            return written, error
    return written, None


def rotate(directory: int, path: str) -> None:
    """NAME.log becomes NAME.log.1 and so on; the oldest goes. Each step is a rename(2): a kill loses no segment."""
    names = [path, *(f"{path}.{number}" for number in range(1, SEGMENTS))]
    for older, newer in zip(reversed(names), list(reversed(names))[1:], strict=False):
        with contextlib.suppress(FileNotFoundError):
            os.rename(newer, older, src_dir_fd=directory, dst_dir_fd=directory)


def recover(directory: int, name: str) -> int:
    """The last `seq` in a container's files, 0 where there is none. A torn last record is cut off.

    Raises OSError.
    """
    for path in segments(name):
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            continue
        try:
            record, end = _last_record(fd)
            os.ftruncate(fd, end)
        finally:
            os.close(fd)
        if record:
            return int(record.split(b" ", 2)[1])
    return 0


def _last_record(fd: int) -> tuple[bytes, int]:
    """The last whole line of a file, and the offset behind it."""
    size = os.fstat(fd).st_size
    wanted = _TAIL_SIZE
    while True:
        start = max(0, size - wanted)
        tail = os.pread(fd, size - start, start)
        end = tail.rfind(b"\n")
        begin = tail.rfind(b"\n", 0, end) if end > 0 else -1
        if begin >= 0 or start == 0:
            return tail[begin + 1 : end], start + end + 1
        wanted *= 4
