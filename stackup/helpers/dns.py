"""The DNS helper: answers the names of a stack's networks to the containers on them. It forwards nothing.

A forked child of the launcher in the stack's network namespace. A container, known by its source address, resolves the
names of its own networks. Other names: a single label does not exist (NXDOMAIN), the rest fails at once (SERVFAIL), so
that nobody waits for a resolver that is not there. Wire format: dnslib; RFC 1035, 6891 (EDNS), 7766 (TCP).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dnslib import AAAA, CLASS, EDNS0, OPCODE, PTR, QTYPE, RCODE, RR, A, DNSLabel, DNSRecord

from stackup.helpers.loop import READ, WRITE, Loop

PORT = 53
TTL = 1
UDP_LIMIT = 512
"""Bytes of an answer over UDP without EDNS (RFC 1035, 4.2.1)."""

EDNS_LIMIT = 1232
"""Bytes over UDP at most: what fits any path without fragments (DNS flag day 2020)."""

TCP_LIMIT = 65535
CACHE_LIMIT = 4096
ROTATIONS = 8
TCP_CONNECTIONS = 256
TCP_IDLE_SECONDS = 10.0
_BATCH = 64
_BACKLOG = 128 * 1024


def main(channel: socket.socket) -> None:
    """Answer until the channel is closed.

    Messages: {"op": "listen"|"unlisten", "address": IP}; {"op": "table", "clients": {ip: [network, ...]},
    "names": {network: {name: [ip, ...]}}} replaces the whole table.
    """
    DnsHelper(channel).run()


class Table:
    """Who may resolve what. Answers are encoded once and kept as long as the table."""

    def __init__(self, clients: Mapping[str, Sequence[str]], names: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self._clients = {client: tuple(networks) for client, networks in clients.items()}
        self._names = {
            network: {name.lower(): tuple(addresses) for name, addresses in known.items()}
            for network, known in names.items()
        }
        self._owners = {network: _owners(known) for network, known in self._names.items()}
        self._cache: dict[tuple[bytes, tuple[str, ...] | None, bool], list[bytes]] = {}

    def answer(self, packet: bytes, client: str, tcp: bool) -> bytes | None:
        """The answer to a packet from the address `client`, or None for what deserves none."""
        networks = self._clients.get(client)
        key = packet[2:], networks, tcp
        variants = self._cache.get(key)
        if variants is None:
            variants = self._variants(packet, networks, tcp)
            if not variants:
                return None
            if len(self._cache) >= CACHE_LIMIT:
                self._cache.clear()
            if len(packet) <= UDP_LIMIT:
                self._cache[key] = variants
        if len(variants) > 1:
            variants.append(variants.pop(0))
        return packet[:2] + variants[0]

    def _variants(self, packet: bytes, networks: tuple[str, ...] | None, tcp: bool) -> list[bytes]:
        """The possible answers without their id: one for each order of the addresses."""
        if len(packet) < 12 or packet[2] & 0x80:
            return []  # no header, or itself an answer
        try:
            query = DNSRecord.parse(packet)
        except Exception:  # whatever dnslib makes of bytes that a container chose
            return [_error(packet, RCODE.FORMERR)]
        if query.header.opcode != OPCODE.QUERY:
            return [_error(packet, RCODE.NOTIMP)]
        if len(query.questions) != 1:
            return [_error(packet, RCODE.FORMERR)]
        reply = query.reply(ra=1, aa=1)
        reply.header.rcode, reply.header.tc = RCODE.NOERROR, 0  # dnslib keeps the question's
        limit = TCP_LIMIT if tcp else UDP_LIMIT
        if any(record.rtype == QTYPE.OPT for record in query.ar):
            asked = max(record.rclass for record in query.ar if record.rtype == QTYPE.OPT)
            limit = limit if tcp else max(UDP_LIMIT, min(EDNS_LIMIT, asked))
            reply.add_ar(EDNS0(udp_len=EDNS_LIMIT))
        question = query.questions[0]
        if networks is None or question.qclass != CLASS.IN:
            reply.header.rcode = RCODE.REFUSED
            return [_encode(reply, limit)]
        name = b".".join(question.qname.label).decode("latin-1").lower()
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            owner = self._owner(name, networks)
            if owner is None:
                reply.header.rcode = RCODE.NXDOMAIN
            elif question.qtype in (QTYPE.PTR, QTYPE.ANY):
                reply.add_answer(RR(question.qname, QTYPE.PTR, ttl=TTL, rdata=PTR(_label(owner))))
            return [_encode(reply, limit)]
        addresses = self._addresses(name, networks)
        if addresses is None:
            reply.header.rcode = RCODE.SERVFAIL if "." in name else RCODE.NXDOMAIN
            return [_encode(reply, limit)]
        records = [record for address in addresses for record in _address_record(question, address)]
        variants = []
        for first in range(max(1, min(len(records), ROTATIONS))):
            reply.rr = records[first:] + records[:first]
            variants.append(_encode(reply, limit))
        return variants

    def _addresses(self, name: str, networks: tuple[str, ...]) -> list[str] | None:
        found = [self._names[network][name] for network in networks if name in self._names.get(network, {})]
        return list(dict.fromkeys(address for addresses in found for address in addresses)) if found else None

    def _owner(self, name: str, networks: tuple[str, ...]) -> str | None:
        address = ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
        for network in networks:
            if address in self._owners.get(network, {}):
                return self._owners[network][address]
        return None


def _owners(names: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The name of each address: the first that no other address shares, else the first."""
    owners: dict[str, str] = {}
    for name, addresses in sorted(names.items(), key=lambda item: len(item[1]) > 1):
        for address in addresses:
            owners.setdefault(address, name)
    return owners


