"""One file's document laid over another's (Compose specification, "Merge"). Works on canonical nodes.

Mappings merge by key, lists append, single values replace, null keeps the base; the tables below are the exceptions.
"""

from __future__ import annotations

from collections.abc import Callable

from stackup.stackfile.nodes import (
    Entry,
    Mapping,
    Node,
    Path,
    Report,
    Scalar,
    Sequence,
    Tag,
    is_invalid,
    is_null,
    plain,
)

Pattern = tuple[str, ...]

_REPLACED: frozenset[Pattern] = frozenset(
    {
        ("services", "*", "command"),
        ("services", "*", "entrypoint"),
        ("services", "*", "healthcheck", "test"),
    }
)

_ENVIRONMENT: Pattern = ("services", "*", "environment")
"""A null there is a value of its own: inherit the variable."""


def _value(item: Node) -> object:
    return repr(plain(item))


def _field(name: str) -> Callable[[Node], object]:
    def key(item: Node) -> object:
        child = item.get(name) if isinstance(item, Mapping) else None
        return child.value if isinstance(child, Scalar) else None

    return key


def _target(item: Node) -> object:
    target = _field("target")(item)
    return target.rstrip("/") if isinstance(target, str) else target


def _port(item: Node) -> object:
    defaults = {"host_ip": None, "target": None, "published": None, "protocol": "tcp"}
    values = plain(item) if isinstance(item, Mapping) else {}
    return tuple(str(values.get(name, default)) for name, default in defaults.items())


_UNIQUE: dict[Pattern, Callable[[Node], object]] = {
    ("services", "*", "ports"): _port,
    ("services", "*", "volumes"): _target,
    ("services", "*", "env_file"): _field("path"),
    ("services", "*", "profiles"): _value,
}


def merge(base: Node, override: Node, report: Report) -> Node:
    """`override` laid over `base`. A value that cannot replace the base's is reported."""
    return _merge(base, override, (), report)


def _merge(base: Node, override: Node, path: Path, report: Report) -> Node:
    pattern = _pattern(path)
    if override.tag is Tag.OVERRIDE or is_invalid(base) or is_invalid(override):
        return override
    if pattern in _REPLACED or pattern[:-1] == _ENVIRONMENT:
        return override
    if is_null(override) or is_null(base):
        return base if is_null(override) else override
    match base, override:
        case Mapping(), Mapping():
            return _merge_mappings(base, override, path, report)
        case Sequence(), Sequence():
            return _merge_lists(base, override, _UNIQUE.get(pattern))
        case Scalar(), _:
            return override
    what = "a mapping" if isinstance(base, Mapping) else "a list"
    report.problem(override.mark, path, f"cannot override {what} of {base.mark.file} with another kind of value")
    return base


def _merge_mappings(base: Mapping, override: Mapping, path: Path, report: Report) -> Mapping:
    entries = dict(base.entries)
    for key, entry in override.entries.items():
        here = (*path, key)
        if entry.node.tag is Tag.RESET:
            entries.pop(key, None)
        elif key in entries:
            entries[key] = Entry(entry.mark, _merge(entries[key].node, entry.node, here, report))
        elif isinstance(entry.node, Mapping):
            # Over an empty base, so that a !reset below it is carried out as well.
            empty = Mapping({}, entry.node.mark)
            entries[key] = Entry(entry.mark, _merge_mappings(empty, entry.node, here, report))
        else:
            entries[key] = entry
    return Mapping(entries, override.mark)


def _merge_lists(base: Sequence, override: Sequence, key: Callable[[Node], object] | None) -> Sequence:
    """Append; where items have a key, an item of the override takes the place of the base's with the same key."""
    items = [item for _, item in base.numbered()]
    indexes = [index for index, _ in base.numbered()]
    places = {key(item): place for place, item in enumerate(items)} if key else {}
    for index, item in override.numbered():
        place = places.get(key(item)) if key else None
        if place is None:
            items.append(item)
            indexes.append(index)
        else:
            items[place], indexes[place] = item, index
    return Sequence(tuple(items), override.mark, indexes=tuple(indexes))


def _pattern(path: Path) -> Pattern:
    """The path with the names of services, networks and volumes as `*`."""
    return tuple("*" if index == 1 else str(step) for index, step in enumerate(path))
