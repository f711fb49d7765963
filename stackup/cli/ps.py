"""`stackup ps`: the containers as their launcher knows them. Works without a supervisor; loads nothing heavy."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from stackup.cli import render, stacks
from stackup.cli.output import Output
from stackup.cli.parameters import Format, Services, TableFormat

Record = Mapping[str, Any]

_COMMAND_WIDTH = 20
"""Characters of a command that `docker compose ps` shows."""


def ps(
    context: typer.Context,
    services: Services = None,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also the containers that have exited.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only names.")] = False,
    format: TableFormat = Format.TABLE,
) -> None:
    """List the stack's containers.

    Example: stackup ps -a --format json
    """
    output = Output(context.obj.ansi)
    stack = stacks.stack_of(context.obj)
    found = stacks.containers(stack)
    if found is None and stack.read("desired") is not None:
        output.note(f"{stack.name} is not running; `stackup up` starts it, `stackup down` removes what is left of it")
    stacks.check_services(stack, services or (), found or ())
    shown = [
        record
        for record in found or ()
        if (not services or stacks.spec(record)["service"] in services)
        and (everything or render.state_of(record) != "exited")
    ]
    published = published_by_container(stack.read("stack") or {}, shown)
    now, wall = time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
    if quiet:
        lines = [record["name"] for record in shown]
    elif format is Format.JSON:
        lines = [
            json.dumps(to_json(stack.name, record, published[record["name"]], now=now, wall=wall), ensure_ascii=False)
            for record in shown
        ]
    else:
        rows = [row(record, published[record["name"]], now) for record in shown]
        lines = [render.table(("NAME", "SERVICE", "STATUS", "PORTS", "PID"), rows)]
    for line in lines:
        output.line(line)


def published_by_container(record: Record, containers: Sequence[Record]) -> dict[str, list[Record]]:
    """The published ports of each container. A port is a service's: its first running container is shown with it."""
    ports: dict[str, list[Record]] = {container["name"]: [] for container in containers}
    holders: dict[str, str] = {}
    for container in containers:
        if container["state"] == "running":
            holders.setdefault(stacks.spec(dict(container))["service"], container["name"])
    for port in record.get("published") or ():
        if port["service"] in holders:
            ports[holders[port["service"]]].append(port)
    return ports


def row(container: Record, published: Sequence[Record], now: float) -> tuple[str, ...]:
    pid = container.get("pid") if container["state"] == "running" else None
    return (
        container["name"],
        stacks.spec(dict(container))["service"],
        render.status(container, now),
        render.ports_text(published),
        str(pid or ""),
    )


def to_json(stack: str, container: Record, published: Sequence[Record], *, now: float, wall: float) -> dict[str, Any]:
    """One object with the keys of `docker compose ps --format json`, and Pid, InnerPid and Restarts of our own.

    `now` is CLOCK_BOOTTIME and `wall` the time of day, both in seconds and read at once.
    """
    spec = stacks.spec(dict(container))
    running = container["state"] == "running"
    runs = container.get("runs") or ()
    started = container.get("started_at")
    first = runs[0].get("started_at") if runs else started
    begun = first if first is not None else started
    mounts = spec.get("mounts") or ()
    command = shlex.join(spec["command"])
    if len(command) > _COMMAND_WIDTH:
        command = command[: _COMMAND_WIDTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return {
        "Command": f'"{command}"',
        "CreatedAt": _time_of_day(wall - (now - begun)) if begun is not None else "",
        "ExitCode": (render.exit_code(runs[-1]) if runs else 0) if container["state"] == "exited" else 0,
        "Health": render.health_of(container),
        "ID": container["name"],
        "Image": "",
        "Labels": ",".join(f"{key}={value}" for key, value in spec.get("labels") or ()),
        "LocalVolumes": str(sum(mount["kind"] == "volume" for mount in mounts)),
        "Mounts": ",".join(_mount_name(mount) for mount in mounts),
        "Name": container["name"],
        "Names": container["name"],
        "Networks": dict(container["record"].get("addresses") or ()),
        "Ports": render.ports_text(published),
        "Project": stack,
        "Publishers": [
            {
                "URL": port["address"],
                "TargetPort": port["target"],
                "PublishedPort": port["port"],
                "Protocol": port.get("protocol", "tcp"),
            }
            for port in published
        ],
        "RunningFor": f"{render.duration(max(0.0, now - begun))} ago" if begun is not None else "",
        "Service": spec["service"],
        "Size": "",
        "State": render.state_of(container),
        "Status": render.status(container, now),
        "Pid": container.get("pid") if running else None,
        "InnerPid": 1 if running else None,
        "Restarts": max(0, container["run"] - 1),
    }


def _mount_name(mount: Record) -> str:
    return str(mount.get("source") or mount.get("volume") or mount["kind"])


def _time_of_day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(seconds))
