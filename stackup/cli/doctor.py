"""`stackup doctor`: what this machine can do for stackup, one line each."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from stackup.cli.output import GREEN, RED, YELLOW, Output, paint
from stackup.cli.parameters import PlainFormat, TextFormat

if TYPE_CHECKING:
    from stackup.host.probe import Capability

_COLOURS = {"ok": GREEN, "limited": YELLOW, "missing": RED}


def doctor(context: typer.Context, format: PlainFormat = TextFormat.TEXT) -> None:
    """Check this machine, and say what to do about what it lacks. Changes nothing.

    Exit code 1 where stackup cannot run here at all.

    Example: stackup doctor --format json
    """
    from stackup.host.probe import Verdict, probe
    from stackup.statedir import StateDir

    output = Output(context.obj.ansi)
    found = probe(StateDir())
    for capability in found:
        if format is TextFormat.JSON:
            output.line(json.dumps(asdict(capability), ensure_ascii=False))
        else:
            output.line(line(capability, output.out_colour))
    if any(capability.needed and capability.verdict is Verdict.MISSING for capability in found):
        output.note("stackup cannot run stacks here until what is missing above is there")
        raise typer.Exit(1)


def line(capability: Capability, colour: bool) -> str:
    """`ok       kernel            6.1.0`, with what to do after an arrow."""
    verdict = capability.verdict.value
    advice = f"  -> {capability.advice}" if capability.advice else ""
    return (
        f"{paint(verdict.ljust(8), _COLOURS[verdict], colour)} {capability.name.ljust(18)} {capability.detail}{advice}"
    )
