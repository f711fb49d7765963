"""Where a stack comes from: the caller's words (Source), the files and the project environment they lead to (Location).

Light: no yaml, no pydantic; every command pays for it. Reads files, changes nothing.
Source: compose-spec "Compose file", docker compose "environment variables" (COMPOSE_*; each has a STACKUP_* twin).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stackup.errors import Problem, StackFileError, StackupError
from stackup.stackfile.envfile import EnvFile, parse_env
from stackup.stackfile.interpolate import unset_warning

FILE_NAMES = (
    "stack.yaml",
    "stack.yml",
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
)
_COMPOSE_OVERRIDES = (
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
OVERRIDE_NAMES = {
    **dict.fromkeys(FILE_NAMES[:2], ("stack.override.yaml", "stack.override.yml", *_COMPOSE_OVERRIDES)),
    **dict.fromkeys(FILE_NAMES[2:], _COMPOSE_OVERRIDES),
}
"""The override files looked for beside each discovered file; the first that exists is loaded."""

MAX_BYTES = 16 * 1024 * 1024
"""Of one file: a device must not be read for ever."""

_TRUE_WORDS = frozenset(("1", "t", "true", "y", "yes", "on"))


@dataclass(frozen=True, slots=True)
class Source:
    """What the caller said about the stack, and the surroundings it was said in.

    `directory` is the caller's working directory, `environ` the caller's environment; `files`, `name`, `profiles` and
    `env_files` are the options -f, -p, --profile and --env-file.
    """

    directory: str
    environ: Mapping[str, str]
    files: tuple[str, ...] = ()
    project_directory: str | None = None
    name: str | None = None
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """A JSON-able form, for the way to the supervisor."""
        return {
            "directory": self.directory,
            "environ": dict(self.environ),
            "files": list(self.files),
            "project_directory": self.project_directory,
            "name": self.name,
            "profiles": list(self.profiles),
            "env_files": list(self.env_files),
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Source:
        return cls(
            directory=data["directory"],
            environ=dict(data["environ"]),
            files=tuple(data["files"]),
            project_directory=data["project_directory"],
            name=data["name"],
            profiles=tuple(data["profiles"]),
            env_files=tuple(data["env_files"]),
        )


@dataclass(frozen=True, slots=True)
class Location:
    """The files of a stack and what surrounds them.

    `files` are absolute, in the order they merge. `project_directory` is free of symlinks. `environment` is the project
    environment: the caller's over that of `env_files`, the .env files that were read. `warnings` are for the user.
    """

    files: tuple[str, ...]
    project_directory: str
    environment: Mapping[str, str]
    env_files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def locate(source: Source) -> Location:
    """Find the stack's files and read its .env files.

    Raises:
        StackupError: there is no stack file, or a named file is missing.
        StackFileError: an env file has mistakes.
    """
    environments = _Environments(source)
    if not source.env_files:
        environments.read_default(source.project_directory or source.directory)
    named = source.files or _split(environments.setting("FILE"), environments.setting("PATH_SEPARATOR") or ":")
    if named:
        files = tuple(_named_file(source, name) for name in named)
    else:
        files = _discover(absolute(source, source.project_directory or "."), environments.warnings)
    directory = absolute(source, source.project_directory) if source.project_directory else os.path.dirname(files[0])
    if not os.path.isdir(directory):
        raise StackupError(f"the project directory {directory} does not exist", "check --project-directory")
    environments.read_default(directory)
    return Location(
        files=files,
        project_directory=os.path.realpath(directory),
        environment={**environments.values, **source.environ},
        env_files=tuple(environments.files),
        warnings=tuple(dict.fromkeys(environments.warnings)),
    )


def absolute(source: Source, path: str) -> str:
    """`path` as the caller meant it: relative to the caller's directory, `~` the caller's home."""
    return os.path.normpath(os.path.join(source.directory, expand_home(path, source.environ)))


def expand_home(path: str, environ: Mapping[str, str]) -> str:
    if path == "~" or path.startswith("~/"):
        return (environ.get("HOME") or os.path.expanduser("~")) + path[1:]
    return path


def shown(source: Source, path: str) -> str:
    """`path` as the user knows it: relative where it is below the caller's directory."""
    below = os.path.join(source.directory, "")
    return path.removeprefix(below) if path.startswith(below) else path


def setting(environment: Mapping[str, str], name: str) -> str | None:
    """The setting STACKUP_`name`, or else COMPOSE_`name`; an empty one counts as not set."""
    return environment.get(f"STACKUP_{name}") or environment.get(f"COMPOSE_{name}") or None


def normalise_name(name: str) -> str:
    """A file's or directory's name as a stack's name: lower case letters, digits, `-` and `_`."""
    return re.sub(r"[^a-z0-9_-]", "", name.lower()).lstrip("_-")


