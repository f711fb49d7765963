"""The grammar of .env files and of `env_file` (Compose specification, "Env_file format"), and of the `raw` format.

Pure: text in, values and faults out. Light: read by every command that looks for a stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stackup.stackfile.interpolate import RequiredVariableError, TemplateError, interpolate

_KEY_END = re.compile(r"[=:\n]")
_BAD_KEY_CHARACTER = re.compile(r"[^\w.\-\[\]]")
_EXPORT = re.compile(r"export[ \t]+")
_ESCAPE = re.compile(r"\\(?:0([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPES = {
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "$": "$$",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in the file; `line` and `column` count from 1."""

    line: int
    column: int
    reason: str


@dataclass(slots=True)
class EnvFile:
    """What a file says. `unset` are names that were referred to and have no value."""

    values: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)


def parse_env(text: str, inherited: Mapping[str, str], earlier: Mapping[str, str]) -> EnvFile:
    """Read dotenv text. References and bare keys look in `inherited`, then in this file, then in `earlier`."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    result = EnvFile()

    def lookup(name: str) -> str | None:
        return inherited.get(name, result.values.get(name, earlier.get(name)))

    def fault(position: int, reason: str) -> None:
        start = text.rfind("\n", 0, position) + 1
        result.faults.append(Fault(text.count("\n", 0, position) + 1, position - start + 1, reason))

    def expand(value: str, position: int) -> str:
        try:
            return interpolate(value, lookup, result.unset.append)
        except (TemplateError, RequiredVariableError) as error:
            fault(position, str(error))
            return ""

    position, end = 0, len(text)
    while position < end:
        if text[position].isspace():
            position += 1
            continue
        line_end = text.find("\n", position)
        line_end = end if line_end < 0 else line_end
        if text[position] == "#":
            position = line_end
            continue
        if export := _EXPORT.match(text, position):
            position = export.end()
        separator = _KEY_END.search(text, position)
        key_end = separator.start() if separator else end
        key = text[position:key_end].rstrip()
        if reason := _key_fault(key):
            fault(position, reason)
            position = line_end
            continue
        if key_end == line_end:
            if (found := lookup(key)) is not None:
                result.values[key] = found
            position = line_end
            continue
        position, value = _read_value(text, key_end + 1, line_end, expand, fault)
        if value is not None:
            result.values[key] = value
    return result


def _key_fault(key: str) -> str | None:
    if " " in key or "\t" in key:
        return f'key cannot contain a space: "{key}"'
    if bad := _BAD_KEY_CHARACTER.search(key):
        return f'unexpected character "{bad[0]}" in variable name "{key}"'
    return None


def _read_value(
    text: str, position: int, line_end: int, expand: Callable[[str, int], str], fault: Callable[[int, str], None]
) -> tuple[int, str | None]:
    """Read the value that starts at `position`: where to go on, and the value (None where it is faulty)."""
    start = position
    while start < line_end and text[start] in " \t":
        start += 1
    quote = text[start : start + 1]
    if quote not in ("'", '"'):
        # From the separator on: a "#" counts as a comment only behind a blank, and a value may begin with one.
        value = text[position:line_end]
        comment = re.search(r"\s#", value)
        return line_end, expand((value[: comment.start()] if comment else value).strip(), start)
    closing = start + 1
    while closing < len(text) and text[closing] != quote:
        closing += 2 if text[closing] == "\\" else 1
    if closing >= len(text):
        fault(start, f"unterminated quoted value {text[start:line_end]}")
        return line_end, None
    rest_end = text.find("\n", closing)
    rest_end = len(text) if rest_end < 0 else rest_end
    rest = text[closing + 1 : rest_end].strip()
    if rest and not rest.startswith("#"):
        fault(closing + 1, f'unexpected text after the closing quote: "{rest}"')
        return rest_end, None
    inner = text[start + 1 : closing]
    if quote == "'":
        return rest_end, inner.replace("\\'", "'")
    return rest_end, expand(_ESCAPE.sub(_unescape, inner), start)


def _unescape(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 8))
    return _ESCAPES.get(match[2], match[0])


def parse_raw(text: str, inherited: Mapping[str, str]) -> EnvFile:
    """Read the format of `docker run --env-file`: values verbatim, no quotes, no variables."""
    result = EnvFile()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        key, separator, value = line.partition("=")
        if not key:
            result.faults.append(Fault(number, 1, "no variable name before ="))
        elif any(character.isspace() for character in key):
            result.faults.append(Fault(number, 1, f'variable "{key}" contains whitespaces'))
        elif separator:
            result.values[key] = value
        elif key in inherited:
            result.values[key] = inherited[key]
    return result
