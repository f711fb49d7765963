"""The global options: what every verb is told before its own arguments. Imports nothing heavy, touches nothing."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stackup.stackfile import Source


class Progress(str, Enum):
    AUTO = "auto"
    TTY = "tty"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"


class Ansi(str, Enum):
    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Invocation:
    """The global options as given."""

    files: tuple[str, ...] = ()
    name: str | None = None
    project_directory: str | None = None
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    progress: Progress = Progress.AUTO
    ansi: Ansi = Ansi.AUTO

    def source(self) -> Source:
        """Where the stack file is to be sought, with this process's directory and environment."""
        from stackup.stackfile import Source

        return Source(
            directory=os.getcwd(),
            environ=dict(os.environ),
            files=self.files,
            project_directory=self.project_directory,
            name=self.name,
            profiles=self.profiles,
            env_files=self.env_files,
        )


_LONG = {"--file", "--project-name", "--project-directory", "--profile", "--env-file", "--progress", "--ansi"}
_OWN_F = {"logs"}
"""Verbs with a `-f` of their own (follow)."""
_COMMAND_FOLLOWS = {"exec"}
"""Verbs whose arguments end in a foreign command line, where nothing may be taken out."""


def hoist(arguments: Sequence[str], verbs: Container[str]) -> list[str]:
    """`arguments` with the global options that follow the verb moved before it, as Docker's users type them."""
    start = _verb_position(arguments, verbs)
    if start is None or arguments[start] in _COMMAND_FOLLOWS:
        return list(arguments)
    options = _LONG | {"-p"} | ({"-f"} if arguments[start] not in _OWN_F else set())
    front, rest = list(arguments[:start]), [arguments[start]]
    position = start + 1
    while position < len(arguments):
        word = arguments[position]
        if word == "--":
            rest += arguments[position:]
            break
        if word in options and position + 1 < len(arguments):
            front += arguments[position : position + 2]
            position += 2
            continue
        glued = word.split("=", 1)[0] in _LONG if word.startswith("--") else len(word) > 2 and word[:2] in options
        (front if glued else rest).append(word)
        position += 1
    return front + rest


def _verb_position(arguments: Sequence[str], verbs: Container[str]) -> int | None:
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word in _LONG or word in ("-f", "-p"):
            position += 2
        elif word.startswith("-"):
            position += 1
        else:
            return position if word in verbs else None
    return None
