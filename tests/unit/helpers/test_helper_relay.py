"""The relay between real sockets: the test is both the client and the container."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import select
import socket
import struct
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from stackup.helpers import relay

ID = "8080/tcp@127.0.0.1"


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listener(sockets: ExitStack, backlog: int = 600) -> socket.socket:
    sock = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=backlog))
    sock.settimeout(20)
    return sock


def refusing_address(sockets: ExitStack) -> tuple[str, int]:
    """An address that nobody can listen on meanwhile: bound, without listen(2)."""
    sock = sockets.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    address: tuple[str, int] = sock.getsockname()
    return address


class Published:
    """A relay in front of `targets`."""

    def __init__(self, helper: Any, sockets: ExitStack, *targets: tuple[str, int]) -> None:
        self.helper, self.sockets = helper, sockets
        front = socket.create_server(("127.0.0.1", 0), backlog=600)
        self.address = front.getsockname()
        helper.tell(op="table", targets={ID: [list(target) for target in targets]})
        helper.tell([front.detach()], op="listen", id=ID)

    def connect(self) -> socket.socket:
        sock = self.sockets.enter_context(socket.create_connection(self.address, 20))
        sock.settimeout(20)
        return sock

    def pair(self, container: socket.socket) -> tuple[socket.socket, socket.socket]:
        client = self.connect()
        server = self.sockets.enter_context(container.accept()[0])
        server.settimeout(20)
        return client, server


def receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = sock.recv(size - len(data))
        assert chunk, "closed too early"
        data += chunk
    return bytes(data)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_bytes_go_both_ways(start, sockets) -> None:
    container = listener(sockets)
    client, server = Published(start(relay.main), sockets, container.getsockname()).pair(container)
    client.sendall(b"question")
    assert receive(server, 8) == b"question"
    server.sendall(b"answer")
    assert receive(client, 6) == b"answer"


@pytest.mark.parametrize("client_first", [True, False])
def test_a_half_close_goes_through_and_the_other_half_lives_on(start, sockets, client_first: bool) -> None:
    container = listener(sockets)
    pair = Published(start(relay.main), sockets, container.getsockname()).pair(container)
    one, other = pair if client_first else pair[::-1]
    one.sendall(b"all I have")
    one.shutdown(socket.SHUT_WR)
    assert receive(other, 10) == b"all I have"
    assert other.recv(1) == b""
    data = os.urandom(3_000_000)
    other.setblocking(False)
    sent, got = 0, bytearray()
    while len(got) < len(data):
        with suppress(BlockingIOError):
            sent += other.send(data[sent : sent + 100_000]) if sent < len(data) else 0
        got += one.recv(100_000)
    other.close()
    assert bytes(got) == data
    assert one.recv(1) == b""


@pytest.mark.parametrize("client_first", [True, False])
def test_a_reset_goes_through(start, sockets, client_first: bool) -> None:
    container = listener(sockets)
    pair = Published(start(relay.main), sockets, container.getsockname()).pair(container)
    one, other = pair if client_first else pair[::-1]
    one.sendall(b"x")
    receive(other, 1)
    reset(one)
    with pytest.raises(ConnectionResetError):
        other.recv(1)


def test_targets_take_turns(start, sockets) -> None:
    containers = [listener(sockets) for _ in range(3)]
    published = Published(start(relay.main), sockets, *(sock.getsockname() for sock in containers))
    clients = [published.connect() for _ in range(6)]
    servers = [sockets.enter_context(sock.accept()[0]) for sock in containers for _ in range(2)]
    assert len(clients) == len(servers) == 6


def test_a_target_that_refuses_is_passed_over(start, sockets) -> None:
    container = listener(sockets)
    published = Published(start(relay.main), sockets, refusing_address(sockets), container.getsockname())
    for _ in range(4):
        client, server = published.pair(container)
        client.sendall(b"hi")
        assert receive(server, 2) == b"hi"


@pytest.mark.parametrize("targets", [0, 2])
def test_without_a_target_that_accepts_the_client_is_reset(start, sockets, targets: int) -> None:
    published = Published(start(relay.main), sockets, *(refusing_address(sockets) for _ in range(targets)))
    with pytest.raises(ConnectionResetError):
        published.connect().recv(1)


def test_a_slow_reader_slows_its_sender_and_nobody_else(start, sockets, eventually) -> None:
    container = listener(sockets)
    helper = start(relay.main)
    published = Published(helper, sockets, container.getsockname())
    slow, sender = published.pair(container)
    sender.setblocking(False)
    chunk = os.urandom(1_000_000)
    sent = 0

    def blocked() -> bool:
        nonlocal sent
        try:
            while True:
                sent += sender.send(chunk[sent % len(chunk) :])
        except BlockingIOError:
            return unsent(sender) > 0

    eventually(blocked)
    quick, server = published.pair(container)
    quick.sendall(b"ping")
    assert receive(server, 4) == b"ping"
    ticks = helper.cpu_ticks()
    for _ in range(1000):  # a relay that spins on the blocked connection would show here
        quick.sendall(b"ping")
        assert receive(server, 4) == b"ping"
    assert helper.cpu_ticks() - ticks < 100
    sender.setblocking(True)
    sender.shutdown(socket.SHUT_WR)
    got = receive(slow, sent)
    assert slow.recv(1) == b""
    assert got == (chunk * (sent // len(chunk) + 1))[:sent]


def unsent(sock: socket.socket) -> int:
    """Bytes that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    size: int = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0" * 4))[0]
    return size


