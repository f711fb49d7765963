"""Reads what the log helper wrote (the format: stackup/helpers/logs.py). Changes nothing; safe beside the writer.

A `Cursor` is a place in one container's log that outlives rotation. `tail`, `read` and `merged` read what is there,
`Follower` also what comes. `directory` is a stack's logs directory (StackDir.logs).
"""

from __future__ import annotations

import heapq
import os
import re
import select
from collections.abc import Collection, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass

from stackup.files import host_errors

STDOUT, STDERR, END, NOTICE = "stdout", "stderr", "end", "notice"
"""Streams of a record. `end`: nothing more comes of this run. `notice`: stackup itself, about lost lines."""

JOIN_LIMIT = 8 * 1024 * 1024
"""Bytes of one line that are put together from its pieces."""

_STREAMS = {b"o": STDOUT, b"e": STDERR, b"x": END, b"!": NOTICE, b"O": STDOUT, b"E": STDERR}
_SEGMENT = re.compile(r"(.+)\.log(?:\.[0-9]+)?", re.ASCII)
_SEGMENTS = 9
"""More than the writer keeps, so that it may keep more."""

_CHUNK = 256 * 1024
_HEADER = 64


@dataclass(frozen=True, slots=True)
class Record:
    """One line of a container. `ns` is Unix time in nanoseconds; `partial` text goes on in the stream's next record."""

    container: str
    ns: int
    seq: int
    run: int
    stream: str
    text: bytes
    partial: bool = False


class Parser:
    """Turns one container's bytes into records and puts the pieces of long lines together."""

    def __init__(self, container: str) -> None:
        self._container = container
        self._pieces: dict[tuple[int, str], bytearray] = {}

    def feed(self, data: bytes) -> list[Record]:
        """The records in whole lines of `data`. What is no record (a write that a kill cut short) is left out."""
        records: list[Record] = []
        for line in data.split(b"\n"):
            try:
                ns, seq, run, flag, text = line.split(b" ", 4)
                record = Record(self._container, int(ns), int(seq), int(run), _STREAMS[flag], text)
            except (ValueError, KeyError):
                continue
            if flag in b"OE":
                self._keep(record, records)
            elif record.stream == END:
                self._give_up(record, records)
                records.append(record)
            else:
                records.append(self._whole(record) if self._pieces else record)
        return records

    def _keep(self, record: Record, records: list[Record]) -> None:
        pieces = self._pieces.setdefault((record.run, record.stream), bytearray())
        pieces += record.text
        if len(pieces) >= JOIN_LIMIT:
            records.append(_with_text(self._whole(record, b""), partial=True))

    def _whole(self, record: Record, text: bytes | None = None) -> Record:
        pieces = self._pieces.pop((record.run, record.stream), b"")
        return _with_text(record, bytes(pieces) + (record.text if text is None else text)) if pieces else record

    def _give_up(self, end: Record, records: list[Record]) -> None:
        """At the end of a run, hand out the lines whose rest has been lost."""
        for run, stream in sorted(self._pieces):
            if run == end.run:
                text = bytes(self._pieces.pop((run, stream)))
                records.append(Record(end.container, end.ns, end.seq, run, stream, text))


def _with_text(record: Record, text: bytes | None = None, partial: bool = False) -> Record:
    text = record.text if text is None else text
    return Record(record.container, record.ns, record.seq, record.run, record.stream, text, partial)


