"""The short forms of a stack file rewritten as the long ones, so that merge and models see one form of each key.

Works on one file's nodes, before the merge. Reports what fits no form; other mistakes are the models' business.
Source: Compose specification; "canonical form" in the Compose loader.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stackup.stackfile.nodes import INVALID, Entry, Mapping, Mark, Node, Path, Report, Scalar, Sequence, kind
from stackup.stackfile.shortforms import parse_port, parse_volume
from stackup.stackfile.units import go_text, split_command

Converter = Callable[[Node, Path, Report], Node]


def canonical(document: Node, report: Report) -> Node:
    """The file's document in long forms."""
    return _convert(document, (), report, _STACK)


def _convert(node: Node, path: Path, report: Report, table: dict[str, Converter]) -> Node:
    """Convert the values of a mapping by key; the key `*` stands for all of them."""
    if not isinstance(node, Mapping):
        return node
    entries = {
        key: Entry(mark, _apply(table.get(key) or table.get("*"), child, (*path, key), report))
        for key, (mark, child) in node.entries.items()
    }
    return Mapping(entries, node.mark, node.tag)


def _apply(converter: Converter | None, node: Node, path: Path, report: Report) -> Node:
    if converter is None or (isinstance(node, Scalar) and node.value in (None, INVALID)):
        return node
    converted = converter(node, path, report)
    return converted if converted.tag is node.tag else replace(converted, tag=node.tag)


def _inside(table: dict[str, Converter]) -> Converter:
    return lambda node, path, report: _convert(node, path, report, table)


def _each(converter: Converter) -> Converter:
    """Convert the items of a list."""

    def convert(node: Node, path: Path, report: Report) -> Node:
        if not isinstance(node, Sequence):
            return node
        items = (_apply(converter, item, (*path, index), report) for index, item in enumerate(node.items))
        return Sequence(tuple(items), node.mark)

    return convert


def _misfit(node: Node, path: Path, report: Report, forms: str) -> Scalar:
    report.problem(node.mark, path, f"must be {forms}, not {kind(node)}")
    return Scalar(INVALID, node.mark)


def _failed(node: Node, path: Path, report: Report, error: ValueError) -> Scalar:
    report.problem(node.mark, path, str(error))
    return Scalar(INVALID, node.mark)


def _scalars(values: list[str], mark: Mark) -> Sequence:
    return Sequence(tuple(Scalar(value, mark) for value in values), mark)


def _mapping(values: dict[str, Any], mark: Mark) -> Mapping:
    """Plain values as nodes that all stand at one place."""
    entries: dict[str, Entry] = {}
    for key, value in values.items():
        entries[key] = Entry(mark, _mapping(value, mark) if isinstance(value, dict) else Scalar(value, mark))
    return Mapping(entries, mark)


def _command(node: Node, path: Path, report: Report) -> Node:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        try:
            return _scalars(split_command(node.value), node.mark)
        except ValueError as error:
            return _failed(node, path, report, error)
    return node if isinstance(node, Sequence) else _misfit(node, path, report, "a string or a list")


def _test(node: Node, path: Path, report: Report) -> Node:
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return _scalars(["CMD-SHELL", node.value], node.mark)
    return node if isinstance(node, Sequence) else _misfit(node, path, report, "a string or a list")


def _strings(node: Node, path: Path, report: Report) -> Node:
    """A string or a list of strings."""
    if isinstance(node, Scalar) and isinstance(node.value, str):
        return _scalars([node.value], node.mark)
    return node if isinstance(node, Sequence) else _misfit(node, path, report, "a string or a list of strings")


def _variables(*, null_is_empty: bool) -> Converter:
    """`KEY=VALUE` items or a mapping, with values reprinted as text. A null stays null unless it means ""."""

    def text(node: Node, path: Path, report: Report) -> Node:
        if not isinstance(node, Scalar):
            return _misfit(node, path, report, "a single value")
        if node.value is INVALID or (node.value is None and not null_is_empty):
            return node
        return Scalar(go_text(node.value), node.mark)

    def convert(node: Node, path: Path, report: Report) -> Node:
        if isinstance(node, Mapping):
            pairs = ((key, mark, child) for key, (mark, child) in node.entries.items())
            return Mapping(
                {key: Entry(mark, text(child, (*path, key), report)) for key, mark, child in pairs}, node.mark
            )
        if not isinstance(node, Sequence):
            return _misfit(node, path, report, "a list or a mapping")
        entries: dict[str, Entry] = {}
        for index, item in enumerate(node.items):
            if not isinstance(item, Scalar) or isinstance(item.value, (bool, int, float)) or item.value is None:
                _misfit(item, (*path, index), report, "a text like KEY=VALUE")
            elif isinstance(item.value, str):
                key, equals, value = item.value.partition("=")
                if key != key.strip() or not key:
                    reason = (
                        f"environment variable {key!r} has blanks around its name" if key else "has no name before ="
                    )
                    report.problem(item.mark, (*path, index), reason)
                    continue
                entries[key] = Entry(
                    item.mark, text(Scalar(value if equals else None, item.mark), (*path, key), report)
                )
        return Mapping(entries, node.mark)

    return convert