def _address_record(question: Any, address: str) -> list[Any]:
    kind, data = (QTYPE.AAAA, AAAA) if ":" in address else (QTYPE.A, A)
    if question.qtype not in (kind, QTYPE.ANY):
        return []
    return [RR(question.qname, kind, ttl=TTL, rdata=data(address))]


def _label(name: str) -> Any:
    # As bytes: for text dnslib uses the idna codec, whose module this process can no longer import.
    return DNSLabel(name.encode("ascii", "replace").split(b"."))


def _encode(reply: Any, limit: int) -> bytes:
    data = bytes(reply.pack())
    if len(data) > limit:
        reply.rr, reply.header.tc = [], 1
        data = bytes(reply.pack())
    return data[2:]


def _error(packet: bytes, rcode: int) -> bytes:
    """A bare header for what cannot be parsed: the opcode and RD of the question, QR and RA set."""
    return struct.pack("!BBHHHH", 0x80 | packet[2] & 0x79, 0x80 | rcode, 0, 0, 0, 0)


@dataclass(eq=False, slots=True)
class Connection:
    """A TCP client. Both buffers hold messages behind two bytes of length. `active`: used since the last check."""

    sock: socket.socket
    client: str
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    active: bool = True


class DnsHelper:
    def __init__(self, channel: socket.socket) -> None:
        self._loop = Loop(channel, self._handle)
        self._table = Table({}, {})
        self._sockets: dict[str, list[socket.socket]] = {}
        self._connections: set[Connection] = set()

    def run(self) -> None:
        self._loop.run(after_events=lambda: None, finished=lambda: True)

    def _handle(self, message: dict[str, Any], _: list[int]) -> None:
        match message["op"]:
            case "listen":
                self._listen(message["address"])
            case "unlisten":
                for sock in self._sockets.pop(message["address"], []):
                    self._loop.unwatch(sock.fileno())
                    sock.close()
            case "table":
                self._table = Table(message["clients"], message["names"])
            case other:
                raise ValueError(f"unknown operation: {other!r}")

    def _listen(self, address: str) -> None:
        if address in self._sockets:
            return
        with contextlib.ExitStack() as undo:
            sockets = []
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                sock = undo.enter_context(socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind))
                sock.setblocking(False)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((address, PORT))
                sockets.append(sock)
            sockets[1].listen(128)
            undo.pop_all()
        self._sockets[address] = sockets
        callbacks: list[Callable[[socket.socket, int], None]] = [self._receive, self._accept]
        for sock, callback in zip(sockets, callbacks, strict=True):
            self._loop.watch(sock.fileno(), READ, partial(callback, sock))

    # --- UDP ---

    def _receive(self, sock: socket.socket, _: int) -> None:
        for _ in range(_BATCH):
            try:
                packet, peer = sock.recvfrom(TCP_LIMIT)
            except BlockingIOError:
                return
            answer = self._table.answer(packet, peer[0], tcp=False)
            if answer is not None:
                with contextlib.suppress(OSError):  # a lost datagram, as on any network: the client asks again
                    sock.sendto(answer, peer)

    # --- TCP ---

    def _accept(self, listener: socket.socket, _: int) -> None:
        if len(self._connections) >= TCP_CONNECTIONS:
            self._loop.rest(listener.fileno(), 0.1)
            return
        try:
            sock, peer = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # the client has gone, or no descriptor is left: accept(2) has a dozen of these
            self._loop.rest(listener.fileno(), 0.1)
            return
        sock.setblocking(False)
        connection = Connection(sock, peer[0])
        self._connections.add(connection)
        self._loop.watch(sock.fileno(), READ, partial(self._serve, connection))
        self._loop.call_later(TCP_IDLE_SECONDS, partial(self._check, connection))

    def _serve(self, connection: Connection, _: int) -> None:
        connection.active = True
        try:
            if len(connection.unsent) < _BACKLOG:
                data = connection.sock.recv(65536)
                if not data:
                    self._close(connection)
                    return
                connection.received += data
        except BlockingIOError:
            pass
        except OSError:  # reset by the client
            self._close(connection)
            return
        self._answer_all(connection)
        try:
            while connection.unsent:
                del connection.unsent[: connection.sock.send(connection.unsent)]
        except BlockingIOError:
            pass
        except OSError:  # reset by the client
            self._close(connection)
            return
        reading = READ if len(connection.unsent) < _BACKLOG else 0
        self._loop.change(connection.sock.fileno(), reading | (WRITE if connection.unsent else 0))

    def _answer_all(self, connection: Connection) -> None:
        received = connection.received
        while len(received) >= 2 and len(received) >= 2 + int.from_bytes(received[:2], "big"):
            length = int.from_bytes(received[:2], "big")
            answer = self._table.answer(bytes(received[2 : 2 + length]), connection.client, tcp=True)
            del received[: 2 + length]
            if answer is not None:
                connection.unsent += len(answer).to_bytes(2, "big") + answer

    def _check(self, connection: Connection) -> None:
        """Close a connection on which nothing has happened since the last time."""
        if connection not in self._connections:
            return
        if not connection.active:
            self._close(connection)
            return
        connection.active = False
        self._loop.call_later(TCP_IDLE_SECONDS, partial(self._check, connection))

    def _close(self, connection: Connection) -> None:
        self._loop.unwatch(connection.sock.fileno())
        self._connections.discard(connection)
        connection.sock.close()