def test_five_hundred_connections_at_once(start, sockets) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip(f"needs 2000 descriptors, may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    container = listener(sockets)
    published = Published(start(relay.main), sockets, container.getsockname())
    clients = [published.connect() for _ in range(500)]
    for number, client in enumerate(clients):
        client.sendall(b"%08d" % number)
    servers = [sockets.enter_context(container.accept()[0]) for _ in clients]
    for server in servers:
        server.settimeout(20)
        server.sendall(receive(server, 8))
    for number, client in enumerate(clients):
        assert receive(client, 8) == b"%08d" % number
    sockets.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_descriptors_clients_wait_their_turn(start, sockets, eventually) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))

    container = listener(sockets)
    helper = start(relay.main, before=limit)
    published = Published(helper, sockets, container.getsockname())
    clients = [published.connect() for _ in range(40)]
    for client in clients:
        client.sendall(b"hello")
    ticks = helper.cpu_ticks()
    for _ in range(40):
        server, _ = container.accept()
        server.settimeout(20)
        assert receive(server, 5) == b"hello"
        server.sendall(b"bye")
        server.close()
        (client, *_), _, _ = select.select(clients, [], [], 20)
        assert receive(client, 3) == b"bye"
        client.close()  # which makes room for the next
        clients.remove(client)
    assert helper.cpu_ticks() - ticks < 100


def test_unlisten_refuses_new_clients_and_keeps_the_old(start, sockets, eventually) -> None:
    container = listener(sockets)
    helper = start(relay.main)
    published = Published(helper, sockets, container.getsockname())
    client, server = published.pair(container)
    helper.tell(op="dance")
    helper.tell(op="listen", id="nothing")
    helper.tell(op="unlisten", id=ID)

    def refused() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(published.address) == errno.ECONNREFUSED

    eventually(refused)
    client.sendall(b"still")
    assert receive(server, 5) == b"still"
    assert helper.finish() == 0


def test_a_new_table_counts_for_new_connections(start, sockets, eventually) -> None:
    old, new = listener(sockets), listener(sockets)
    helper = start(relay.main)
    published = Published(helper, sockets, old.getsockname())
    client, server = published.pair(old)
    helper.tell(op="table", targets={ID: [list(new.getsockname())]})
    new.setblocking(False)

    def reaches_new() -> Callable[..., Any] | bool:
        published.connect()
        try:
            new.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    eventually(reaches_new)
    client.sendall(b"old")
    assert receive(server, 3) == b"old"
