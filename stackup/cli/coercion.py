"""Turns words of the command line into the few types our options have, in place of typer's own conversion.

Recent versions of typer convert through pydantic, whose import alone costs half of what `ps` may take. Versions that
have no such hook convert by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, get_args, get_origin

import typer

HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
"""Context settings of every command."""


def lighten(command: Any) -> Any:
    """Give the parameters of a typer command a conversion without pydantic, where their types allow; returns it."""
    for parameter in command.get_params(typer.Context(command, **HELP)):  # unlike `params`, with the help option
        descriptor = getattr(parameter, "type_descriptor", None)
        if descriptor is None or not hasattr(parameter, "_runtime_param"):
            continue
        convert = _converter(descriptor.annotation, descriptor.parameter_info)
        if convert is not None:
            parameter._runtime_param = _Coercion(convert, many=get_origin(descriptor.annotation) is list)
    return command


class _Coercion:
    """Stands in for typer's RuntimeParam: one method, `coerce`."""

    def __init__(self, convert: Callable[[Any], Any], *, many: bool) -> None:
        self._convert, self._many = convert, many

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            if self._many:
                return [self._convert(item) for item in value or ()]
            return None if value is None else self._convert(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from error


def _converter(annotation: Any, info: Any) -> Callable[[Any], Any] | None:
    if get_origin(annotation) is list:
        (annotation,) = get_args(annotation)
    if annotation in (str, bool):
        return annotation if annotation is str else _boolean
    if annotation in (int, float):
        return lambda value: _number(annotation, value, info.min)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return lambda value: _choice(annotation, value)
    return None


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is neither true nor false.")  # flags are bool already


def _number(kind: type[int] | type[float], value: Any, least: float | None) -> float:
    try:
        number = kind(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a number.") from None
    if number != number or (least is not None and number < least):
        raise ValueError(f"{value} is less than {least:g}." if number == number else f"{value!r} is not a number.")
    return number


def _choice(kind: type[Enum], value: Any) -> Enum:
    if isinstance(value, kind):
        return value
    for member in kind:
        if member.value == value:
            return member
    raise ValueError(f"{value!r} is not one of {', '.join(str(member.value) for member in kind)}.")
