"""From bytes to nodes: YAML 1.2 core schema on libyaml's events, with the place of every key and value.

Owns duplicate keys, merge keys, aliases and the bounds on them; knows nothing of Compose but its two tags. The values
follow the Compose loader (Go yaml): `no`, `on`, `22:22` and dates are strings, `012` and `0o12` are both octal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from stackup.stackfile.nodes import (
    INVALID,
    Entry,
    Mapping,
    Mark,
    Node,
    Path,
    Report,
    Scalar,
    Sequence,
    Tag,
)

MAX_DEPTH = 100
MAX_ALIASED = 100_000
"""Nodes reached through aliases, counted as often as they are reached: the bound on an alias bomb."""

_CORE = "tag:yaml.org,2002:"
_TAGGED: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "null": (type(None),)}
"""The types of a value that each core tag admits; the other core tags mean text."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_START = frozenset("0123456789+-.")
_INT = re.compile(r"([-+]?)(?:0b([01]+)|0o([0-7]+)|0x([0-9a-fA-F]+)|0([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INT64_DIGITS = 20


def resolve_scalar(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    if special := _SPECIAL_FLOAT.fullmatch(text):
        return float((special[1] or "") + text.lstrip("+-.").lower())
    number = text.replace("_", "") if text[0] != "_" else text
    if len(number) <= 70 and (match := _INT.fullmatch(number)):
        sign, binary, octal, hexadecimal, old_octal, decimal = match.groups()
        digits, base = next(
            (group, base)
            for group, base in ((binary, 2), (octal, 8), (hexadecimal, 16), (old_octal, 8), (decimal, 10))
            if group is not None
        )
        if base != 10 or len(digits) <= _INT64_DIGITS:
            return -int(digits, base) if sign == "-" else int(digits, base)
    return float(number) if _FLOAT.fullmatch(number) else text


def parse(data: bytes, file: str, report: Report) -> list[Node] | None:
    """The documents of a file, empty ones left out; None where the file cannot be read as YAML (reported)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        mark = _mark_at(data[: error.start], file)
        report.problem(mark, (), f"byte 0x{data[error.start]:02x} is not UTF-8 text", "save the file as UTF-8")
        return None
    builder = _Builder(file, report)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    parser: Any = None
    try:
        parser = loader(text)
        while parser.check_event():
            builder.feed(parser.get_event())
    except yaml.MarkedYAMLError as error:
        _report_syntax(error, text, file, report)
        return None
    except yaml.reader.ReaderError as error:
        before = text.encode()[: error.position] if loader is not yaml.SafeLoader else text[: error.position].encode()
        report.problem(_mark_at(before, file), (), f"unreadable character: {error.reason}")
        return None
    except _TooMuchError as error:
        report.problem(error.mark, error.path, error.reason, error.suggestion)
        return None
    finally:
        if parser is not None:
            parser.dispose()
    return builder.documents


def _mark_at(before: bytes, file: str) -> Mark:
    lines = before.decode("utf-8", "replace").split("\n")
    return Mark(file, len(lines), len(lines[-1]) + 1)


def _report_syntax(error: yaml.MarkedYAMLError, text: str, file: str, report: Report) -> None:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.splitlines()
    reason, suggestion = error.problem or "not YAML", None
    here = lines[line] if line < len(lines) else ""
    if "\t" in here[: column + 1] and not here[:column].strip():
        reason, suggestion = "found a tab character that violates indentation", "indent with spaces"
    elif "mapping values are not allowed" in reason:
        suggestion = "check the indentation, or quote a value that contains ': '"
    elif error.context:
        reason = f"{error.context}: {reason}"
    report.problem(Mark(file, line + 1, column + 1), (), f"YAML syntax: {reason}", suggestion)


class _TooMuchError(Exception):
    """A bound is exceeded: the file is given up, because going on is what the bound forbids."""

    def __init__(self, mark: Mark, path: Path, reason: str, suggestion: str | None = None) -> None:
        self.mark, self.path, self.reason, self.suggestion = mark, path, reason, suggestion


@dataclass(slots=True)
class _Built:
    """A node, the number of nodes in it and its height, both with aliases expanded."""

    node: Node
    size: int = 1
    height: int = 1
    merge_key: bool = False


@dataclass(slots=True)
class _Frame:
    """A collection that is still open."""

    is_mapping: bool
    mark: Mark
    tag: Tag | None
    anchor: str | None
    children: list[_Built] = field(default_factory=list)


class _Builder:
    """Builds nodes from events without recursion, so that depth is bounded by a rule and not by the C stack."""

    def __init__(self, file: str, report: Report) -> None:
        self.file, self.report = file, report
        self.documents: list[Node] = []
        self.stack: list[_Frame] = []
        self.anchors: dict[str, _Built | None] = {}
        self.aliased = 0

    def feed(self, event: yaml.Event) -> None:
        match event:
            case yaml.ScalarEvent():
                self._add(self._scalar(event), event.anchor)
            case yaml.AliasEvent():
                self._add(self._alias(event), None)
            case yaml.CollectionStartEvent():
                mark = self._mark(event)
                if len(self.stack) >= MAX_DEPTH:
                    raise _TooMuchError(mark, self._path(), f"nested more than {MAX_DEPTH} levels deep")
                if event.anchor:
                    self.anchors[event.anchor] = None
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                self.stack.append(_Frame(is_mapping, mark, _tag(event.tag), event.anchor))
            case yaml.CollectionEndEvent():
                frame = self.stack.pop()
                self._add(self._close(frame), frame.anchor)
            case yaml.DocumentStartEvent():
                self.anchors.clear()

    def _mark(self, event: yaml.Event) -> Mark:
        mark: Any = event.start_mark
        return Mark(self.file, mark.line + 1, mark.column + 1)

    def _path(self) -> Path:
        """Where the next node goes."""
        path: list[str | int] = []
        for frame in self.stack:
            count = len(frame.children)
            if not frame.is_mapping:
                path.append(count)
            elif count % 2:
                key = frame.children[-1].node
                path.append(str(key.value) if isinstance(key, Scalar) else "?")
        return tuple(path)

    def _add(self, built: _Built, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = built
        if self.stack:
            self.stack[-1].children.append(built)
        elif not (isinstance(built.node, Scalar) and built.node.value is None):
            self.documents.append(built.node)

    def _scalar(self, event: yaml.ScalarEvent) -> _Built:
        mark, text, tag = self._mark(event), event.value, event.tag
        is_plain = event.style in (None, "")
        if "\0" in text:
            self.report.problem(mark, self._path(), "contains a NUL character, which no argument, variable or path can")
            return _Built(Scalar(INVALID, mark))
        if tag is None or (tag.startswith("!") and tag != "!"):
            value = resolve_scalar(text) if is_plain else text
            return _Built(Scalar(value, mark, _tag(tag)), merge_key=tag is None and is_plain and text == "<<")
        name = tag.removeprefix(_CORE)
        if name not in _TAGGED:
            return _Built(Scalar(text, mark), merge_key=name == "merge")
        value = resolve_scalar(text)
        if type(value) not in _TAGGED[name]:
            self.report.problem(mark, self._path(), f"{text!r} cannot be read as !!{name}")
            return _Built(Scalar(INVALID, mark))
        return _Built(Scalar(float(value) if name == "float" and isinstance(value, int) else value, mark))

    def _alias(self, event: yaml.AliasEvent) -> _Built:
        mark = self._mark(event)
        if event.anchor not in self.anchors:
            self.report.problem(mark, self._path(), f"alias *{event.anchor} has no anchor &{event.anchor} before it")
            return _Built(Scalar(INVALID, mark))
        target = self.anchors[event.anchor]
        if target is None:
            reason = f"cycle detected: *{event.anchor} is used within the value it stands for"
            self.report.problem(mark, self._path(), reason)
            return _Built(Scalar(INVALID, mark))
        self.aliased += target.size
        if self.aliased > MAX_ALIASED:
            reason = f"excessive aliasing: aliases expand to more than {MAX_ALIASED} values"
            raise _TooMuchError(mark, self._path(), reason)
        if len(self.stack) + target.height > MAX_DEPTH:
            raise _TooMuchError(mark, self._path(), f"nested more than {MAX_DEPTH} levels deep")
        return _Built(target.node, target.size, target.height)

    def _close(self, frame: _Frame) -> _Built:
        size = 1 + sum(child.size for child in frame.children)
        height = 1 + max((child.height for child in frame.children), default=0)
        if not frame.is_mapping:
            items = tuple(child.node for child in frame.children)
            return _Built(Sequence(items, frame.mark, frame.tag), size, height)
        return _Built(self._mapping(frame), size, height)

    def _mapping(self, frame: _Frame) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: list[Node] = []
        here = self._path()
        for key, value in zip(frame.children[::2], frame.children[1::2], strict=True):
            if key.merge_key:
                merged.append(value.node)
                continue
            name = self._key(key.node, here)
            if name is None:
                continue
            mark = key.node.mark
            if name in entries:
                reason = f'mapping key "{name}" already defined at line {entries[name].mark.line}'
                self.report.problem(mark, (*here, name), reason, "remove one of the two")
            else:
                entries[name] = Entry(mark, value.node)
        for node in merged:
            self._merge(node, entries, (*here, "<<"))
        return Mapping(entries, frame.mark, frame.tag)

    def _key(self, node: Node, here: Path) -> str | None:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return node.value
        if not (isinstance(node, Scalar) and node.value is INVALID):
            shown = node.value if isinstance(node, Scalar) else "a collection"
            shown = "null" if shown is None else str(shown).lower() if isinstance(shown, bool) else shown
            suggestion = f'quote it: "{shown}"' if isinstance(node, Scalar) else None
            self.report.problem(node.mark, here, f"non-string key: {shown}", suggestion)
        return None

    def _merge(self, node: Node, entries: dict[str, Entry], path: Path) -> None:
        """The YAML 1.1 merge key: explicit keys win, then earlier mappings of the list."""
        for source in node.items if isinstance(node, Sequence) else (node,):
            if isinstance(source, Mapping):
                for key, entry in source.entries.items():
                    entries.setdefault(key, entry)
            elif not (isinstance(source, Scalar) and source.value is INVALID):
                reason = "map merge requires map or sequence of maps as the value"
                self.report.problem(source.mark, path, reason)


def _tag(text: str | None) -> Tag | None:
    return Tag(text) if text in ("!reset", "!override") else None
