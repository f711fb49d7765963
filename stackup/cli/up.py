"""`stackup up`: make the stack what its file says."""

from __future__ import annotations

from typing import Annotated

import typer

from stackup.cli import stacks
from stackup.cli.client import Message, call
from stackup.cli.output import Output
from stackup.cli.parameters import Services, Timeout
from stackup.cli.progress import ProgressWriter, summarise


def up(
    context: typer.Context,
    services: Services = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once everything has started.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return once everything is healthy; implies --detach.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(min=0, help="Seconds that --wait may take.")] = None,
    timeout: Timeout = None,
) -> None:
    """Create and start what the stack file describes; recreate what has changed; leave alone what has not.

    In the foreground the stack ends with the command: Ctrl-C stops it in order. With -d it outlives the terminal.

    Example: stackup up -d --wait && stackup logs -f
    """
    if wait_timeout is not None and not wait:
        raise typer.BadParameter("needs --wait", param_hint="--wait-timeout")
    invocation = context.obj
    source = invocation.source()
    stack = stacks.stack_of(invocation, remember=True)
    output = Output(invocation.ansi)
    detached = detach or wait
    request: Message = {
        "verb": "up",
        "source": source.to_plain(),
        "services": services or [],
        "wait": wait,
        "detach": detached,
        "attach": not detached,
        "timeout": wait_timeout,
        "stop_timeout": timeout,
    }
    progress = ProgressWriter(output, invocation.progress)
    if not detached:
        from stackup.cli.attached import Attached

        with Attached(stack, request, output, progress) as attached:
            raise typer.Exit(attached.run())
    summarise(stack.name, call(stack, request, progress, launch=True), progress)
