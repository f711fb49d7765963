"""`stackup config`: the stack file as stackup understands it. Changes nothing."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from stackup.cli.output import Output


class ConfigFormat(str, Enum):
    YAML = "yaml"
    JSON = "json"


def config(
    context: typer.Context,
    format: Annotated[ConfigFormat, typer.Option("--format", help="How to print.")] = ConfigFormat.YAML,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only check; say nothing if all is well.")] = False,
    services: Annotated[bool, typer.Option("--services", help="Only the names of the services.")] = False,
) -> None:
    """Check the stack file and print it with everything resolved.

    Example: stackup -f stack.yaml config --quiet && echo correct
    """
    from stackup.stackfile import dump, load, resolve

    output = Output(context.obj.ansi)
    stack = load(context.obj.source())
    desired = resolve(stack)
    for warning in stack.warnings:
        output.warn(warning)
    if quiet:
        return
    if services:
        for name in sorted({container.service for container in desired.containers}):
            output.line(name)
        return
    output.line(dump(stack, format=format.value).rstrip("\n"))
