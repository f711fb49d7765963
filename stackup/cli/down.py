"""`stackup down`: end a stack and remove what belongs to it."""

from __future__ import annotations

from typing import Annotated

import typer

from stackup.cli import stacks
from stackup.cli.client import call
from stackup.cli.output import Output
from stackup.cli.parameters import Timeout
from stackup.cli.progress import ProgressWriter
from stackup.statedir import StackDir


def down(
    context: typer.Context,
    volumes: Annotated[
        bool, typer.Option("--volumes", "-v", help="Also remove the stack's volumes: their data!")
    ] = False,
    timeout: Timeout = None,
) -> None:
    """Stop the stack in reverse order and remove its containers and networks. Volumes stay unless -v says so.

    Example: stackup down
    """
    stack = stacks.stack_of(context.obj, remember=True)
    progress = ProgressWriter(Output(context.obj.ansi), context.obj.progress)
    if not stack.exists() and not (volumes and has_volumes(stack)):
        stack.state.finish_removals()
        progress.say(f"{stack.name}: nothing to do")
        return
    request = {"verb": "down", "volumes": volumes, "timeout": timeout, "kill": False}
    call(stack, request, progress, until_gone=True)


def has_volumes(stack: StackDir) -> bool:
    """Whether volumes of this stack have outlived it."""
    state = stack.state
    return any((state.volume(name).read() or {}).get("stack") == stack.name for name in state.volumes())
