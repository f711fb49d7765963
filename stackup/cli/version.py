"""`stackup version`."""

from __future__ import annotations

from typing import Annotated

import typer

from stackup import __version__
from stackup.cli.output import Output
from stackup.cli.parameters import PlainFormat, TextFormat


def version(
    context: typer.Context,
    short: Annotated[bool, typer.Option("--short", help="Only the number.")] = False,
    format: PlainFormat = TextFormat.TEXT,
) -> None:
    """Print the version of stackup."""
    if format is TextFormat.JSON:
        text = f'{{"version":"{__version__}"}}'
    else:
        text = __version__ if short else f"stackup version {__version__}"
    Output(context.obj.ansi).line(text)
