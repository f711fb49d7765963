"""`stackup plan`: what `up` would do, each action with its cause. Starts nothing, changes nothing."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from stackup.cli import stacks
from stackup.cli.output import Output
from stackup.cli.parameters import PlainFormat, Services, TextFormat

CHANGES = 100
"""Exit code of `--detailed-exitcode` where `up` would act: 1 and 2 mean errors."""


def plan(
    context: typer.Context,
    services: Services = None,
    format: PlainFormat = TextFormat.TEXT,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 100 where `up` would change something, else 0.")
    ] = False,
) -> None:
    """Show what `up` would do and why, and do nothing.

    Example: stackup plan --detailed-exitcode || echo "not up to date"
    """
    from stackup.core import planview
    from stackup.stackfile import load
    from stackup.supervisor.preview import preview

    output = Output(context.obj.ansi)
    loaded = load(context.obj.source())
    for warning in loaded.warnings:
        output.warn(warning)
    directory = stacks.stack_of(context.obj)
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    forecast = preview(loaded, directory, stacks.containers(directory) or (), services or (), now)
    if format is TextFormat.JSON:
        output.line(json.dumps(planview.to_plain(forecast), ensure_ascii=False))
    else:
        output.line(planview.render(forecast, now=now))
    if detailed_exitcode and forecast.actions:
        raise typer.Exit(CHANGES)
