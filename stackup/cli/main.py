"""The program `stackup`: its verbs, its global options, and the one place where an error becomes text and an exit code.

A verb's module is imported when that verb is invoked (or when help lists all of them), so that `ps` never pays for
`up`. Exit codes: 0 done, 1 failure, 2 wrong usage or stack file, 128 + signal when interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stackup.cli.coercion import HELP, lighten
from stackup.cli.invocation import Ansi, Invocation, Progress, hoist
from stackup.cli.output import Output
from stackup.cli.report import render_error
from stackup.errors import StackupError

VERBS = {
    "up": "up",
    "down": "down",
    "ps": "ps",
    "logs": "logs",
    "exec": "exec",
    "restart": "lifecycle",
    "stop": "lifecycle",
    "start": "lifecycle",
    "plan": "plan",
    "config": "config",
    "ls": "ls",
    "doctor": "doctor",
    "version": "version",
}
"""Verb -> the module of this package whose function of the same name it is (with `_` where Python has the word)."""

_BARE = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
_EPILOG = "Global options (see stackup --help) may also follow the verb."


class Verbs(TyperGroup):
    """Loads a verb's module when the verb is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS, 2)
            ctx.fail(f"No such command '{args[0]}'." + (f" Did you mean {' or '.join(near)}?" if near else ""))
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        if cmd_name not in self.commands:
            module = import_module(f"stackup.cli.{VERBS[cmd_name]}")
            function = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
            single = typer.Typer(**_BARE)  # type: ignore[arg-type]
            settings = HELP | getattr(module, "CONTEXT", {})
            single.command(cmd_name, epilog=_EPILOG, context_settings=settings)(function)
            self.commands[cmd_name] = lighten(typer.main.get_command(single))
        return self.commands[cmd_name]


app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP,
)


@app.callback()
def stackup(
    context: typer.Context,
    file: Annotated[
        list[str] | None, typer.Option("--file", "-f", metavar="FILE", help="Stack file; repeat to merge several.")
    ] = None,
    project_name: Annotated[
        str | None, typer.Option("--project-name", "-p", metavar="NAME", help="Name of the stack.")
    ] = None,
    project_directory: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Directory that relative paths start from. Default: that of the first file."),
    ] = None,
    profile: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Enable a profile; may be repeated.")
    ] = None,
    env_file: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Environment file for interpolation, in place of .env; may be repeated."),
    ] = None,
    progress: Annotated[Progress, typer.Option(help="How progress is shown on standard error.")] = Progress.AUTO,
    ansi: Annotated[Ansi, typer.Option(help="When to use colours. NO_COLOR is honoured.")] = Ansi.AUTO,
) -> None:
    """Run a Compose stack as plain Linux processes: no daemon, no root, no Docker.

    Start here: `stackup doctor`, then `stackup up` in a directory with a stack.yaml or compose.yaml.
    """
    context.obj = Invocation(
        files=tuple(file or ()),
        name=project_name,
        project_directory=project_directory,
        profiles=tuple(profile or ()),
        env_files=tuple(env_file or ()),
        progress=progress,
        ansi=ansi,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns its exit code. `arguments` are those after the program's name."""
    given = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where a caller left it ignored, no child could be waited for
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        lighten(typer.main.get_command(app))(args=hoist(given, VERBS), prog_name="stackup")
    except StackupError as error:
        output = Output(Ansi.AUTO)
        output.note(render_error(error, colour=output.err_colour, excerpts=sys.stderr.isatty()))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as leaving:
        return _flush(leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None))
    return _flush(0)


def _flush(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone; without this the interpreter would try again at exit and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 1
    return code
