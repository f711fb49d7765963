"""Text from plain data: durations, tables, a container's status, a published address. Pure: no clock, no streams."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

_NOT_HTTP = {21, 22, 25, 53, 1433, 1521, 1883, 3306, 4222, 5432, 5672, 6379, 9042, 9092, 11211, 27017}
"""Well-known ports whose servers do not speak HTTP: their address is printed without a scheme."""


def duration(seconds: float) -> str:
    """A span in words, in the steps that `docker ps` uses."""
    if seconds < 1:
        return "Less than a second"
    minutes, hours = int(seconds // 60), int(seconds // 3600 + 0.5)
    if seconds < 60:
        return _count(int(seconds), "second")
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return _count(minutes, "minute")
    if hours <= 1:
        return "About an hour"
    if hours < 48:
        return _count(hours, "hour")
    days = hours // 24
    if days < 14:
        return _count(days, "day")
    if days < 60:
        return _count(days // 7, "week")
    return _count(days // 30, "month") if days < 730 else _count(days // 365, "year")


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def exit_text(end: Record) -> str:
    """How a run ended, for a sentence: `exited with code 1`."""
    if end.get("error"):
        return f"could not start: {end['error']}"
    if end.get("signal") is not None:
        return f"killed by {signal_name(end['signal'])}, exited with code {128 + int(end['signal'])}"
    return "exited with an unknown code" if end.get("code") is None else f"exited with code {end['code']}"


def exit_code(end: Record) -> int | None:
    """The shell's view of how a run ended: its code, or 128 + signal; None where unknown."""
    if end.get("signal") is not None:
        return 128 + int(end["signal"])
    code: int | None = end.get("code")
    return code


def signal_name(number: int) -> str:
    """`SIGKILL`, or `signal 40` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def state_of(container: Record) -> str:
    """created, running, stopping or exited."""
    return "stopping" if container["state"] == "running" and container.get("stop") else str(container["state"])


def health_of(container: Record) -> str:
    """starting, healthy or unhealthy; empty without a healthcheck."""
    health = (container.get("note") or {}).get("health") or "none"
    return "" if health == "none" or container["state"] != "running" else str(health)


def status(container: Record, now: float) -> str:
    """The STATUS column: `Up 5 seconds (healthy)`, `Exited (1) 3 seconds ago`. `now` is CLOCK_BOOTTIME, seconds."""
    state = state_of(container)
    if state == "created":
        return "Created"
    if state in ("running", "stopping"):
        health = health_of(container)
        note = f" (health: {health})" if health == "starting" else f" ({health})" if health else ""
        up = f"Up {duration(max(0.0, now - (container.get('started_at') or now)))}{note}"
        return f"{up}, stopping" if state == "stopping" else up
    runs = container.get("runs") or ()
    if not runs:
        return "Exited"
    last = runs[-1]
    if last.get("error"):
        return f"Could not start: {last['error']}"
    code = exit_code(last)
    ago = duration(max(0.0, now - last["ended_at"])) if last.get("ended_at") else "some time"
    return f"Exited ({'unknown' if code is None else code}) {ago} ago"


def address_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def published_line(published: Record) -> str:
    """What to type to reach a published port: a URL, or address and port where HTTP is unlikely."""
    place = published.get("url") or address_port(published["address"], published["port"])
    target, protocol = published.get("target"), published.get("protocol", "tcp")
    web = protocol == "tcp" and target not in _NOT_HTTP and "://" not in place
    return f"{published['service']}: {'http://' if web else ''}{place}{'' if protocol == 'tcp' else '/' + protocol}"


def ports_text(ports: Sequence[Record]) -> str:
    """The PORTS column: `127.0.0.1:8080->80/tcp`."""
    return ", ".join(
        f"{address_port(port['address'], port['port'])}->{port['target']}/{port.get('protocol', 'tcp')}"
        for port in ports
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, three blanks apart, without blanks at the ends of lines."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
