"""The project directory: read-write at its own path for every user, but not what the user runs next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel import inside
from tests.support import TestStack

FILE = """
services:
  web:
    command: sleep MARK
    env_file: settings/deep/web.env
  user:
    command: sleep MARK
    user: "33"
  elsewhere:
    command: sleep MARK
    working_dir: /
"""

PROTECTED = ("stack.yaml", ".env", ".git/config", ".git/hooks/pre-commit", "settings/deep/web.env")
PARENTS = (".git", ".git/hooks", "settings", "settings/deep")


@pytest.fixture(scope="module")
def stack(place: TestStack) -> TestStack:
    for name, text in {
        ".env": "A=1\n",
        ".git/config": "[core]\n",
        ".git/hooks/pre-commit": "#!/bin/sh\n",
        ".git/HEAD": "ref: refs/heads/main\n",
        "settings/deep/web.env": "B=1\n",
        "settings/deep/other": "free\n",
        "source.py": "print()\n",
    }.items():
        path = place.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    place.write(FILE)
    place.run("up", "-d")
    return place


@pytest.fixture(scope="module")
def before(stack: TestStack) -> dict[str, tuple[str, int]]:
    return {name: ((stack.directory / name).read_text(), os.stat(stack.directory / name).st_mode) for name in PROTECTED}


def test_commands_run_in_the_project_unless_told_otherwise(stack: TestStack) -> None:
    assert inside.run(stack, "web", "pwd").stdout.strip() == str(stack.directory)
    assert inside.run(stack, "elsewhere", "pwd").stdout.strip() == "/"


@pytest.mark.parametrize("service", ["web", "user"])
def test_everything_else_is_read_write_and_the_owners_on_both_sides(stack: TestStack, service: str) -> None:
    place, name = stack.directory, f"new-{service}"
    tried = inside.attempts(
        stack,
        service,
        [
            f"open('{place}/source.py', 'a').write('# {service}')",
            f"open('{place}/{name}', 'x').close()",
            f"os.chmod('{place}/{name}', 0o600)",
            f"os.rename('{place}/{name}', '{place}/{name}-renamed')",
            f"os.unlink('{place}/{name}-renamed')",
            f"os.rename('{place}/settings/deep/other', '{place}/settings/deep/renamed')",
            f"os.rename('{place}/settings/deep/renamed', '{place}/settings/deep/other')",
            f"open('{place}/.git/index', 'w').close()",
            f"open('{place}/settings/deep/other', 'a').write('x')",
        ],
    )
    assert set(tried.values()) == {"done"}, tried
    answer = inside.python(stack, service, "s = os.stat(sys.argv[1]); answer = [s.st_uid, os.getuid()]", str(place))
    assert answer[0] == answer[1]


@pytest.mark.parametrize("service", ["web", "user"])
@pytest.mark.parametrize("name", PROTECTED)
def test_a_protected_file_cannot_be_changed_removed_or_replaced(
    stack: TestStack, before: dict[str, tuple[str, int]], service: str, name: str
) -> None:
    path, other = stack.directory / name, stack.directory / f"mine-{service}"
    tried = inside.attempts(
        stack,
        service,
        [
            f"open('{path}', 'a').write('x')",
            f"open('{path}', 'w').write('x')",
            f"os.truncate('{path}', 0)",
            f"os.unlink('{path}')",
            f"os.rename('{path}', '{path}.gone')",
            f"os.chmod('{path}', 0o777)",
            f"os.link('{path}', '{stack.directory}/link-{service}')",
            f"open('{other}', 'w').write('mine')",
            f"os.rename('{other}', '{path}')",
        ],
    )
    assert tried.pop(f"open('{other}', 'w').write('mine')") == "done"
    assert set(tried.values()) <= {"EROFS", "EBUSY", "EXDEV", "EPERM", "EACCES"}, tried
    assert (path.read_text(), path.stat().st_mode) == before[name]


@pytest.mark.parametrize("name", PARENTS)
def test_the_way_to_a_protected_file_cannot_be_moved(stack: TestStack, name: str) -> None:
    path = stack.directory / name
    tried = inside.attempts(
        stack, "web", [f"os.rename('{path}', '{path}.gone')", f"os.rmdir('{path}')", f"os.symlink('/tmp', '{path}')"]
    )
    assert set(tried.values()) <= {"EBUSY", "EEXIST", "EROFS", "EXDEV", "ENOTEMPTY"}, tried
    assert path.is_dir()


def test_hooks_cannot_be_added(stack: TestStack) -> None:
    tried = inside.attempts(stack, "web", [f"open('{stack.directory}/.git/hooks/post-commit', 'x')"])
    assert set(tried.values()) == {"EROFS"}


def test_a_protected_file_can_be_edited_from_outside_and_is_seen(stack: TestStack) -> None:
    path = stack.directory / ".git/config"
    path.write_text("[core]\n\tnew = 1\n")
    try:
        assert "new = 1" in inside.run(stack, "web", "cat", str(path)).stdout
    finally:
        path.write_text("[core]\n")


def test_a_project_that_is_switched_off_is_not_there(new_stack: object) -> None:
    stack: TestStack = new_stack()  # type: ignore[operator]
    stack.write("x-stackup: {project: off}\nservices:\n  web:\n    command: sleep MARK\n    working_dir: /\n")
    stack.run("up", "-d")
    assert inside.run(stack, "web", "test", "-e", str(stack.directory), check=False).code == 1


def test_state_inside_the_project_stays_hidden(new_stack: object) -> None:
    stack: TestStack = new_stack()  # type: ignore[operator]
    stack.state = stack.directory / ".state"
    stack.environment["STACKUP_STATE"] = str(stack.state)
    stack.write("services:\n  web:\n    command: sleep MARK\n")
    stack.run("up", "-d")
    tried = inside.attempts(
        stack, "web", [f"open('{stack.state}/stacks/x', 'x')", f"os.unlink('{stack.state}/stacks')"]
    )
    assert "done" not in tried.values()
    assert inside.python(stack, "web", "answer = os.listdir(sys.argv[1])", str(stack.state)) == []


@pytest.mark.parametrize("target", ["shared.yaml", "nested/shared.yaml"])
def test_a_stack_file_that_is_a_link_cannot_be_replaced(new_stack: object, tmp_path: Path, target: str) -> None:
    stack: TestStack = new_stack()  # type: ignore[operator]
    real = stack.directory / target if "/" in target else tmp_path / target
    real.parent.mkdir(exist_ok=True)
    stack.write("services:\n  web:\n    command: sleep MARK\n").rename(real)
    link = stack.directory / "stack.yaml"
    link.symlink_to(real)
    stack.run("up", "-d")
    text = real.read_text()
    tried = inside.attempts(
        stack, "web", [f"os.unlink('{link}')", f"os.rename('{link}', '{link}.gone')", f"os.symlink('/x', '{link}')"]
    )
    assert "done" not in tried.values(), tried
    assert (link.readlink(), link.read_text()) == (real, text)
