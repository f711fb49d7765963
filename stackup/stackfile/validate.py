"""From merged nodes to models: keys first (unknown, not built), then values; each fault in the user's words.

The one place that translates pydantic's errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from stackup import __version__
from stackup.stackfile.models import StackFile
from stackup.stackfile.nodes import (
    INVALID,
    Mapping,
    Node,
    Path,
    Report,
    Scalar,
    Sequence,
    find,
    is_invalid,
    kind_of_value,
    plain,
    written,
)
from stackup.stackfile.vocabulary import STACK, Place

_EMPTY_FORMS = {"list_type": "a list", "dict_type": "a mapping", "model_type": "a mapping"}
_FORMS = {**_EMPTY_FORMS, "model_attributes_type": "a mapping", "bool_type": "true or false", "int_type": "an integer"}


_ROUNDS = 4
"""Times that faulty parts are cut out: what is left of a list item may miss a key, and its list one item."""


def validate(document: Mapping, report: Report) -> StackFile | None:
    """The document as models, without its faulty parts, which are in the report; None where too little is left."""
    data = _screen(document, (), STACK, report)
    for attempt in range(_ROUNDS):
        try:
            return StackFile.model_validate(data)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                if attempt == 0:  # later ones only follow from what was cut out
                    _report(details, document, report)
                if not _cut(data, details):
                    return None
    return None


def _cut(data: Any, details: ErrorDetails) -> bool:
    """Remove the innermost key that holds a faulty value. False where that is a whole service, network or volume."""
    path = [step for step in details["loc"] if step != "[key]"]
    if details["type"] == "missing":
        path.pop()
    holders = []
    for depth, step in enumerate(path):
        if isinstance(data, dict) and step in data:
            holders.append((depth, data, step))
        elif not (isinstance(data, list) and isinstance(step, int) and step < len(data)):
            break
        data = data[step]
    if not holders or holders[-1][0] < 2:
        return False
    _, holder, key = holders[-1]
    del holder[key]
    return True


def suggest(word: str, known: Iterable[str]) -> str | None:
    """`did you mean 'environment'?`, or None where nothing is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


def _screen(node: Node, path: Path, place: Place | None, report: Report) -> Any:
    """The node as plain data, without `x-` keys and without the keys that are reported or neutral."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            each = place.each if place else None
            return [_screen(item, (*path, index), each, report) for index, item in node.numbered()]
        case Mapping() if place is None:
            return plain(node)
        case Mapping():
            return _screen_mapping(node, path, place, report)


def _screen_mapping(node: Mapping, path: Path, place: Place, report: Report) -> dict[str, Any]:
    data: dict[str, Any] = {}
    built = place.built()
    for key, (mark, child) in node.entries.items():
        here = (*path, key)
        if place.model is None or key in built:
            data[key] = _screen(child, here, place.each or place.below.get(key), report)
        elif unbuilt := place.unbuilt.get(key):
            if not is_invalid(child) and not _is_neutral(child, unbuilt.neutral):
                report.problem(mark, here, f"is not built yet in stackup {__version__}", unbuilt.advice)
        elif key == "x-stackup" or not key.startswith("x-"):
            known = suggest(key, built | place.unbuilt.keys())
            reason = f"unknown key {key!r}"
            report.problem(mark, here, reason, known or f"known here: {', '.join(sorted(built))}")
    return data


def _is_neutral(node: Node, values: tuple[object, ...]) -> bool:
    """Whether the value changes nothing: an empty collection counts as an absent key (Compose loader)."""
    if isinstance(node, Scalar):
        return any(node.value == value and type(node.value) is type(value) for value in values)
    return not (node.items if isinstance(node, Sequence) else node.entries)


def _report(details: ErrorDetails, document: Mapping, report: Report) -> None:
    value, path = details.get("input"), tuple(step for step in details["loc"] if step != "[key]")
    if value is INVALID:
        return
    mark, node = find(document, path)
    if details["type"] == "missing":
        path, key = path[:-1], path[-1]
        mark = find(document, path)[1].mark
        reason, suggestion = f"{key!r} is missing", None
    else:
        reason, suggestion = _reason(details, value)
        if "[key]" not in details["loc"] and is_at(document, path):
            mark = node.mark
    report.problem(mark, written(document, path), reason, suggestion)


def is_at(document: Node, path: Path) -> bool:
    """Whether the path leads to a node."""
    node: Node | None = document
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str):
            node = node.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
        else:
            return False
    return node is not None


def _reason(details: ErrorDetails, value: object) -> tuple[str, str | None]:
    """What is wrong with a value, and what to do."""
    what, context = kind_of_value(value), details.get("ctx", {})
    match details["type"]:
        case "value_error":
            return str(context["error"]), None
        case "string_type":
            quoted = isinstance(value, (bool, int, float))
            text = str(value).lower() if isinstance(value, bool) else value
            return f"must be a string, not {what}", f'quote it: "{text}"' if quoted else None
        case "list_type" | "dict_type" | "model_type" | "model_attributes_type" as form if value is None:
            return f"is empty, and must be {_FORMS[form]}", "remove the key, or give it a value"
        case form if form in _FORMS:
            return f"must be {_FORMS[form]}, not {what}", None
        case "literal_error":
            allowed = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            reason = (
                f"{value!r} is not one of {', '.join(allowed)}" if isinstance(value, str) else f"{what} is no choice"
            )
            return reason, suggest(value, allowed) if isinstance(value, str) else f"use one of {', '.join(allowed)}"
        case "string_pattern_mismatch":
            return f"{value!r} is not a valid name", "use letters, digits, '.', '_' and '-'"
        case "string_too_short":
            return "must not be empty", None
        case "greater_than_equal":
            return f"must be at least {context['ge']}", None
        case "less_than_equal":
            return f"must be at most {context['le']}", None
        case _:
            return details["msg"][:1].lower() + details["msg"][1:], None