def chosen_name(source: Source, location: Location) -> str | None:
    """The name given by -p or by the environment, which must be valid as it is; None where none is given.

    Raises:
        StackupError: the name is not valid.
    """
    name = source.name or setting(source.environ, "PROJECT_NAME") or setting(location.environment, "PROJECT_NAME")
    if name and normalise_name(name) != name:
        raise StackupError(
            f"{name!r} is not a valid stack name",
            "use lower case letters, digits, - and _, and begin with a letter or a digit",
        )
    return name


def default_name(location: Location, written: str | None) -> str:
    """The name where none was chosen: the file's `name:`, or else that of the project directory.

    Raises:
        StackupError: nothing usable is left of either.
    """
    name = normalise_name(written if written is not None else os.path.basename(location.project_directory))
    if not name:
        raise StackupError("the stack's name must not be empty", "name it: `name: NAME` in the file, or -p NAME")
    return name


class _Environments:
    """The .env files, read as they become known, and the settings (COMPOSE_*) that they and the caller give."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.values: dict[str, str] = {}
        self.files: list[str] = []
        self.warnings: list[str] = []
        listed = source.env_files or _split(setting(source.environ, "ENV_FILES"), ",")
        disabled = (setting(source.environ, "DISABLE_ENV_FILE") or "").lower() in _TRUE_WORDS
        self.use_default = not listed and not disabled
        for name in listed:
            path = absolute(source, name)
            if not os.path.exists(path):
                raise StackupError(f"couldn't find env file: {path}", "check --env-file and COMPOSE_ENV_FILES")
            self.values.update(self._read(path))

    def read_default(self, directory: str) -> None:
        """Read the directory's .env, if default files are read at all; it fills what is not set yet."""
        path = os.path.join(absolute(self.source, directory), ".env")
        if self.use_default and path not in self.files and os.path.isfile(path):
            self.values = {**self._read(path), **self.values}

    def setting(self, name: str) -> str | None:
        return setting(self.source.environ, name) or setting(self.values, name)

    def _read(self, path: str) -> dict[str, str]:
        parsed = read_env_file(path, self.source.environ, self.values)
        if parsed.faults:
            file = shown(self.source, path)
            raise StackFileError([Problem(file, fault.line, fault.column, "", fault.reason) for fault in parsed.faults])
        self.files.append(path)
        self.warnings += map(unset_warning, parsed.unset)
        return {key: value for key, value in parsed.values.items() if key and not key[0].isdigit()}


def read_env_file(path: str, inherited: Mapping[str, str], earlier: Mapping[str, str]) -> EnvFile:
    """Parse the file at `path`.

    Raises:
        StackupError: it cannot be read, or is no text.
    """
    return parse_env(read_text(path, "env file"), inherited, earlier)


def read_text(path: str, what: str) -> str:
    return _decode(read_bytes(path, what), path, what)


def read_bytes(path: str, what: str) -> bytes:
    """The content of a file.

    Raises:
        StackupError: it cannot be read, or has no end.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StackupError(f"cannot read the {what} {path}: {os.strerror(error.errno or 0).lower()}") from error
    if len(data) > MAX_BYTES:
        raise StackupError(f"the {what} {path} is larger than {MAX_BYTES // 1024 // 1024} MiB")
    return data


def _decode(data: bytes, path: str, what: str) -> str:
    if b"\0" in data:
        raise StackupError(f"the {what} {path} contains a NUL character", "it is no text file")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StackupError(f"the {what} {path} is not UTF-8 text (line {line})", "save the file as UTF-8") from error


def _split(text: str | None, separator: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(separator) if part.strip())


def _named_file(source: Source, name: str) -> str:
    if name == "-":
        raise StackupError("a stack file from standard input is not built yet in stackup", "write it to a file")
    path = absolute(source, name)
    if not os.path.exists(path):
        raise StackupError(f"no such stack file: {path}", "check -f and COMPOSE_FILE")
    return path


def _discover(directory: str, warnings: list[str]) -> tuple[str, ...]:
    start = directory
    while True:
        found = [name for name in FILE_NAMES if os.path.isfile(os.path.join(directory, name))]
        if found:
            break
        parent = os.path.dirname(directory)
        if parent == directory:
            raise StackupError(
                f"no stack file found in {start} or its parents",
                f"create {FILE_NAMES[0]} (or {FILE_NAMES[2]}), or name a file with -f",
            )
        directory = parent
    if len(found) > 1:
        warnings.append(f"found several stack files in {directory}: {', '.join(found)}; using {found[0]}")
    overrides = [name for name in OVERRIDE_NAMES[found[0]] if os.path.isfile(os.path.join(directory, name))]
    return tuple(os.path.join(directory, name) for name in (found[0], *overrides[:1]))


def active_profiles(source: Source, location: Location) -> frozenset[str]:
    """The profiles of --profile, or else of the environment."""
    return frozenset(source.profiles or _split(setting(location.environment, "PROFILES"), ","))
