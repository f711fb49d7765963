"""`stackup logs`: what the containers wrote. Reads the log files; needs neither supervisor nor launcher."""

from __future__ import annotations

import selectors
from collections.abc import Iterable
from typing import Annotated

import typer

from stackup import logreader
from stackup.cli import stacks
from stackup.cli.logview import LogView, OfServices
from stackup.cli.output import Output
from stackup.cli.parameters import Services
from stackup.logreader import Record
from stackup.statedir import StackDir


def logs(
    context: typer.Context,
    services: Services = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until the stack ends.")] = False,
    tail: Annotated[str, typer.Option("--tail", "-n", metavar="N|all", help="Only the last N lines of each.")] = "all",
    timestamps: Annotated[bool, typer.Option("--timestamps", "-t", help="Begin each line with its time.")] = False,
    no_log_prefix: Annotated[bool, typer.Option("--no-log-prefix", help="Do not begin lines with a name.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours.")] = False,
) -> None:
    """Print what the containers wrote, also those that have exited.

    Example: stackup logs -f --tail 50 api
    """
    lines = _count(tail)
    stack = stacks.stack_of(context.obj)
    wanted = OfServices(stack.name, services or ())
    names = [name for name in logreader.containers(stack.logs) if name in wanted]
    if services:
        stacks.check_services(stack, services)
    output = Output(context.obj.ansi)
    colour = output.out_colour and not no_color
    view = LogView(stack.name, colour=colour, prefix=not no_log_prefix, timestamps=timestamps)
    view.expect(names)
    if follow:
        _follow(stack, wanted, lines, view, output)
    else:
        _print(logreader.merged(stack.logs, names, lines), view, output)


def _count(tail: str) -> int | None:
    if tail == "all":
        return None
    if not tail.isdecimal():
        raise typer.BadParameter(f"{tail!r} is neither a number nor `all`", param_hint="--tail")
    return int(tail)


def _follow(stack: StackDir, wanted: OfServices, lines: int | None, view: LogView, output: Output) -> None:
    """Print lines as they come. The launcher's end is the stack's: nothing can come after it."""
    launcher = stacks.launcher(stack)
    with logreader.Follower(stack.logs, wanted, lines) as follower, selectors.DefaultSelector() as selector:
        _print(follower.read(), view, output)
        if launcher is None:
            return
        with launcher:
            selector.register(follower, selectors.EVENT_READ)
            selector.register(launcher, selectors.EVENT_READ)
            ended = False
            while not ended:
                ended = any(key.fileobj is launcher for key, _ in selector.select())
                _print(follower.read(), view, output)


def _print(records: Iterable[Record], view: LogView, output: Output) -> None:
    for record in records:
        if record.stream != logreader.END:
            output.line(view.line(record))
    output.flush()
