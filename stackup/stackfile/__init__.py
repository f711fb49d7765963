"""The stack file as written: found, read, checked, and turned into what is desired.

    locate -> load -> Stack -> resolve -> Desired

Import-light: yaml and pydantic are imported by the functions that need them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from stackup.stackfile.source import Location, Source, locate

if TYPE_CHECKING:
    from stackup.core.types import Desired
    from stackup.stackfile.stack import Stack

__all__ = ["Location", "Source", "dump", "load", "locate", "resolve", "stack_name"]


def load(source: Source) -> Stack:
    """Load and check a stack. See `stackup.stackfile.pipeline.load` for what it raises."""
    from stackup.stackfile.pipeline import load

    return load(source)


def resolve(stack: Stack, services: Sequence[str] = ()) -> Desired:
    """What is wanted of the stack. See `stackup.stackfile.desired.resolve` for what it raises."""
    from stackup.stackfile.desired import resolve

    return resolve(stack, services)


def dump(stack: Stack, *, format: Literal["yaml", "json"] = "yaml") -> str:
    """The resolved stack as a document that loads again to the same Desired."""
    from stackup.stackfile.config import dump

    return dump(stack, format=format)


def stack_name(source: Source) -> str:
    """Only the stack's name: imports yaml at most, and only where a file must say it."""
    from stackup.stackfile.pipeline import stack_name

    return stack_name(source)