def _named(value: Callable[[Mark], Node]) -> Converter:
    """A list of names as a mapping from each to the default `value`."""

    def convert(node: Node, path: Path, report: Report) -> Node:
        if isinstance(node, Mapping):
            return node
        if not isinstance(node, Sequence):
            return _misfit(node, path, report, "a list or a mapping")
        entries: dict[str, Entry] = {}
        for index, item in enumerate(node.items):
            if isinstance(item, Scalar) and isinstance(item.value, str):
                if item.value in entries:
                    report.problem(item.mark, (*path, index), f"{item.value!r} is listed twice")
                entries[item.value] = Entry(item.mark, value(item.mark))
            elif not (isinstance(item, Scalar) and item.value is INVALID):
                _misfit(item, (*path, index), report, "a name")
        return Mapping(entries, node.mark)

    return convert


def _env_files(node: Node, path: Path, report: Report) -> Node:
    items = node.items if isinstance(node, Sequence) else (node,)
    files: list[Node] = []
    for index, item in enumerate(items):
        if isinstance(item, Scalar) and isinstance(item.value, str):
            files.append(_mapping({"path": item.value, "required": True}, item.mark))
        elif isinstance(item, Mapping) and isinstance(node, Sequence):
            files.append(item)
        elif not (isinstance(item, Scalar) and item.value is INVALID):
            _misfit(item, (*path, index) if isinstance(node, Sequence) else path, report, "a path or a list of paths")
    return Sequence(tuple(files), node.mark)


def _ports(node: Node, path: Path, report: Report) -> Node:
    if not isinstance(node, Sequence):
        return _misfit(node, path, report, "a list")
    ports: list[Node] = []
    indexes: list[int] = []
    for index, item in enumerate(node.items):
        converted = _port(item, (*path, index), report)
        ports += converted
        indexes += [index] * len(converted)
    return Sequence(tuple(ports), node.mark, indexes=tuple(indexes))


def _port(node: Node, path: Path, report: Report) -> list[Node]:
    match node:
        case Mapping():
            published = node.get("published")
            if isinstance(published, Scalar) and type(published.value) is int:
                text = Entry(node.entries["published"].mark, Scalar(str(published.value), published.mark))
                return [Mapping({**node.entries, "published": text}, node.mark)]
            return [node]
        case Scalar(value=str() | int() as value) if not isinstance(value, bool):
            try:
                return [_mapping(port, node.mark) for port in parse_port(str(value))]
            except ValueError as error:
                return [_failed(node, path, report, error)]
        case Scalar(value=value) if value is INVALID:
            return []
    return [_misfit(node, path, report, "a text like 8080:80, a number or a mapping")]


def _volume(node: Node, path: Path, report: Report) -> Node:
    if isinstance(node, Mapping):
        return node
    if not (isinstance(node, Scalar) and isinstance(node.value, str)):
        return _misfit(node, path, report, "a text like ./data:/data or a mapping")
    try:
        mount, unknown = parse_volume(node.value)
    except ValueError as error:
        return _failed(node, path, report, error)
    for option in unknown:
        report.warn(f"{node.mark.file}:{node.mark.line}: volume option {option!r} has no effect")
    return _mapping(mount, node.mark)


def _volumes(node: Node, path: Path, report: Report) -> Node:
    return _each(_volume)(node, path, report) if isinstance(node, Sequence) else _misfit(node, path, report, "a list")


def _external(node: Node, path: Path, report: Report) -> Node:
    """The deprecated `external: {name: X}` becomes `external: true` and `name: X`."""
    if not isinstance(node, Mapping):
        return node
    entries = _convert(node, path, report, {"labels": _LABELS})
    assert isinstance(entries, Mapping)
    external = node.entries.get("external")
    if external is None or not isinstance(external.node, Mapping):
        return entries
    report.warn(f"{'.'.join(map(str, path))}: external.name is deprecated; use name")
    inner, name = external.node.entries.get("name"), node.get("name")
    flagged = {**entries.entries, "external": Entry(external.mark, Scalar(True, external.node.mark))}
    if inner is not None:
        if isinstance(name, Scalar) and isinstance(inner.node, Scalar) and name.value != inner.node.value:
            report.problem(inner.mark, path, "name and external.name conflict; only use name")
        flagged["name"] = inner
    return Mapping(flagged, node.mark)


def _rootfs(node: Node, path: Path, report: Report) -> Node:
    if isinstance(node, Scalar) and node.value == "host":
        return Mapping({}, node.mark)
    if isinstance(node, Scalar) and isinstance(node.value, str):
        reason = f"a directory ({node.value}) as root filesystem is not built yet in stackup"
        report.problem(node.mark, path, reason, "use rootfs: host, or leave it out")
        return Scalar(INVALID, node.mark)
    return node if isinstance(node, Mapping) else _misfit(node, path, report, "host or a mapping")


def _null(mark: Mark) -> Node:
    return Scalar(None, mark)


def _started(mark: Mark) -> Node:
    return _mapping({"condition": "service_started", "required": True}, mark)


def _service(node: Node, path: Path, report: Report) -> Node:
    return _convert(node, path, report, _SERVICE)


_ENVIRONMENT = _variables(null_is_empty=False)
_LABELS = _variables(null_is_empty=True)
_SERVICE: dict[str, Converter] = {
    "command": _command,
    "entrypoint": _command,
    "environment": _ENVIRONMENT,
    "labels": _LABELS,
    "env_file": _env_files,
    "depends_on": _named(_started),
    "networks": _named(_null),
    "ports": _ports,
    "volumes": _volumes,
    "healthcheck": _inside({"test": _test}),
    "develop": _inside({"watch": _each(_inside({"ignore": _strings, "include": _strings}))}),
    "x-stackup": _inside({"rootfs": _rootfs}),
}
_STACK: dict[str, Converter] = {
    "services": _inside({"*": _service}),
    "networks": _inside({"*": _external}),
    "volumes": _inside({"*": _external}),
}
