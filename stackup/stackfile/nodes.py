"""The stack file as a tree that knows where each value was written, and the report that collects what is wrong with it.

Nodes are never edited: each stage of the pipeline builds a new tree (aliases share nodes). Light: no yaml, no pydantic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from stackup.errors import Problem, StackFileError

Path = tuple[str | int, ...]
"""Where a node is: mapping keys and list indexes from the top of the file."""


class Mark(NamedTuple):
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int


class Invalid(Enum):
    """Stands for a value that has been reported already, so that later stages stay silent about it."""

    INVALID = "invalid"


INVALID = Invalid.INVALID


class Tag(Enum):
    """What a Compose tag asks of the merge with earlier files (Compose specification, "Merge")."""

    RESET = "!reset"
    OVERRIDE = "!override"


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    value: str | int | float | bool | Invalid | None
    mark: Mark
    tag: Tag | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """`indexes` are the positions of the items as written, where the list no longer has the written form."""

    items: tuple[Node, ...]
    mark: Mark
    tag: Tag | None = None
    indexes: tuple[int, ...] | None = None

    def numbered(self) -> Iterator[tuple[int, Node]]:
        return zip(self.indexes or range(len(self.items)), self.items, strict=True)


class Entry(NamedTuple):
    """A key's place and its value."""

    mark: Mark
    node: Node


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    entries: dict[str, Entry]
    mark: Mark
    tag: Tag | None = None

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.node if entry else None


Node = Scalar | Sequence | Mapping


def is_invalid(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is INVALID


def is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def plain(node: Node) -> Any:
    """The node as lists, dicts and scalars."""
    match node:
        case Scalar():
            return node.value
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {key: plain(entry.node) for key, entry in node.entries.items()}


def kind(node: Node) -> str:
    """What the node is, in the user's words."""
    match node:
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping"
        case Scalar(value=value):
            return kind_of_value(value)


def kind_of_value(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "a mapping",
    }
    return names.get(type(value), "empty")


def find(root: Node, path: Path) -> tuple[Mark, Node]:
    """The key's (or item's) mark and the node at `path`; the nearest parent's where the path leads nowhere."""
    mark, node = root.mark, root
    for step in path:
        if isinstance(node, Mapping) and step in node.entries:
            mark, node = node.entries[str(step)]
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            mark = node.mark
        else:
            break
    return mark, node


def written(root: Node, path: Path) -> Path:
    """`path` with list indexes as they were written in the file."""
    steps: list[str | int] = []
    node: Node | None = root
    for step in path:
        following: Node | None = None
        if isinstance(node, Mapping) and isinstance(step, str):
            following = node.get(step)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            following = node.items[step]
            step = node.indexes[step] if node.indexes else step
        steps.append(step)
        node = following
    return tuple(steps)


def render_path(path: Path) -> str:
    """`services.web.ports[0]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(slots=True)
class Report:
    """Collects the problems and warnings of one load. A value reached over several aliases is reported once."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seen: set[tuple[Mark, str]] = field(default_factory=set)

    def problem(self, mark: Mark, path: Path, reason: str, suggestion: str | None = None) -> None:
        if (mark, reason) not in self.seen:
            self.seen.add((mark, reason))
            self.problems.append(Problem(*mark, render_path(path), reason, suggestion))

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def raise_problems(self) -> None:
        """Raises StackFileError with everything collected, if there is anything."""
        if self.problems:
            raise StackFileError(self.problems)
