"""Which changed files concern which services: `develop.watch` rules and .dockerignore patterns. Pure matching.

Patterns follow Docker's .dockerignore: relative to the rule's path, `*` and `?` stay within a name, `**` crosses
directories, a pattern that matches a directory matches all below it, the last pattern that matches decides, `!` takes
a match back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

from stackup.core.types import ContainerSpec, WatchAction, WatchRule

DEFAULT_IGNORED = (
    ".git",
    "*.swp",
    "*.swx",
    "*.swpx",
    "4913",
    "*~",
    ".#*",
    "#*#",
    ".idea",
    "*___jb_tmp___",
    "*___jb_old___",
    ".*.kate-swp",
    ".goutputstream-*",
    "*-go-tmp-umask",
    "__pycache__",
)
"""File names that are never a change of the source: version control, editors' temporary files, compiled Python."""

_IGNORED = re.compile("|".join(translate(pattern) for pattern in DEFAULT_IGNORED))


@dataclass(frozen=True, slots=True)
class Copy:
    """A changed file to bring up to date in the container: copied, or removed there if it no longer exists."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Reaction:
    """What one batch of changes asks of one service. First all copies, then the restart, once."""

    service: str
    files: tuple[str, ...]
    restart: bool = False
    copies: tuple[Copy, ...] = ()


def react(specs: Iterable[ContainerSpec], changed: Iterable[str]) -> tuple[Reaction, ...]:
    """The reactions to a batch of changed absolute paths, one per service concerned, sorted by service."""
    rules = {spec.service: spec.watch for spec in specs if spec.watch}
    paths = sorted(set(changed))
    reactions = (_of_service(service, rules[service], paths) for service in sorted(rules))
    return tuple(reaction for reaction in reactions if reaction is not None)


def watched_paths(specs: Iterable[ContainerSpec]) -> tuple[str, ...]:
    """The paths that must be watched for `react`, without those below another one."""
    found: list[str] = []
    for path in sorted({rule.path.rstrip("/") or "/" for spec in specs for rule in spec.watch}, key=_parts):
        if not found or _relative(found[-1], path) is None:
            found.append(path)
    return tuple(found)


def matches(rule: WatchRule, path: str) -> bool:
    """Whether a change of `path` (absolute) is one the rule asks for: below its path, included, and not ignored."""
    relative = _relative(rule.path, path)
    if relative is None:
        return False
    if not relative:  # the rule's path itself: a single file, or the directory replaced
        return True
    if any(_IGNORED.match(name) for name in relative.split("/")):
        return False
    if rule.include and not matches_patterns(rule.include, relative):
        return False
    return not matches_patterns(rule.ignore, relative)


def matches_patterns(patterns: Sequence[str], relative: str) -> bool:
    """Whether .dockerignore `patterns` select the relative path: the last one that matches decides."""
    selected = False
    for pattern in patterns:
        text, negated = (pattern[1:], True) if pattern.startswith("!") else (pattern, False)
        if selected is negated and _compiled(text).match(relative):
            selected = not negated
    return selected


def _of_service(service: str, rules: Sequence[WatchRule], paths: Sequence[str]) -> Reaction | None:
    files: dict[str, None] = {}
    copies: dict[Copy, None] = {}
    restart = False
    for rule in rules:
        for path in paths:
            if not matches(rule, path):
                continue
            files[path] = None
            restart = restart or rule.action is not WatchAction.SYNC
            if rule.action is not WatchAction.RESTART and rule.target is not None:
                copies[Copy(path, _join(rule.target, _relative(rule.path, path) or ""))] = None
    return Reaction(service, tuple(sorted(files)), restart, tuple(copies)) if files else None


def _parts(path: str) -> list[str]:
    return path.split("/")


def _relative(root: str, path: str) -> str | None:
    """`path` relative to `root`, "" for the root itself, None if it is not below."""
    root = root.rstrip("/")
    if path == root or (not root and path == "/"):
        return ""
    return path[len(root) + 1 :] if path.startswith(root + "/") else None


def _join(directory: str, relative: str) -> str:
    return f"{directory.rstrip('/')}/{relative}" if relative else directory


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A .dockerignore pattern as an expression for the whole relative path or a directory above it."""
    names = [name for name in pattern.strip().split("/") if name not in ("", ".")]
    expression = ""
    for position, name in enumerate(names):
        last = position == len(names) - 1
        if name == "**":
            expression += ".*" if last else "(?:.*/)?"
        else:
            expression += _name_expression(name) + ("" if last else "/")
    return re.compile(f"(?:{expression})(?:/.*)?\\Z" if names else r"(?!)", re.DOTALL)


_RANGE = r"(?:\\?[^\]](?:-\\?[^\]])?)"
_CLASS = re.compile(rf"(?P<negated>\^?)(?P<ranges>{_RANGE}+)\]", re.DOTALL)


def _class_expression(negated: str, ranges: str) -> str:
    """A character class; one with a range that runs backwards matches nothing, for it names no character."""
    expression = ""
    for low, high in re.findall(r"\\?([^\]])(?:-\\?([^\]]))?", ranges, re.DOTALL):
        if high and high < low:
            return r"(?!)"
        expression += re.escape(low) + (f"-{re.escape(high)}" if high else "")
    return f"(?:(?!/)[{negated}{expression}])"


def _name_expression(name: str) -> str:
    """One name of a pattern (Go's filepath.Match): `*`, `?`, `[a-z]`, `[^a]`, and a backslash before a literal."""
    expression, position = "", 0
    while position < len(name):
        char = name[position]
        position += 1
        if char == "*":
            while name[position : position + 1] == "*":
                position += 1
            expression += "[^/]*"
        elif char == "?":
            expression += "[^/]"
        elif char == "\\" and position < len(name):
            expression += re.escape(name[position])
            position += 1
        elif char == "[" and (found := _CLASS.match(name, position)) is not None:
            expression += _class_expression(found["negated"], found["ranges"])
            position = found.end()
        else:
            expression += re.escape(char)
    return expression
