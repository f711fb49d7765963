"""The small grammars: sizes, durations, commands, signals, ports, volumes, Go's way to print numbers."""

from __future__ import annotations

import pytest

from stackup.stackfile import units
from stackup.stackfile.shortforms import parse_port, parse_volume


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("1k", 1024), ("1KB", 1024), ("1.5g", 1610612736), ("512 MB", 512 << 20), (".5kib", 512)],
)
def test_sizes(text, size):
    assert units.parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "10x", "-5m", "1  m", "m", "1.2.3k", "-1"])
def test_bad_sizes(text):
    with pytest.raises(ValueError, match="is not a size"):
        units.parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("10s", 10),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        ("2d", 172800),
        ("1w", 604800),
        ("500ms", 0.5),
        ("3us", 3e-6),
    ],
)
def test_durations(text, seconds):
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "1 s", "-1s", "1s2", "1.2.3s", "1y"])
def test_bad_durations(text):
    with pytest.raises(ValueError, match=r"duration|unit"):
        units.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  ", []),
        ("a b\tc", ["a", "b", "c"]),
        ("sh -c 'a; b && c'", ["sh", "-c", "a; b && c"]),
        ('echo "a \\"b\\" $X" c\\ d', ["echo", 'a "b" $X', "c d"]),
        ("a ''", ["a", ""]),
        ("a'b'\"c\"", ["abc"]),
        ("a # b", ["a", "#", "b"]),
        (r"'a\b' \n", [r"a\b", "n"]),
        ('"a\\b"', ["a\\b"]),
    ],
)
def test_commands(text, words):
    assert units.split_command(text) == words


@pytest.mark.parametrize("text", ["a | b", "a; b", "a && b", "a > b", "a 'b", 'a "b'])
def test_bad_commands(text):
    with pytest.raises(ValueError, match=r"needs a shell|unbalanced"):
        units.split_command(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SIGTERM", "SIGTERM"),
        ("int", "SIGINT"),
        ("9", "SIGKILL"),
        ("SIGRTMIN+3", "SIGRTMIN+3"),
        ("37", "SIGRTMIN+3"),
        ("SIGRTMAX-1", "SIGRTMIN+29"),
        ("SIGIOT", "SIGABRT"),
    ],
)
def test_signals(text, name):
    assert units.parse_signal(text) == name


@pytest.mark.parametrize("text", ["", "0", "99", "SIGFOO", "SIGRTMIN+99"])
def test_bad_signals(text):
    with pytest.raises(ValueError, match="unknown signal"):
        units.parse_signal(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, ""),
        (12, "12"),
        (2.5, "2.5"),
        (1.0, "1"),
        (1e10, "1e+10"),
        (123456.0, "123456"),
        (1234567.0, "1.234567e+06"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (float("inf"), "+Inf"),
        ("x", "x"),
    ],
)
def test_scalars_are_printed_as_go_prints_them(value, text):
    assert units.go_text(value) == text


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [{"target": 80}]),
        ("8080:80", [{"target": 80, "published": "8080"}]),
        (":80", [{"target": 80}]),
        ("53:53/UDP", [{"target": 53, "published": "53", "protocol": "udp"}]),
        ("127.0.0.1:8080:80", [{"target": 80, "published": "8080", "host_ip": "127.0.0.1"}]),
        ("127.0.0.1::80", [{"target": 80, "host_ip": "127.0.0.1"}]),
        ("[::1]:8080:80", [{"target": 80, "published": "8080", "host_ip": "::1"}]),
        ("::1:8080:80", [{"target": 80, "published": "8080", "host_ip": "::1"}]),
        ("80-81", [{"target": 80}, {"target": 81}]),
        ("90-91:80-81", [{"target": 80, "published": "90"}, {"target": 81, "published": "91"}]),
        ("90-99:80", [{"target": 80, "published": "90-99"}]),
    ],
)
def test_ports(text, ports):
    assert parse_port(text) == ports


@pytest.mark.parametrize(
    "text", ["", "a", "80:", "1:2:3:4", "81-80", "1-2:1-3", "65536", "host:80:80", "[::1:80:80", "-1"]
)
def test_bad_ports(text):
    with pytest.raises(ValueError, match=r"invalid|differ"):
        parse_port(text)


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("data:/data", {"type": "volume", "source": "data", "target": "/data"}),
        ("data:/data:ro", {"type": "volume", "source": "data", "target": "/data", "read_only": True}),
        ("/data", {"type": "volume", "target": "/data"}),
        ("./a:/b", {"type": "bind", "source": "./a", "target": "/b", "bind": {"create_host_path": True}}),
        ("~:/b", {"type": "bind", "source": "~", "target": "/b", "bind": {"create_host_path": True}}),
        (
            "d:/b:nocopy,rw",
            {"type": "volume", "source": "d", "target": "/b", "read_only": False, "volume": {"nocopy": True}},
        ),
    ],
)
def test_volumes(text, mount):
    assert parse_volume(text) == (mount, [])


def test_volume_options_without_a_meaning_are_named():
    assert parse_volume("a:/b:ro,z,cached,odd")[1] == ["z", "odd"]


@pytest.mark.parametrize("text", ["", ":", "a:", ":/a", "a::/b", "a:/b:ro:z"])
def test_bad_volumes(text):
    with pytest.raises(ValueError, match="invalid spec"):
        parse_volume(text)
