"""`user:` in all its forms, for root's range of ids and for a caller with one id."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from tests.kernel import inside
from tests.support import IS_ROOT, TestStack

FILE = """
services:
  none:
    command: sleep MARK
  name:
    command: sleep MARK
    user: www-data
  number:
    command: sleep MARK
    user: "33"
  unknown:
    command: sleep MARK
    user: "4321"
  pair:
    command: sleep MARK
    user: "4321:5432"
  name-group:
    command: sleep MARK
    user: "www-data:daemon"
"""

PROGRAM = """
import grp, pwd
def name_of(lookup, number):
    try:
        return lookup(number)[0]
    except KeyError:
        return None
answer = {
    'ids': [os.getresuid(), os.getresgid()],
    'groups': sorted(set(os.getgroups()) - {os.getgid()}),
    'user': name_of(pwd.getpwuid, os.getuid()),
    'group': name_of(grp.getgrgid, os.getgid()),
    'home': os.environ['HOME'],
}
"""


@pytest.fixture(scope="module")
def stack(place: TestStack) -> TestStack:
    place.write(FILE)
    place.run("up", "-d")
    return place


CASES = {
    "name": (33, 33, "www-data", "www-data"),
    "number": (33, 33, "www-data", "www-data"),
    "unknown": (4321, 0, "4321", "root"),
    "pair": (4321, 5432, "4321", "4321"),
    "name-group": (33, 1, "www-data", "daemon"),
}


@pytest.mark.parametrize("service", CASES)
def test_a_program_runs_as_the_user_that_was_asked_for(stack: TestStack, service: str) -> None:
    uid, gid, user, group = CASES[service]
    found = inside.python(stack, service, PROGRAM)
    assert found["ids"] == [[uid] * 3, [gid] * 3]
    assert (found["user"], found["group"]) == (user, group)


def test_without_a_user_it_is_root_or_the_caller(stack: TestStack) -> None:
    found = inside.python(stack, "none", PROGRAM)
    assert found["ids"] == [[os.geteuid()] * 3, [os.getegid()] * 3]
    assert found["user"] == pwd.getpwuid(os.geteuid()).pw_name
    assert found["home"] == pwd.getpwuid(os.geteuid()).pw_dir


def test_no_group_of_the_caller_comes_along(stack: TestStack) -> None:
    for service in CASES:
        groups = inside.python(stack, service, PROGRAM)["groups"]
        # Groups that the caller has and that no id map covers show as the overflow id (user_namespaces(7)).
        assert groups == [] or (not IS_ROOT and set(groups) <= {65534})


@pytest.mark.skipif(not IS_ROOT, reason="with one id there are no other groups")
def test_a_user_has_the_groups_that_the_host_lists_for_it(new_stack: object) -> None:
    members = {user: entry.gr_gid for entry in grp.getgrall() for user in entry.gr_mem if entry.gr_gid < 65536}
    user = next((name for name in sorted(members) if pwd.getpwnam(name).pw_uid < 65536), None)
    if user is None:
        pytest.skip("/etc/group lists no member of any group")
    stack: TestStack = new_stack()  # type: ignore[operator]
    stack.write(f"services:\n  web:\n    command: sleep MARK\n    user: {user}\n    working_dir: /\n")
    stack.run("up", "-d")
    expected = {entry.gr_gid for entry in grp.getgrall() if user in entry.gr_mem and entry.gr_gid < 65536}
    # Of the program itself, and of a command started in its container.
    status = inside.status(inside.run(stack, "web", "cat", "/proc/1/status").stdout)
    assert set(map(int, status["Groups"].split())) - {pwd.getpwnam(user).pw_gid} == expected
    assert set(inside.python(stack, "web", "answer = os.getgroups()")) - {pwd.getpwnam(user).pw_gid} == expected


@pytest.mark.parametrize("service", ["none", *CASES])
def test_outside_nobody_is_root_and_all_are_of_the_stack(stack: TestStack, service: str) -> None:
    status = inside.status(Path(f"/proc/{stack.pids()[f'{service}-1']}/status").read_text())
    uids, gids = set(map(int, status["Uid"].split())), set(map(int, status["Gid"].split()))
    if IS_ROOT:
        assert min(uids | gids) >= 1879048192
    else:
        assert (uids, gids) == ({os.geteuid()}, {os.getegid()})


def test_a_home_can_be_written_where_it_was_hidden(stack: TestStack) -> None:
    """The caller's and root's homes lie in hidden places: an empty one of the container's own is there instead."""
    home = inside.python(stack, "none", PROGRAM)["home"]
    assert inside.attempts(stack, "none", [f"open('{home}/mine', 'x').close()"]) == {
        f"open('{home}/mine', 'x').close()": "done"
    }
    assert not os.path.lexists(f"{home}/mine")


@pytest.mark.parametrize("service", ["none", *CASES])
def test_what_any_user_makes_in_the_project_belongs_to_its_owner(stack: TestStack, service: str) -> None:
    name = f"made-by-{service}"
    assert set(inside.attempts(stack, service, [f"os.mkdir('{stack.directory}/{name}')"]).values()) == {"done"}
    made, project = os.stat(stack.directory / name), os.stat(stack.directory)
    assert (made.st_uid, made.st_gid) == (project.st_uid, project.st_gid)


def test_exec_as_another_user(stack: TestStack) -> None:
    done = stack.run("exec", "-T", "--user", "www-data", "none", "id", "-u", check=False)
    if IS_ROOT:
        assert done.stdout == "33\n"
        assert stack.run("exec", "-T", "-u", "4321:5432", "none", "id", "-g").stdout == "5432\n"
    else:
        assert done.code != 0
        assert "one id only" in done.all and "run stackup as root" in done.all


def test_setgroups_is_denied_where_it_could_drop_a_group(stack: TestStack) -> None:
    """With one id the kernel allows no setgroups: a group may be what denies access (user_namespaces(7))."""
    found = inside.run(stack, "none", "cat", "/proc/self/setgroups").stdout.strip()
    assert found == ("allow" if IS_ROOT else "deny")


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("no-such-user", "/etc/passwd has no such user"),
        ("www-data:no-such-group", "/etc/group has no group no-such-group"),
    ],
)
def test_an_unknown_name_is_an_error_that_says_so(new_stack: object, user: str, reason: str) -> None:
    stack: TestStack = new_stack()  # type: ignore[operator]
    stack.write(f"services:\n  web:\n    command: sleep MARK\n    user: {user}\n")
    failed = stack.run("up", "-d", check=False)
    assert failed.code == 1
    assert reason in failed.stderr and user in failed.stderr


@pytest.mark.skipif(not IS_ROOT, reason="a caller with one id may ask for any id")
def test_an_id_beyond_the_range_is_an_error(new_stack: object) -> None:
    stack: TestStack = new_stack()  # type: ignore[operator]
    stack.write("services:\n  web:\n    command: sleep MARK\n    user: '70000'\n")
    failed = stack.run("up", "-d", check=False)
    assert failed.code == 1
    assert "ids must be below 65536" in failed.stderr
