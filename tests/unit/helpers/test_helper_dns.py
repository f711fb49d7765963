"""The DNS helper, asked by dnslib's client side over real sockets; the table alone with hypothesis."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSQuestion, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from stackup.helpers import dns
from stackup.helpers.dns import Table

CLIENTS = {"127.0.0.1": ["front"], "127.0.0.2": ["front", "back"]}
NAMES = {
    "front": {
        "web": ["10.64.0.2", "10.64.0.3"],
        "demo-web-1": ["10.64.0.2"],
        "demo-web-2": ["10.64.0.3"],
        "api.example.com": ["10.64.0.4"],
    },
    "back": {
        "db": ["10.64.4.2"],
        "web": ["10.64.4.3"],
        "many": [f"10.65.{n // 250}.{n % 250 + 1}" for n in range(600)],
    },
}


def ask(name: str, kind: str = "A", client: str = "127.0.0.2", tcp: bool = False, edns: int = 0) -> DNSRecord:
    query = DNSRecord.question(name, kind)
    if edns:
        query.add_ar(EDNS0(udp_len=edns))
    answer = Table(CLIENTS, NAMES).answer(bytes(query.pack()), client, tcp)
    assert answer is not None
    return DNSRecord.parse(answer)


def addresses(answer: DNSRecord) -> list[str]:
    return [str(record.rdata) for record in answer.rr]


@pytest.mark.parametrize(
    ("name", "kind", "client", "rcode", "expected"),
    [
        ("db", "A", "127.0.0.2", "NOERROR", {"10.64.4.2"}),
        ("DB", "A", "127.0.0.2", "NOERROR", {"10.64.4.2"}),
        ("db.", "A", "127.0.0.2", "NOERROR", {"10.64.4.2"}),
        ("db", "AAAA", "127.0.0.2", "NOERROR", set()),
        ("db", "MX", "127.0.0.2", "NOERROR", set()),
        ("db", "A", "127.0.0.1", "NXDOMAIN", set()),
        ("db", "A", "127.0.0.9", "REFUSED", set()),
        ("web", "A", "127.0.0.1", "NOERROR", {"10.64.0.2", "10.64.0.3"}),
        ("web", "A", "127.0.0.2", "NOERROR", {"10.64.0.2", "10.64.0.3", "10.64.4.3"}),
        ("api.example.com", "A", "127.0.0.1", "NOERROR", {"10.64.0.4"}),
        ("nobody", "A", "127.0.0.1", "NXDOMAIN", set()),
        ("nobody", "AAAA", "127.0.0.1", "NXDOMAIN", set()),
        ("www.example.com", "A", "127.0.0.1", "SERVFAIL", set()),
        ("2.4.64.10.in-addr.arpa", "PTR", "127.0.0.2", "NOERROR", {"db."}),
        ("2.0.64.10.in-addr.arpa", "PTR", "127.0.0.1", "NOERROR", {"demo-web-1."}),
        ("2.4.64.10.in-addr.arpa", "PTR", "127.0.0.1", "NXDOMAIN", set()),
    ],
)
def test_answers(name: str, kind: str, client: str, rcode: str, expected: set[str]) -> None:
    answer = ask(name, kind, client)
    assert RCODE[answer.header.rcode] == rcode
    assert set(addresses(answer)) == expected
    assert all(record.ttl == dns.TTL for record in answer.rr)
    assert answer.header.ra == 1


def test_replicas_take_turns() -> None:
    table, query = Table(CLIENTS, NAMES), bytes(DNSRecord.question("web").pack())
    first = [addresses(DNSRecord.parse(table.answer(query, "127.0.0.1", False) or b""))[0] for _ in range(4)]
    assert sorted(first) == ["10.64.0.2", "10.64.0.2", "10.64.0.3", "10.64.0.3"]


def test_the_id_and_the_spelling_of_the_question_come_back() -> None:
    table = Table(CLIENTS, NAMES)
    for number, name in ((7, "Db"), (8, "dB"), (7, "Db")):
        query = DNSRecord.question(name)
        query.header.id = number
        answer = DNSRecord.parse(table.answer(bytes(query.pack()), "127.0.0.2", False) or b"")
        assert answer.header.id == number
        assert str(answer.q.qname) == name + "."


@pytest.mark.parametrize(("edns", "limit"), [(0, 512), (100, 512), (1000, 1000), (65000, dns.EDNS_LIMIT)])
def test_what_does_not_fit_is_cut_short_and_complete_over_tcp(edns: int, limit: int) -> None:
    answer = ask("many", edns=edns)
    assert answer.header.tc == 1 and not answer.rr
    assert len(answer.pack()) <= limit
    assert len(ask("many", tcp=True).rr) == 600
    assert any(record.rtype == QTYPE.OPT for record in answer.ar) == bool(edns)


@given(packet=st.binary(max_size=600))
def test_no_packet_breaks_the_table(packet: bytes) -> None:
    answer = Table(CLIENTS, NAMES).answer(packet, "127.0.0.1", False)
    assert answer is None or answer[:2] == packet[:2]


@given(position=st.integers(0, 40), byte=st.integers(0, 255), cut=st.integers(0, 50))
def test_no_damaged_question_breaks_the_table(position: int, byte: int, cut: int) -> None:
    query = DNSRecord.question("db.demo")
    query.add_ar(EDNS0(udp_len=1232))
    packet = bytearray(query.pack())
    packet[position % len(packet)] = byte
    Table(CLIENTS, NAMES).answer(bytes(packet[: len(packet) - cut]), "127.0.0.2", True)


def test_two_questions_are_refused_and_answers_are_not_answered() -> None:
    table, query = Table(CLIENTS, NAMES), DNSRecord.question("db")
    query.add_question(DNSQuestion("web"))
    answer = DNSRecord.parse(table.answer(bytes(query.pack()), "127.0.0.2", False) or b"")
    assert RCODE[answer.header.rcode] == "FORMERR"
    assert table.answer(bytes(DNSRecord.question("db").reply().pack()), "127.0.0.2", False) is None


# --- over sockets ---------------------------------------------------------------------------------------------------


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(tcp.getsockname())
        number: int = tcp.getsockname()[1]
    monkeypatch.setattr(dns, "PORT", number)
    return number


@pytest.fixture
def helper(start: Callable[..., Any], port: int) -> Any:
    helper = start(dns.main)
    helper.tell(op="listen", address="127.0.0.1")
    helper.tell(op="table", clients=CLIENTS, names=NAMES)
    return helper


def exchange(sock: socket.socket, name: str) -> DNSRecord:
    sock.send(DNSRecord.question(name).pack())
    return DNSRecord.parse(sock.recv(4096))


@pytest.fixture
def udp(helper: Any, port: int, eventually: Callable[..., Any]) -> Any:
    """A client at 127.0.0.2, once the helper listens and has its table."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.bind(("127.0.0.2", 0))
        sock.connect(("127.0.0.1", port))

        def ready() -> bool:
            try:
                return bool(exchange(sock, "db").header.rcode != RCODE.REFUSED)
            except ConnectionRefusedError:
                return False

        eventually(ready)
        yield sock


