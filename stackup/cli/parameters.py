"""Arguments and options that several verbs share, spelled once."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from stackup.cli.invocation import Invocation
from stackup.errors import StackupError


class Format(str, Enum):
    TABLE = "table"
    JSON = "json"


class TextFormat(str, Enum):
    TEXT = "text"
    JSON = "json"


def complete_services(context: typer.Context, incomplete: str) -> list[str]:
    """Names for the shell: the services of the stack file as the global options on the line have it."""
    from stackup.stackfile import load

    given: dict[str, Any] = context.parent.params if context.parent else {}
    invocation = Invocation(
        files=tuple(given.get("file") or ()),
        name=given.get("project_name"),
        project_directory=given.get("project_directory"),
        profiles=tuple(given.get("profile") or ()),
        env_files=tuple(given.get("env_file") or ()),
    )
    try:
        names: list[str] = sorted(load(invocation.source()).file.services)
    except StackupError:  # while a line is typed, a broken file means no suggestions
        return []
    return [name for name in names if name.startswith(incomplete)]


Services = Annotated[
    list[str] | None,
    typer.Argument(metavar="SERVICE", help="Only these services. Default: all.", autocompletion=complete_services),
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", "-t", min=0, help="Seconds to wait for a stop before killing. Default: as in the file."),
]
TableFormat = Annotated[Format, typer.Option("--format", help="How to print.")]
PlainFormat = Annotated[TextFormat, typer.Option("--format", help="How to print.")]
