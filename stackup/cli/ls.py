"""`stackup ls`: the stacks of this user that have a state directory, and how many containers run in each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from stackup.cli import render, stacks
from stackup.cli.output import Output
from stackup.cli.parameters import Format, TableFormat
from stackup.statedir import StackDir, StateDir


def ls(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also stacks without a running container.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only names.")] = False,
    format: TableFormat = Format.TABLE,
) -> None:
    """List the stacks on this machine that are yours.

    Example: stackup ls -a
    """
    output = Output(context.obj.ansi)
    state = StateDir()
    found = [entry for entry in map(describe, map(state.stack, state.stacks())) if everything or entry["Running"]]
    if quiet:
        lines = [entry["Name"] for entry in found]
    elif format is Format.JSON:
        keys = ("Name", "Status", "ConfigFiles")
        lines = [json.dumps([{key: entry[key] for key in keys} for entry in found], ensure_ascii=False)]
    else:
        rows = [(entry["Name"], entry["Status"], entry["ConfigFiles"]) for entry in found]
        lines = [render.table(("NAME", "STATUS", "CONFIG FILES"), rows)]
    for line in lines:
        output.line(line)


def describe(stack: StackDir) -> dict[str, Any]:
    """Name, status (`running(3), exited(1)`), files, and whether anything runs."""
    counts = Counter(render.state_of(record) for record in stacks.containers(stack) or ())
    desired: Mapping[str, Any] = stack.read("desired") or {}
    files = (desired.get("project") or {}).get("files") or ()
    return {
        "Name": stack.name,
        "Status": ", ".join(f"{state}({count})" for state, count in sorted(counts.items())) or "not running",
        "ConfigFiles": ",".join(files),
        "Running": counts["running"] + counts["stopping"] > 0,
    }
