"""`exec` on a terminal: raw mode, both directions, window size, and the terminal restored on every way out."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Place
from .fakes import PATIENCE, Client, FakeSupervisor


class Screen:
    """The outer terminal: what a person types and sees."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self.seen = b""
        self.attributes = termios.tcgetattr(self.slave)
        self.resize(30, 100)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def expect(self, text: bytes) -> None:
        while text not in self.seen:
            assert select.select([self.master], [], [], PATIENCE)[0], f"{text!r} not in {self.seen!r}"
            self.seen += os.read(self.master, 65536)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def screen() -> Iterator[Screen]:
    made = Screen()
    yield made
    made.close()


def start(place: Place, screen: Screen) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        place.command("exec", "web", "sh"),
        cwd=place.project,
        env=place.environ,
        stdin=screen.slave,
        stdout=screen.slave,
        stderr=screen.slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # SIGWINCH goes to the terminal's foreground group
    )


def size(fd: int) -> tuple[int, ...]:
    return struct.unpack("4H", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))[:2]


def ping(connection: Client) -> None:
    connection.result(pid=1)


def read_until(fd: int, text: bytes) -> bytes:
    data = b""
    while text not in data:
        assert select.select([fd], [], [], PATIENCE)[0], f"{text!r} not in {data!r}"
        data += os.read(fd, 65536)
    return data


def open_raw_pty() -> tuple[int, int]:
    import tty

    master, slave = os.openpty()
    tty.setraw(slave)
    return master, slave


def test_a_conversation(place: Place, screen: Screen) -> None:
    facts: dict[str, Any] = {}

    def serve(connection: Client) -> None:
        assert connection.request["tty"] is True
        assert len(connection.fds) == 0
        master, slave = open_raw_pty()
        connection.send({"event": {"type": "pty"}}, [master])
        os.close(master)
        os.write(slave, b"$ ")
        facts["typed"] = read_until(slave, b"ls\x03\r")
        facts["size"] = size(slave)
        screen.resize(50, 120)
        os.write(slave, b"resized?")
        facts["again"] = read_until(slave, b"y")
        facts["resized"] = size(slave)
        os.write(slave, b"x" * 100_000 + b" bye")
        os.close(slave)
        connection.result(exit_code=5)

    supervisor = FakeSupervisor(place.control, ping, serve)
    process = start(place, screen)
    screen.expect(b"$ ")
    screen.type(b"ls\x03\r")  # in raw mode Ctrl-C is a character for the program inside
    screen.expect(b"resized?")
    screen.type(b"y")
    screen.expect(b" bye")
    assert process.wait(PATIENCE) == 5
    supervisor.finish()
    assert facts["typed"] == b"ls\x03\r"
    assert facts["size"] == (30, 100)
    assert facts["resized"] == (50, 120)
    assert screen.seen.count(b"x") == 100_000
    assert termios.tcgetattr(screen.slave) == screen.attributes


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_from_outside_restores_the_terminal(place: Place, screen: Screen, number: int) -> None:
    ptys: list[int] = []

    def serve(connection: Client) -> None:
        master, slave = open_raw_pty()
        ptys.append(slave)
        connection.send({"event": {"type": "pty"}}, [master])
        os.close(master)
        os.write(slave, b"ready")
        connection.sock.recv(1)

    supervisor = FakeSupervisor(place.control, ping, serve)
    process = start(place, screen)
    screen.expect(b"ready")
    process.send_signal(number)
    assert process.wait(PATIENCE) == 128 + number
    supervisor.finish()
    os.close(ptys[0])
    assert termios.tcgetattr(screen.slave) == screen.attributes


def test_a_supervisor_that_dies_restores_the_terminal(place: Place, screen: Screen) -> None:
    def serve(connection: Client) -> None:
        master, slave = open_raw_pty()
        connection.send({"event": {"type": "pty"}}, [master])
        os.close(master)
        os.write(slave, b"ready")
        read_until(slave, b"go")
        os.close(slave)
        connection.close()

    supervisor = FakeSupervisor(place.control, ping, serve)
    process = start(place, screen)
    screen.expect(b"ready")
    screen.type(b"go")
    assert process.wait(PATIENCE) == 1
    screen.expect(b"the supervisor ended before it had answered")
    supervisor.finish()
    assert termios.tcgetattr(screen.slave) == screen.attributes


def test_a_command_that_cannot_be_started(place: Place, screen: Screen) -> None:
    def serve(connection: Client) -> None:
        connection.event("note", level="warning", text="start the program: sh: not found")
        connection.result(exit_code=127)

    supervisor = FakeSupervisor(place.control, ping, serve)
    process = start(place, screen)
    screen.expect(b"sh: not found")
    assert process.wait(PATIENCE) == 127
    supervisor.finish()
