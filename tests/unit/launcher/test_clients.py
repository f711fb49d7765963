"""The launcher's connections: what a client that does not read must still get, once it reads again."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from stackup.launcher import protocol
from stackup.launcher.server import Client, Server


@pytest.fixture
def server() -> Iterator[Server]:
    proc = os.open("/proc", os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        made = Server(listener, {}, {"host_proc": proc, "logs": proc})
        yield made
    for client in made._clients:
        client.sock.close()
    made._rtnetlink.close()
    made._epoll.close()
    os.close(proc)


def connect(server: Server) -> tuple[Client, socket.socket]:
    mine, theirs = protocol.pair()
    server.add_starter(theirs)
    (client,) = server._clients
    mine.setblocking(False)
    return client, mine


def everything(server: Server, client: Client, mine: socket.socket) -> list[dict[str, Any]]:
    """Read as the client does while the launcher goes round its loop."""
    received: list[dict[str, Any]] = []
    while True:
        try:
            message = protocol.receive(mine)
        except BlockingIOError:
            if not client.unsent and not client.behind:
                return received
            server._hear(client)
            continue
        assert message is not None
        received.append(message[0])
        for fd in message[1]:
            os.close(fd)


def test_no_answer_and_no_end_of_a_command_is_lost(server: Server) -> None:
    client, mine = connect(server)
    sent = 0
    while len(client.unsent) < 50:
        server._send(client, {"command": sent, "exit": {}, "padding": "x" * 1000})
        sent += 1
    received = everything(server, client, mine)
    assert [message["command"] for message in received] == list(range(sent))
    mine.close()


def test_changes_are_left_out_while_the_client_does_not_read_and_told_as_a_list_after(server: Server) -> None:
    client, mine = connect(server)
    client.watching = True
    while not client.unsent:
        server._send(client, {"command": 1, "padding": "x" * 1000})
    from stackup.launcher.containers import Container

    container = Container("web", {}, {}, [])
    for _ in range(1000):
        server._changed(container)
    assert len(client.unsent) == 1, "nothing piles up"
    received = everything(server, client, mine)
    assert [message for message in received if "container" in message] == []
    assert [message for message in received if "resync" in message] == [received[-1]]
    mine.close()


def test_descriptors_of_what_waits_are_kept_and_let_go_with_the_client(server: Server) -> None:
    client, mine = connect(server)
    client.starter = False
    read, write = os.pipe()
    while len(client.unsent) < 3:
        server._send(client, {"terminal": True, "padding": "x" * 1000}, [read])
    os.close(read)
    mine.close()
    server._hear(client)
    assert server._clients == []
    with pytest.raises(BrokenPipeError):
        os.write(write, b"x")
    os.close(write)


def test_a_request_that_makes_no_sense_is_refused_and_nothing_more(server: Server) -> None:
    client, mine = connect(server)
    for number, request in enumerate(
        [
            {"op": "nothing"},
            {"op": "stop"},
            {"op": "socket", "family": "x", "type": 1, "protocol": 0},
            {"op": "create", "name": "a", "cgroups": None},
            {},
        ]
    ):
        protocol.send(mine, request | {"id": number})
        server._hear(client)
        answer = protocol.receive(mine)
        assert answer is not None and answer[0]["id"] == number and answer[0]["error"]
    mine.close()
