"""`stackup exec`: one more command inside a running container."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from stackup.cli import stacks
from stackup.cli.client import Connection, ConnectionLost, Message, answer, call, open_connection
from stackup.cli.output import Output
from stackup.cli.parameters import complete_services
from stackup.cli.progress import ProgressWriter
from stackup.errors import StackupError

CONTEXT = {"allow_interspersed_args": False}
"""Options after the service belong to the command."""


def exec_(
    context: typer.Context,
    service: Annotated[str, typer.Argument(metavar="SERVICE", autocompletion=complete_services)],
    command: Annotated[list[str], typer.Argument(metavar="COMMAND")],
    no_tty: Annotated[
        bool, typer.Option("--no-TTY", "-T", help="No terminal, even if standard input and output are one.")
    ] = False,
    interactive: Annotated[bool, typer.Option("--interactive", "-i", hidden=True)] = True,
    tty_wanted: Annotated[bool, typer.Option("--tty", "-t", hidden=True)] = True,
    environment: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="KEY[=VALUE]", help="Set a variable; may be repeated.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="User (name or id, with :GROUP if need be).")] = None,
    working_dir: Annotated[str | None, typer.Option("--workdir", "-w", help="Directory inside the container.")] = None,
    index: Annotated[
        int | None, typer.Option(min=1, help="Which of the service's containers. Default: the first.")
    ] = None,
) -> None:
    """Run a command inside a running container. The exit code is the command's.

    Standard input is passed on, and on a terminal the command gets one: -i and -t are accepted, and change nothing.

    Example: stackup exec -e PGUSER=app db psql
    """
    stack = stacks.stack_of(context.obj, remember=True)
    if not stack.exists():
        raise StackupError(f"stack {stack.name} is not running", "stackup up -d starts it")
    tty = not no_tty and sys.stdin.isatty() and sys.stdout.isatty()
    request: Message = {
        "verb": "exec",
        "service": service,
        "index": index,
        "command": command,
        "environment": variables(environment or [], dict(os.environ)),
        "user": user,
        "working_dir": working_dir,
        "tty": tty,
    }
    progress = ProgressWriter(Output(context.obj.ansi), context.obj.progress)
    # The command must not run twice: a supervisor that is just ending is found out before the request is sent.
    call(stack, {"verb": "ping"}, progress)
    if tty:
        with open_connection(stack) as connection:
            end = _with_terminal(connection, request, progress)
    else:
        sys.stdout.flush()
        end = call(stack, request, progress, fds=[0, 1, 2], retry=False)
    raise typer.Exit(end["exit_code"])


def variables(given: list[str], environ: dict[str, str]) -> list[list[str]]:
    """KEY=VALUE as a pair; a bare KEY takes the caller's value, or is left out where the caller has none."""
    pairs = []
    for text in given:
        key, equals, value = text.partition("=")
        if equals or key in environ:
            pairs.append([key, value if equals else environ[key]])
    return pairs


def _with_terminal(connection: Connection, request: Message, progress: ProgressWriter) -> Message:
    from stackup.cli.terminal import Terminal

    connection.send(request)
    while True:
        for message in connection.receive():
            if "event" not in message:
                return answer(message)
            if message["event"]["type"] == "pty":
                if not connection.fds:
                    raise ConnectionLost
                with Terminal(connection.fds.popleft()) as terminal:
                    return answer(terminal.relay(connection, progress))
            progress(message["event"])
