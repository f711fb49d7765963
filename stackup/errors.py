"""Every error that a user can meet, in one tree. Imports nothing heavy; raised anywhere, printed only by the CLI.

    StackupError              what went wrong, and what to do about it
    |-- StackFileError        every problem of the stack's files, each with its place (exit 2)
    |-- HostError             the kernel or the file system refused an operation on an object
    |-- LaunchError           a step between clone and exec of a container failed
    |-- StateError            the state directory is locked, foreign or from another version
    `-- DependencyError       a dependency failed, so that `up` cannot finish

Anything else that reaches the CLI is a defect of stackup and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class StackupError(Exception):
    """Base of all errors meant for the user.

    Attributes:
        message: what failed and why, without a trailing full stop.
        hint: what the user can do about it, or None.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a stack's files. `line` and `column` count from 1; `path` is of keys (`services.web.ports[0]`)."""

    file: str
    line: int
    column: int
    path: str
    reason: str
    suggestion: str | None = field(default=None)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        where = f"{self.path}: " if self.path else ""
        tail = f" ({self.suggestion})" if self.suggestion else ""
        return place + where + self.reason + tail


class StackFileError(StackupError):
    """The stack's files are wrong. All problems of one load, sorted by place."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class HostError(StackupError):
    """The host refused an operation.

    Attributes:
        operation: what was tried (`bind`, `create bridge`).
        subject: the object it was tried on (`127.0.0.1:8080`).
        errno: the errno value, or None where there is none.
    """

    def __init__(self, operation: str, subject: str, reason: str, *, errno: int | None = None, hint: str | None = None):
        super().__init__(f"cannot {operation} {subject}: {reason}", hint)
        self.operation, self.subject, self.errno = operation, subject, errno


class LaunchError(StackupError):
    """A container could not be launched: `step` names the step between clone and exec."""

    def __init__(self, container: str, step: str, reason: str, *, errno: int | None = None, hint: str | None = None):
        super().__init__(f"cannot start {container}: {step}: {reason}", hint)
        self.container, self.step, self.errno = container, step, errno


class StateError(StackupError):
    """The state directory cannot be used: locked, owned by somebody else, or of another stack."""


class DependencyError(StackupError):
    """A dependency failed, so that what waits for it cannot start. The message is the whole block for the user."""
