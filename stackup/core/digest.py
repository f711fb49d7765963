"""When are two specs the same container, and if they are not, what changed in words.

Owns the one list of fields that never need a new container (LIVE_FIELDS) and the text of causes. Values that look like
secrets never appear in that text; it is one line without control characters.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from operator import attrgetter
from typing import Any

from stackup.core.codec import to_plain
from stackup.core.types import Attachment, ContainerSpec, Dependency, Port, WatchRule

LIVE_FIELDS = ("depends_on", "watch")
"""Fields read by the supervisor alone: a change takes effect without a new container."""

_FIELDS = tuple(field.name for field in fields(ContainerSpec))
_BOUND = attrgetter(*(name for name in _FIELDS if name not in LIVE_FIELDS))

_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)
_SECRET_ASSIGNMENT = re.compile(
    r"(?i)([\w.-]*(?:password|passwd|passphrase|secret|token|key|credential)[\w.-]*[=:]\s*)(\S+)"
)
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)")
_MASK = "***"
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two specs. `before` and `after` are texts for people, None where nothing is to show."""

    path: str
    what: str
    before: str | None = None
    after: str | None = None

    def __str__(self) -> str:
        text = f"{self.path} {self.what}"
        return text if self.before is None else f"{text}: {self.before} -> {self.after}"


def digest(spec: ContainerSpec) -> str:
    """SHA-256 (hex) of the canonical JSON of every field outside LIVE_FIELDS."""
    plain = {name: value for name, value in to_plain(spec).items() if name not in LIVE_FIELDS}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def same_container(one: ContainerSpec, other: ContainerSpec) -> bool:
    """Whether both have one digest, found without computing it."""
    return one is other or bool(_BOUND(one) == _BOUND(other))


def changes(old: ContainerSpec, new: ContainerSpec) -> tuple[Change, ...]:
    """Every field that differs, in the order of the spec's fields; mappings and keyed lists entry by entry."""
    found: list[Change] = []
    for name in _FIELDS:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            found.extend(_differences(name, before, after))
    return tuple(found)


def summarize(found: tuple[Change, ...], limit: int = 3) -> str:
    """The first changes as one cause."""
    text = "; ".join(str(change) for change in found[:limit])
    return text if len(found) <= limit else f"{text}; and {len(found) - limit} more"


def mask(text: str) -> str:
    """`text` without the values of things named like secrets and without passwords in URLs."""
    return _SECRET_ASSIGNMENT.sub(rf"\1{_MASK}", _URL_PASSWORD.sub(rf"\1{_MASK}\2", text))


def _differences(path: str, before: Any, after: Any) -> Iterable[Change]:
    keyed = _keyed(path, before), _keyed(path, after)
    if keyed[0] is not None and keyed[1] is not None:
        yield from _entries(path, keyed[0], keyed[1])
    elif is_dataclass(before) and type(before) is type(after):
        for field in fields(before):
            old, new = getattr(before, field.name), getattr(after, field.name)
            if old != new:
                yield Change(f"{path}.{field.name}", "changed", _text(old), _text(new))
    elif before is None or after is None:
        yield Change(path, "added" if before is None else "removed")
    else:
        yield Change(path, "changed", _text(before), _text(after))


def _keyed(path: str, value: Any) -> Mapping[str, Any] | None:
    """A tuple of entries by the key a reader knows them by; None where the field is no such tuple."""
    match path:
        case "environment" | "labels":
            return dict(value)
        case "mounts":
            return {mount.target: mount for mount in value}
        case "networks" | "ports" | "depends_on" | "watch":
            return {_key(item): item for item in value}
        case "show":
            return dict.fromkeys(value)
    return None


def _key(item: Attachment | Port | Dependency | WatchRule) -> str:
    match item:
        case Attachment():
            return item.network
        case Dependency():
            return item.service
        case WatchRule():
            return item.path
        case Port():
            host = f"{item.host_ip}:" if item.host_ip else ""
            published = f"{item.published}:" if item.published else ""
            return f"{host}{published}{item.target}/{item.protocol}"


def _entries(path: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterable[Change]:
    differing = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    differing += [key for key in sorted(before.keys() ^ after.keys()) if key not in differing]
    for key in differing:
        name = f"{path}.{_one_line(key)}"
        if key not in before or key not in after:
            yield Change(name, "added" if key in after else "removed")
        elif isinstance(before[key], str):
            hidden = _SECRET_NAME.search(key) is not None
            yield Change(name, "changed", *(_MASK if hidden else _text(side[key]) for side in (before, after)))
        else:
            yield Change(name, "changed")
    if not differing:
        yield Change(path, "reordered")


def _text(value: Any) -> str:
    match value:
        case None:
            return "(none)"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case Enum():
            return str(value.value)
        case tuple() if all(isinstance(item, str) for item in value):
            return _one_line(mask(shlex.join(value)))
        case str():
            return _one_line(mask(value)) or '""'
    return _one_line(mask(str(value)))


def _one_line(text: str) -> str:
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