def test_udp_and_a_new_table(helper: Any, udp: socket.socket, eventually: Callable[..., Any]) -> None:
    assert addresses(exchange(udp, "db")) == ["10.64.4.2"]
    helper.tell(op="table", clients=CLIENTS, names={"back": {"db": ["10.64.4.9"]}})
    eventually(lambda: addresses(exchange(udp, "db")) == ["10.64.4.9"])


def test_garbage_and_bad_messages_end_nothing(helper: Any, udp: socket.socket) -> None:
    for packet in (b"", b"x", b"\0" * 12, b"\xff" * 500, DNSRecord.question("db").pack()[:-1]):
        udp.send(packet)
    helper.tell(op="listen", address="192.0.2.1")
    helper.tell(op="table")
    helper.tell(op="dance")
    udp.settimeout(20)
    while True:  # answers to the garbage come first
        answer = exchange(udp, "db")
        if answer.rr:
            break
    assert addresses(answer) == ["10.64.4.2"]


def test_unlisten_closes_the_port(helper: Any, udp: socket.socket, eventually: Callable[..., Any]) -> None:
    helper.tell(op="unlisten", address="127.0.0.1")
    udp.settimeout(0.05)  # a question that the helper did not read before it closed has no answer

    def refused() -> bool:
        try:
            exchange(udp, "db")
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return False

    eventually(refused)
    assert helper.finish() == 0


def test_tcp_answers_every_question_of_a_connection(udp: socket.socket, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 20, source_address=("127.0.0.2", 0)) as sock:
        packets = [DNSRecord.question(name).pack() for name in ("db", "many", "web")]
        stream = b"".join(len(packet).to_bytes(2, "big") + packet for packet in packets)
        sock.sendall(stream[:5])  # torn within the first question
        sock.sendall(stream[5:])
        file = sock.makefile("rb")
        counts = [len(DNSRecord.parse(file.read(int.from_bytes(file.read(2), "big"))).rr) for _ in packets]
    assert counts == [1, 600, 3]


def test_a_tcp_client_that_never_reads_blocks_nobody(udp: socket.socket, port: int) -> None:
    packet = DNSRecord.question("many").pack()
    with socket.create_connection(("127.0.0.1", port), 20, source_address=("127.0.0.2", 0)) as sock:
        sock.setblocking(False)
        try:
            while True:
                sock.send((len(packet).to_bytes(2, "big") + packet) * 1000)
        except BlockingIOError:
            assert addresses(exchange(udp, "db")) == ["10.64.4.2"]


def test_nothing_is_imported_once_the_helper_runs() -> None:
    """In its place no file can be read any more."""
    script = """
import sys
from stackup.helpers.dns import Table
from dnslib import DNSRecord, EDNS0
known = set(sys.modules)
sys.meta_path.clear()
table = Table({"1.1.1.1": ["n"]}, {"n": {"db": ["10.0.0.1"]}})
for name in ("db", "x", "a.b", "1.0.0.10.in-addr.arpa"):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    packet = bytes.fromhex(sys.argv[1]).replace(b"\\x02db", labels)
    for kind in (1, 12, 28, 255):
        start = packet.index(labels) + len(labels) + 1
        packet = packet[:start] + kind.to_bytes(2, "big") + packet[start + 2 :]
        assert table.answer(packet, "1.1.1.1", False), (name, kind)
assert table.answer(b"x" * 20, "1.1.1.1", False)
assert set(sys.modules) == known, set(sys.modules) - known
"""
    query = DNSRecord.question("db", "A")
    query.add_ar(EDNS0(udp_len=1232))
    done = subprocess.run(
        [sys.executable, "-c", script, query.pack().hex()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