class Cursor:
    """A place in a container's log: a segment, known by its first record, and an offset in it.

    No descriptor stays open, so that a thousand containers can be followed.
    """

    def __init__(self, directory: str, container: str) -> None:
        self._path = os.path.join(directory, container + ".log")
        self._header = b""
        self._offset = 0

    def next(self, size: int = _CHUNK) -> bytes:
        """Whole records from here on, about `size` bytes; empty when there are no more now. Raises HostError."""
        with host_errors("read", self._path):
            segments = self._open(self._header)
            try:
                if not segments:
                    return b""
                if segments[-1][0] != self._header:  # at the beginning, or what we read is gone
                    self._header, self._offset = segments[-1][0], 0
                while True:
                    data = self._read(segments[-1][1], size)
                    if data or len(segments) == 1:
                        return data
                    # A segment that is not the newest any more was closed by the writer: its end is final.
                    os.close(segments.pop()[1])
                    self._header, self._offset = segments[-1][0], 0
            finally:
                for _, fd in segments:
                    os.close(fd)

    def tail(self, lines: int, run: int | None = None, *, ends: bool = False) -> list[Record]:
        """The last lines that are there now (all runs, or one). The cursor moves behind them. Raises HostError.

        With `ends`, the `end` records count as lines and are among them.
        """
        container = os.path.basename(self._path)[: -len(".log")]
        with host_errors("read", self._path):
            segments = self._open(None)
            try:
                self._header, self._offset = (segments[0][0], _end(segments[0][1])) if segments else (b"", 0)
                if lines <= 0:
                    return []
                data, block = b"", _CHUNK // 4
                for number, (_, fd) in enumerate(segments):
                    end = self._offset if number == 0 else os.fstat(fd).st_size
                    while end > 0:
                        begin = max(0, end - block)
                        data = os.pread(fd, end - begin, begin) + data
                        end, block = begin, block * 2
                        if data.count(b"\n") > lines:
                            records = _lines(container, data[data.find(b"\n") + 1 :] if begin else data, run, ends)
                            if len(records) > lines:
                                return records[len(records) - lines :]
                records = _lines(container, data, run, ends)
                return records[max(0, len(records) - lines) :]
            finally:
                for _, fd in segments:
                    os.close(fd)

    def _open(self, wanted: bytes | None) -> list[tuple[bytes, int]]:
        """(header, descriptor) of the segments, newest first, up to the one with header `wanted`.

        Rotation moves files towards higher numbers, the direction of this walk: it may meet one twice, and miss none.
        """
        found: list[tuple[bytes, int]] = []
        for number in range(_SEGMENTS):
            try:
                fd = os.open(f"{self._path}.{number}" if number else self._path, os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                continue
            header = b" ".join(os.pread(fd, _HEADER, 0).split(b" ", 2)[:2])
            if b" " not in header or any(header == known for known, _ in found):
                os.close(fd)
                continue
            found.append((header, fd))
            if header == wanted:
                break
        return found

    def _read(self, fd: int, size: int) -> bytes:
        while True:
            data = os.pread(fd, size, self._offset)
            whole = data.rfind(b"\n") + 1
            if whole or len(data) < size:
                self._offset += whole
                return data[:whole]
            size *= 4  # a record larger than the chunk


def _end(fd: int) -> int:
    """The offset behind the last whole record."""
    size = os.fstat(fd).st_size
    block = _CHUNK // 4
    while True:
        begin = max(0, size - block)
        whole = os.pread(fd, size - begin, begin).rfind(b"\n") + 1
        if whole or begin == 0:
            return begin + whole
        block *= 4


def _lines(container: str, data: bytes, run: int | None, ends: bool) -> list[Record]:
    records = Parser(container).feed(data)
    return [record for record in records if (ends or record.stream != END) and (run is None or record.run == run)]


def containers(directory: str) -> list[str]:
    """Names of the containers that have a log, sorted. Raises HostError."""
    with host_errors("list", directory):
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return []
    return sorted({match[1] for match in map(_SEGMENT.fullmatch, names) if match})


def read(directory: str, container: str, run: int | None = None) -> Iterator[Record]:
    """Every record that is there now, in order: of one run or of all, the `end` records too. Raises HostError."""
    for record in _drain(Cursor(directory, container), Parser(container)):
        if run is None or record.run == run:
            yield record


def tail(directory: str, container: str, lines: int, run: int | None = None, *, ends: bool = False) -> list[Record]:
    """The last lines of a container, with `ends` also its `end` records. Raises HostError."""
    return Cursor(directory, container).tail(lines, run, ends=ends)


def merged(directory: str, names: Collection[str], lines: int | None = None) -> Iterator[Record]:
    """The records of several containers by time; with `lines`, only the last lines of each. Raises HostError."""
    if lines is None:
        return _merge([_drain(Cursor(directory, name), Parser(name)) for name in sorted(names)])
    return _merge([iter(Cursor(directory, name).tail(lines)) for name in sorted(names)])


def _drain(cursor: Cursor, parser: Parser) -> Iterator[Record]:
    while data := cursor.next():
        yield from parser.feed(data)


def _merge(sources: list[Iterator[Record]]) -> Iterator[Record]:
    return heapq.merge(*sources, key=lambda record: record.ns)


class Follower:
    """The records of a directory's containers as they come, also of containers and directories that come later.

    `names` says whose (anything with `in`; None: all). `lines` is how much of the past comes first: None everything, a
    number the last lines of each container. Put it into a poll loop and call `read` when it is readable, or iterate.
    """

    def __init__(self, directory: str, names: Container[str] | None = None, lines: int | None = 0) -> None:
        """Nothing that is written after this call is missed. Raises HostError."""
        from stackup.inotify import Inotify  # ctypes: 5 ms that reading the past need not pay

        self._directory, self._names = os.path.abspath(directory), names
        self._inotify = Inotify()
        self._backlog = os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._inotify, select.EPOLLIN)
        self._epoll.register(self._backlog, select.EPOLLIN)
        self._watch, self._watched = -1, ""
        self._followed: dict[str, tuple[Cursor, Parser]] = {}
        self._changed: set[str] = set()
        self._attach()
        past = []
        for name in self._existing():
            cursor, parser = self._follow(name)
            past.append(_drain(cursor, parser) if lines is None else iter(cursor.tail(lines)))
        self._past: Iterator[Record] = _merge(past)

    def fileno(self) -> int:
        """Readable (POLLIN) while `read` has more."""
        return self._epoll.fileno()

    def read(self) -> Iterator[Record]:
        """What is there now, by time: first the past, then a bounded part of what came. To be exhausted; never blocks.

        Raises HostError.
        """
        yield from self._past
        with suppress(BlockingIOError):
            os.eventfd_read(self._backlog)
        self._notice()
        found = []
        for name in sorted(self._changed):
            cursor, parser = self._follow(name)
            if data := cursor.next():
                found.append(iter(parser.feed(data)))
            else:
                self._changed.discard(name)
        if self._changed:
            os.eventfd_write(self._backlog, 1)
        yield from _merge(found)

    def __iter__(self) -> Iterator[Record]:
        while True:
            self._epoll.poll()
            yield from self.read()

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._epoll.close()
        self._inotify.close()
        backlog, self._backlog = self._backlog, -1
        if backlog >= 0:
            os.close(backlog)

    def _follow(self, name: str) -> tuple[Cursor, Parser]:
        if name not in self._followed:
            self._followed[name] = Cursor(self._directory, name), Parser(name)
        return self._followed[name]

    def _existing(self) -> list[str]:
        return [name for name in containers(self._directory) if self._names is None or name in self._names]

    def _notice(self) -> None:
        from stackup import inotify

        lost = False
        for watch, mask, file in self._inotify.read():
            if (
                self._watched != self._directory
                or mask & inotify.OVERFLOW
                or watch != self._watch
                or mask & (inotify.DELETE_SELF | inotify.MOVE_SELF)
            ):
                lost = True
            elif (match := _SEGMENT.fullmatch(file)) and (self._names is None or match[1] in self._names):
                self._changed.add(match[1])
        if lost:
            self._attach()
            self._changed.update(self._existing())

    def _attach(self) -> None:
        """Watch the directory or, where it is missing, its nearest ancestor until it comes."""
        from stackup import inotify

        events = inotify.MODIFY | inotify.CREATE | inotify.MOVED_TO | inotify.DELETE_SELF | inotify.MOVE_SELF
        path = self._directory
        while True:
            with suppress(FileNotFoundError, NotADirectoryError):
                watch = self._inotify.watch(path, events | inotify.ONLYDIR)
                if self._watch not in (-1, watch):
                    self._inotify.unwatch(self._watch)
                self._watch, self._watched = watch, path
                # What is missing may have come before the watch did.
                if path == self._directory or not os.path.isdir(self._below(path)):
                    return
                path = self._directory
                continue
            path = os.path.dirname(path)

    def _below(self, ancestor: str) -> str:
        """The next directory on the way from an ancestor to the directory."""
        return os.path.join(ancestor, os.path.relpath(self._directory, ancestor).split(os.sep)[0])


_ESCAPES = re.compile(
    r"(\x1b\[[0-9;:]*m)"  # SGR, ECMA-48 8.3.117: kept
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # other control sequences
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system commands and other strings
    r"|\x1b[ -/]*[0-~]"  # other escape sequences
    r"|([\x00-\x08\x0a-\x1f\x7f-\x9f])"  # what remains of C0 and C1, without the tab
)
_RESET = "\x1b[0m"


def sanitize(text: bytes, *, colours: bool = True) -> str:
    """Text of a container made harmless for a terminal.

    Tabs and, with `colours`, colours are kept (and reset at the end). Other escape sequences are removed, a carriage
    return at the end too; other control characters become U+FFFD, as do bytes that are not UTF-8.
    """
    decoded = text.decode("utf-8", "replace").rstrip("\r")
    if decoded.isprintable():
        return decoded
    coloured = False

    def replace(match: re.Match[str]) -> str:
        nonlocal coloured
        if match[1] and colours:
            coloured = True
            return match[1]
        return "\ufffd" if match[2] else ""

    clean = _ESCAPES.sub(replace, decoded)
    return clean + _RESET if coloured and not clean.endswith(_RESET) else clean
