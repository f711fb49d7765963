"""The small grammars of single values: sizes, durations, command lines, signals, restart policies, addresses, names.

Pure functions from a written value to its meaning; a bad value raises ValueError with the reason in the user's words.
"""

from __future__ import annotations

import re
import signal
import socket
from decimal import Decimal

_BYTES = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?(b|[kmgtp](?:b|ib)?)?", re.IGNORECASE)
_DURATION = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h|d|w))+")
_DURATION_PART = re.compile(r"([0-9.]+)([a-zµμ]+)")
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}
_SHELL_OPERATORS = frozenset(";&|<>")
_HOSTNAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
HOST_NAME_MAX = 64
"""Bytes of a host name, sethostname(2)."""

RESTART_WORDS = ("no", "always", "on-failure[:N]", "unless-stopped")
_SIGNAL_NUMBERS = frozenset(int(number) for number in signal.Signals)
SIGNAL_NAMES = tuple(number.name for number in sorted(signal.Signals))


def parse_bytes(text: str) -> int:
    """A size in bytes: `512`, `1.5g`, `64 MiB`; all units are powers of 1024."""
    match = _BYTES.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a size: write a number with a unit, like 64m or 1.5g")
    power = "bkmgtp".index((match[2] or "b")[0].lower())
    return int(float(match[1]) * 1024**power) if "." in match[1] else int(match[1]) * 1024**power


def parse_duration(text: str) -> float:
    """A duration in seconds: `1h30m`, `1.5s`, `500ms`, `0`."""
    if text in ("0", "+0", "-0"):
        return 0.0
    if not _DURATION.fullmatch(text):
        reason = "missing unit" if re.fullmatch(r"[+-]?[0-9.]+", text) else "not a duration"
        raise ValueError(f"{text!r}: {reason}: write a number with a unit, like 10s or 1m30s")
    try:
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    except ValueError as error:
        raise ValueError(f"{text!r}: not a duration: write a number with a unit, like 10s or 1m30s") from error
    if text.startswith("-") and seconds:
        raise ValueError(f"{text!r}: a duration cannot be negative")
    return round(seconds, 9)


def split_command(text: str) -> list[str]:
    """Split a command line as a POSIX shell splits words: quotes and backslashes, nothing else.

    No shell runs it, so an operator outside quotes is refused instead of being passed on as a word.
    """
    words: list[str] = []
    word: str | None = None
    quote, index = "", 0
    while index < len(text):
        character = text[index]
        following = text[index + 1 : index + 2]
        if character == quote:
            quote = ""
        elif character == "\\" and (not quote or (quote == '"' and following in ('"', "\\", "$", "`"))):
            word = (word or "") + following
            index += 1
        elif quote:
            word = (word or "") + character
        elif character in "'\"":
            quote, word = character, word or ""
        elif character in _SHELL_OPERATORS:
            raise ValueError(f"{character!r} needs a shell, and none runs here: quote it, or use [sh, -c, '...']")
        elif not character.isspace():
            word = (word or "") + character
        elif word is not None:
            words.append(word)
            word = None
        index += 1
    if quote:
        raise ValueError(f"unbalanced quote {quote} in {text!r}")
    return words if word is None else [*words, word]


def parse_signal(text: str) -> str:
    """The canonical name of a signal: `TERM`, `SIGTERM` and `15` are SIGTERM; SIGRTMIN+N counts from SIGRTMIN."""
    name = text.upper()
    if name.isdecimal():
        number = int(name)
        if number in _SIGNAL_NUMBERS:
            return signal.Signals(number).name
        if signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name in signal.Signals.__members__:
        return signal.Signals[name].name
    if match := re.fullmatch(r"SIGRT(MIN\+|MAX-)([0-9]{1,2})", name):
        offset = int(match[2])
        if offset <= signal.SIGRTMAX - signal.SIGRTMIN:
            number = signal.SIGRTMIN + offset if match[1] == "MIN+" else signal.SIGRTMAX - offset
            return signal.Signals(number).name if number in _SIGNAL_NUMBERS else f"SIGRTMIN+{number - signal.SIGRTMIN}"
    raise ValueError(f"unknown signal {text!r}: use one of {', '.join(SIGNAL_NAMES)}")


def parse_restart(text: str) -> tuple[str, int | None]:
    """A restart policy's mode and, for `on-failure:N`, the number of attempts."""
    mode, separator, attempts = text.partition(":")
    if mode == "on-failure" and separator and attempts.isdecimal():
        return mode, int(attempts)
    if separator or mode not in ("no", "always", "on-failure", "unless-stopped"):
        raise ValueError(f"{text!r} is not a restart policy: use one of {', '.join(RESTART_WORDS)}")
    return mode, None


def parse_address(text: str) -> str:
    """An IP address in its canonical form."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):
            continue
    raise ValueError(f"invalid IP address {text!r}")


def check_hostname(text: str) -> str:
    if not _HOSTNAME.fullmatch(text) or len(text) > HOST_NAME_MAX:
        raise ValueError(f"{text!r} is not a host name: use letters, digits and -, at most 63 between two dots")
    return text


def go_text(value: str | int | float | bool | None) -> str:
    """A scalar as the Compose loader prints it into an environment: `true`, `2.5`, `1e+10`; null is empty."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return _go_float(value)
        case _:
            return str(value)


def _go_float(value: float) -> str:
    """Go's %g with the shortest digits (strconv.FormatFloat): an exponent below -4 or from 6 on is written as such."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return repr(value).removesuffix(".0")
    sign, digit_list, scale = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, digit_list)).rstrip("0")
    exponent = len(digit_list) - 1 + int(scale)
    minus = "-" if sign else ""
    if not -4 <= exponent < 6:
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{minus}{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    if exponent < 0:
        return f"{minus}0.{'0' * (-exponent - 1)}{digits}"
    whole, fraction = digits[: exponent + 1].ljust(exponent + 1, "0"), digits[exponent + 1 :]
    return f"{minus}{whole}.{fraction}" if fraction else f"{minus}{whole}"
