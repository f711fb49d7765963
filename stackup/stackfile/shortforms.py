"""The short syntaxes of `ports` and `volumes`, as the long ones. Pure; ValueError says what is wrong with the text.

Source: Compose specification, "ports" and "volumes", short syntax.
"""

from __future__ import annotations

from typing import Any

from stackup.stackfile.units import parse_address

MAX_PORT = 65535
_PROPAGATIONS = frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave"))
_ACCESS = {"ro": True, "rw": False}
_WITHOUT_EFFECT = frozenset(("cached", "delegated", "consistent", "copy"))


def parse_port(text: str) -> list[dict[str, Any]]:
    """`[[IP:][HOST[-HOST]]:]CONTAINER[-CONTAINER][/PROTOCOL]` as long forms, one for each container port."""
    numbers, _, protocol = text.partition("/")
    host, separator, target_text = numbers.rpartition(":")
    address, has_address, published_text = host.rpartition(":")
    if has_address and address.startswith("[") != address.endswith("]"):
        raise ValueError(f"invalid IP address {address!r}")
    first, last = port_range(target_text, "container port")
    port: dict[str, Any] = {"target": first}
    if has_address:
        port["host_ip"] = parse_address(address.strip("[]"))
    if protocol or "/" in text:
        port["protocol"] = protocol.lower()
    if not (separator and published_text):
        return [{**port, "target": target} for target in range(first, last + 1)]
    low, high = port_range(published_text, "host port")
    if first == last:
        return [{**port, "published": published_text}]
    if high - low != last - first:
        raise ValueError(f"the host range {published_text} and the container range {target_text} differ in length")
    return [{**port, "target": first + offset, "published": str(low + offset)} for offset in range(last - first + 1)]


def port_range(text: str, what: str) -> tuple[int, int]:
    """`N` or `N-M` as its two ends."""
    first, separator, last = text.partition("-")
    if not (first.isascii() and first.isdecimal() and (not separator or (last.isascii() and last.isdecimal()))):
        raise ValueError(f"invalid {what} {text!r}: write a number or a range like 8000-8010")
    low, high = int(first[:6]), int((last or first)[:6])
    if max(low, high) > MAX_PORT:
        raise ValueError(f"invalid {what} {text!r}: the highest is {MAX_PORT}")
    if low > high:
        raise ValueError(f"invalid {what} {text!r}: the range ends before it begins")
    return low, high


def parse_volume(text: str) -> tuple[dict[str, Any], list[str]]:
    """`[SOURCE:]TARGET[:OPTION,...]` as the long form, and the options that mean nothing here."""
    parts = text.split(":")
    if len(parts) > 3:
        raise ValueError(f"invalid spec: {text}: too many colons")
    if any(not part for part in parts):
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) == 1:
        return {"type": "volume", "target": text}, []
    source, target, *options = parts
    mount: dict[str, Any] = {"type": "volume", "source": source, "target": target}
    if source[0] in "./~":
        mount = {**mount, "type": "bind", "bind": {"create_host_path": True}}
    unknown: list[str] = []
    for option in options[0].split(",") if options else ():
        if option in _ACCESS:
            mount["read_only"] = _ACCESS[option]
        elif option in _PROPAGATIONS:
            mount["bind"] = {**mount.get("bind", {}), "propagation": option}
        elif option == "nocopy":
            mount["volume"] = {"nocopy": True}
        elif option not in _WITHOUT_EFFECT:
            unknown.append(option)
    return mount, unknown
