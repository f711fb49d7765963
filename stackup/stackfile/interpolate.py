"""Interpolation of variables: `$NAME`, `${NAME}` and the operators `:-  -  :?  ?  :+  +`, nested to any sensible depth.

Pure: text and a lookup in, text out. Substituted values are never read again. Light: also used for .env files.
Source: Compose specification, "Interpolation".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as Map

from stackup.stackfile.nodes import INVALID, Entry, Mapping, Node, Path, Report, Scalar, Sequence

MAX_NESTING = 50

_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")

Lookup = Callable[[str], str | None]


class TemplateError(ValueError):
    """The text is no valid template; the message names the text."""


class RequiredVariableError(ValueError):
    """`${NAME:?message}` and NAME has no value."""


def interpolate(text: str, lookup: Lookup, on_unset: Callable[[str], None]) -> str:
    """`text` with its variables replaced. `on_unset` is told of each name that became an empty string.

    Raises:
        TemplateError, RequiredVariableError
    """
    return _substitute(text, text, lookup, on_unset, 0)


def _substitute(text: str, whole: str, lookup: Lookup, on_unset: Callable[[str], None], depth: int) -> str:
    if depth > MAX_NESTING:
        raise TemplateError(f"variables are nested more than {MAX_NESTING} levels deep")
    parts: list[str] = []
    position = 0
    while (dollar := text.find("$", position)) >= 0:
        parts.append(text[position:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            parts.append("$")
            position = dollar + 2
        elif following == "{":
            end = _closing_brace(text, dollar + 1)
            if end < 0:
                raise _malformed(whole)
            parts.append(_braced(text[dollar + 2 : end], whole, lookup, on_unset, depth))
            position = end + 1
        elif name := _NAME.match(text, dollar + 1):
            parts.append(_value(name[0], lookup, on_unset))
            position = name.end()
        else:
            parts.append("$")
            position = dollar + 1
    parts.append(text[position:])
    return "".join(parts)


def _closing_brace(text: str, opening: int) -> int:
    """The index of the brace that closes the one at `opening`; -1 if none does on the same line."""
    level = 0
    for index in range(opening, len(text)):
        match text[index]:
            case "{":
                level += 1
            case "}":
                level -= 1
                if not level:
                    return index
            case "\n":
                return -1
    return -1


def _braced(content: str, whole: str, lookup: Lookup, on_unset: Callable[[str], None], depth: int) -> str:
    name_match = _NAME.match(content)
    if not name_match:
        raise _malformed(whole)
    name, rest = name_match[0], content[name_match.end() :]
    if not rest:
        return _value(name, lookup, on_unset)
    operator = next((operator for operator in _OPERATORS if rest.startswith(operator)), None)
    if operator is None:
        raise _malformed(whole)
    value = lookup(name)
    present = bool(value) if operator[0] == ":" else value is not None
    argument = rest[len(operator) :]
    if operator[-1] == "+":
        return _substitute(argument, whole, lookup, on_unset, depth + 1) if present else ""
    if present:
        return value or ""
    replacement = _substitute(argument, whole, lookup, on_unset, depth + 1)
    if operator[-1] == "?":
        raise RequiredVariableError(
            f"required variable {name} is missing a value" + f": {replacement}" * bool(argument)
        )
    return replacement


def _value(name: str, lookup: Lookup, on_unset: Callable[[str], None]) -> str:
    value = lookup(name)
    if value is None:
        on_unset(name)
        return ""
    return value


def _malformed(text: str) -> TemplateError:
    return TemplateError(f'invalid interpolation format: "{text}"')


def unset_warning(name: str) -> str:
    return f'The "{name}" variable is not set. Defaulting to a blank string.'


def interpolate_node(root: Node, environment: Map[str, str], report: Report, *, path: Path = ()) -> Node:
    """The tree with every string value interpolated; keys stay as they are. Aliased nodes stay shared."""
    done: dict[int, Node] = {}

    def text(node: Scalar, value: str, path: Path) -> Node:
        try:
            result = interpolate(value, environment.get, lambda name: report.warn(unset_warning(name)))
        except TemplateError as error:
            report.problem(node.mark, path, str(error), "you may need to escape any $ with another $")
        except RequiredVariableError as error:
            report.problem(node.mark, path, str(error), "set it in the environment or in the .env file")
        else:
            return Scalar(result, node.mark, node.tag)
        return Scalar(INVALID, node.mark, node.tag)

    def walk(node: Node, path: Path) -> Node:
        if id(node) in done:
            return done[id(node)]
        result: Node = node
        match node:
            case Scalar(value=str() as value) if "$" in value:
                result = text(node, value, path)
            case Sequence():
                items = tuple(walk(item, (*path, index)) for index, item in enumerate(node.items))
                result = Sequence(items, node.mark, node.tag)
            case Mapping():
                entries = {key: Entry(mark, walk(child, (*path, key))) for key, (mark, child) in node.entries.items()}
                result = Mapping(entries, node.mark, node.tag)
        done[id(node)] = result
        return result

    return walk(root, path)
