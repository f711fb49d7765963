"""`stackup stop`, `start` and `restart`: wishes about services that are there already."""

from __future__ import annotations

import typer

from stackup.cli import stacks
from stackup.cli.client import Message, call
from stackup.cli.invocation import Invocation
from stackup.cli.output import Output
from stackup.cli.parameters import Services, Timeout
from stackup.cli.progress import ProgressWriter
from stackup.errors import StackupError


def stop(context: typer.Context, services: Services = None, timeout: Timeout = None) -> None:
    """Stop containers, dependents first. They stay, and `start` starts them again.

    Example: stackup stop worker -t 30
    """
    ask(context.obj, "stop", services, timeout)


def start(context: typer.Context, services: Services = None, timeout: Timeout = None) -> None:
    """Start containers that were stopped, dependencies first.

    Example: stackup start worker
    """
    ask(context.obj, "start", services, timeout)


def restart(context: typer.Context, services: Services = None, timeout: Timeout = None) -> None:
    """Stop containers and start them again. Changes of the stack file are for `up` to apply.

    Example: stackup restart api
    """
    ask(context.obj, "restart", services, timeout)


def ask(invocation: Invocation, verb: str, services: list[str] | None, timeout: float | None) -> Message:
    stack = stacks.stack_of(invocation, remember=True)
    if not stack.exists():
        raise StackupError(f"there is no stack {stack.name} to {verb}", "stackup up -d creates it")
    progress = ProgressWriter(Output(invocation.ansi), invocation.progress)
    return call(stack, {"verb": verb, "services": services or [], "timeout": timeout}, progress)
