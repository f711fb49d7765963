"""What containers see of the user's own files: the project directory, what stays read-only in it, what is never shown.

Asks the file system and the user database; changes nothing.
"""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence

import stackup
from stackup.core import types
from stackup.errors import StackupError
from stackup.stackfile.nodes import Report, find, written
from stackup.stackfile.source import expand_home
from stackup.stackfile.stack import Stack

_CREDENTIALS = (
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/gh",
    ".docker",
    ".git-credentials",
    ".kube",
    ".local/share/keyrings",
    ".netrc",
    ".password-store",
    ".pypirc",
    ".vault-token",
)
"""Below a home directory: what programs keep their keys and tokens in."""


def resolve_project(stack: Stack, selected: Sequence[str]) -> types.Project:
    """How containers see the project directory.

    Raises:
        StackupError: the directory is too much to share, and the file does not say that it shall be.
    """
    directory, wish = stack.directory, stack.file.x_stackup.project
    if wish is None and (what := _too_wide(directory, stack.source.environ.get("HOME"))):
        raise StackupError(
            f"the project directory {directory} is {what}, and every container could write to all of it",
            "move the stack file into a directory of its own, or say `x-stackup: {project: rw}` at the top of the file "
            "(`off` gives the containers no project directory)",
        )
    env_files = [stack.absolute(env_file.path) for name in selected for env_file in stack.file.services[name].env_file]
    files = (*stack.location.files, *stack.location.env_files, *env_files)
    prefixes = (sys.prefix, os.path.dirname(os.path.abspath(stackup.__file__)))
    git = os.path.join(directory, ".git")
    candidates = (*files, *prefixes, os.path.join(git, "hooks"), os.path.join(git, "config"))
    return types.Project(
        directory=directory,
        files=stack.location.files,
        protected=_protected(directory, candidates),
        shared=wish != "off",
    )


def _protected(directory: str, candidates: Sequence[str]) -> tuple[str, ...]:
    """The existing ones below the directory, and every symlink that leads to one: who changes it changes the file."""
    below = os.path.join(directory, "")
    paths = sorted(
        {step for path in candidates if os.path.exists(path) for step in (*_way_to(path), os.path.realpath(path))}
    )
    inside = [path for path in paths if path.startswith(below)]
    return tuple(path for path in inside if not any(path.startswith(other + "/") for other in inside))


def _way_to(path: str) -> list[str]:
    """Where `path` really is, and before it the symlinks passed on the way, each by its own real place."""
    parent, name = os.path.split(os.path.abspath(path))
    if not name:
        return []
    *links, real_parent = _way_to(parent) or ["/"]
    here = os.path.join(real_parent, name)
    if not os.path.islink(here):
        return [*links, here]
    return [*links, here, *_way_to(os.path.join(real_parent, os.readlink(here)))]


def _too_wide(directory: str, home: str | None) -> str | None:
    """What makes a directory too much to share: it is `/`, a home directory or an ancestor of one."""
    if directory == "/":
        return "the root directory"
    homes = {"/root", "/home/*", expand_home("~", {"HOME": home or ""}), _login_home()}
    homes = {home if home.endswith("*") else os.path.realpath(home) for home in homes if home.startswith("/")} - {"/"}
    if directory in homes or os.path.dirname(directory) == "/home":
        return "a home directory"
    if any(other.startswith(directory + "/") for other in homes):
        return "an ancestor of a home directory"
    return None


def _login_home() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def report_credentials(stack: Stack, services: Sequence[str], report: Report) -> None:
    """Report each path of `x-stackup.rootfs.show` that would make keys or tokens visible."""
    homes = {expand_home("~", stack.source.environ), _login_home()} - {""}
    hidden = {os.path.realpath(os.path.join(home, name)) for home in homes for name in _CREDENTIALS}
    for service in services:
        for index, path in enumerate(stack.file.services[service].x_stackup.rootfs.show):
            real = os.path.realpath(stack.absolute(path))
            if secret := next((secret for secret in sorted(hidden) if _reveals(real, secret)), None):
                key_path = ("services", service, "x-stackup", "rootfs", "show", index)
                mark = find(stack.document, key_path)[1].mark
                reason = f"would show the credentials in {secret}"
                report.problem(mark, written(stack.document, key_path), reason, "show a narrower path")


def _reveals(path: str, secret: str) -> bool:
    inside = path == secret or path.startswith(secret + "/")
    return inside or (os.path.exists(secret) and secret.startswith(path.rstrip("/") + "/"))
