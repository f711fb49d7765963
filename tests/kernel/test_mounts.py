"""Binds, volumes and tmpfs: what is mounted where, as whom, and what happens to what was there before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.kernel import inside
from tests.support import IS_ROOT, TestStack

FILE = """
services:
  web:
    command: sleep MARK
    volumes:
      - ./rw:/data/rw
      - ./rw:/data/ro:ro
      - ./missing/deep:/data/made
      - ./file.txt:/data/file.txt
      - ./file.txt:/etc/stackup-file.txt:ro
      - ./rw:/usr/share/stackup/nested/deep
      - ./rw:/root/inside/home
      - shared:/shared
      - shared:/shared-ro:ro
      - type: tmpfs
        target: /scratch
        tmpfs: {size: 1m, mode: 0o700}
      - type: bind
        source: ./rw
        target: /data/nested
      - type: tmpfs
        target: /data/nested/tmp
  other:
    command: sleep MARK
    user: "33"
    volumes:
      - shared:/shared
      - ./rw:/data/rw
volumes: {shared: {}}
"""


@pytest.fixture(scope="module")
def stack(place: TestStack) -> TestStack:
    (place.directory / "rw").mkdir()
    (place.directory / "rw" / "tmp").mkdir()
    (place.directory / "file.txt").write_text("from the host\n")
    place.write(FILE)
    place.said_at_start = place.run("up", "-d").all  # type: ignore[attr-defined]
    return place


def test_a_bind_is_writable_and_belongs_to_its_owner(stack: TestStack) -> None:
    for service in ("web", "other"):
        inside.run(stack, service, "sh", "-c", f"echo {service} > /data/rw/{service}")
        made = os.stat(stack.directory / "rw" / service)
        assert (made.st_uid, made.st_gid) == (os.geteuid(), os.getegid())
        assert (stack.directory / "rw" / service).read_text() == f"{service}\n"


def test_a_read_only_bind_refuses_writes(stack: TestStack) -> None:
    tried = inside.attempts(stack, "web", ["open('/data/ro/x', 'x')", "open('/etc/stackup-file.txt', 'a')"])
    assert set(tried.values()) == {"EROFS"}


def test_a_missing_source_is_made_as_the_caller_and_said(stack: TestStack) -> None:
    made = stack.directory / "missing" / "deep"
    assert (made.stat().st_uid, made.stat().st_gid) == (os.geteuid(), os.getegid())
    assert f"created the missing directory {made}" in stack.said_at_start  # type: ignore[attr-defined]
    assert set(inside.attempts(stack, "web", ["open('/data/made/x', 'x')"]).values()) == {"done"}


def test_a_single_file_is_bound(stack: TestStack) -> None:
    assert inside.run(stack, "web", "cat", "/data/file.txt", "/etc/stackup-file.txt").stdout == "from the host\n" * 2
    inside.run(stack, "web", "sh", "-c", "echo changed > /data/file.txt")
    assert (stack.directory / "file.txt").read_text() == "changed\n"
    (stack.directory / "file.txt").write_text("from the host\n")


@pytest.mark.parametrize("parent", ["/etc", "/usr/share", "/"])
def test_a_target_missing_on_the_host_leaves_its_neighbours_in_place(stack: TestStack, parent: str) -> None:
    """The parent is covered, with everything that was in it bound back; what is unreadable may be missing."""
    program = "answer = sorted(os.listdir(sys.argv[1]))"
    found = set(inside.python(stack, "web", program, parent))
    plain = set(inside.python(stack, "other", program, parent))
    assert plain - found == set()
    assert {"/etc": "stackup-file.txt", "/usr/share": "stackup", "/": "data"}[parent] in found
    assert not os.path.lexists(f"{parent.rstrip('/')}/{(found - plain).pop()}")


def test_neighbours_keep_their_kind_and_stay_read_only(stack: TestStack) -> None:
    program = (
        "answer = {}\n"
        "for name in os.listdir('/etc'):\n"
        "    s = os.lstat('/etc/' + name)\n"
        "    link = stat.S_ISLNK(s.st_mode)\n"
        "    answer[name] = [stat.S_IFMT(s.st_mode), os.readlink('/etc/' + name) if link else s.st_ino]\n"
    )
    found, plain = (inside.python(stack, service, program) for service in ("web", "other"))
    generated = ("hosts", "hostname", "resolv.conf")
    assert {name: plain[name] for name in plain if name not in generated}.items() <= found.items()
    tried = inside.attempts(stack, "web", ["open('/etc/new', 'x')", "os.unlink('/etc/passwd')", "os.mkdir('/new')"])
    assert set(tried.values()) <= {"EROFS", "EBUSY"}, tried


def test_a_target_inside_a_hidden_directory(stack: TestStack) -> None:
    assert set(inside.attempts(stack, "web", ["open('/root/inside/home/x', 'x').close()"]).values()) == {"done"}
    assert (stack.directory / "rw" / "x").exists()


def test_a_target_inside_a_directory_that_is_closed_to_us(new_stack: object) -> None:
    """The container may not search it: it is covered, and what was in it stays out of sight."""
    candidates = ("/var/cache/ldconfig", "/var/cache/apt/archives/partial", "/etc/ssl/private", "/lost+found")
    closed = next((path for path in candidates if os.path.isdir(path) and not os.stat(path).st_mode & 0o005), None)
    if closed is None:
        pytest.skip(f"none of {', '.join(candidates)} is there and closed to others")
    stack: TestStack = new_stack()  # type: ignore[operator]
    stack.write(f"services:\n  web:\n    command: sleep MARK\n    volumes: ['./in:{closed}/deep/in']\n")
    stack.run("up", "-d")
    assert set(inside.attempts(stack, "web", [f"open('{closed}/deep/in/x', 'x').close()"]).values()) == {"done"}
    assert (stack.directory / "in" / "x").exists()
    assert inside.run(stack, "web", "ls", "-A", closed).stdout == "deep\n"


def test_a_mount_inside_a_mount(stack: TestStack) -> None:
    inside.run(stack, "web", "touch", "/data/nested/tmp/private")
    assert not (stack.directory / "rw" / "tmp" / "private").exists()
    assert "/data/nested/tmp" in inside.run(stack, "web", "cat", "/proc/mounts").stdout


def test_a_named_volume_is_shared_by_services_of_different_users(stack: TestStack) -> None:
    inside.run(stack, "web", "sh", "-c", "echo one > /shared/file && chmod 666 /shared/file && chmod 777 /shared")
    assert inside.run(stack, "other", "sh", "-c", "echo two >> /shared/file; cat /shared/file").stdout == "one\ntwo\n"
    inside.run(stack, "other", "touch", "/shared/theirs")
    owner = inside.run(stack, "web", "stat", "-c", "%u", "/shared/theirs").stdout.strip()
    assert owner == ("33" if IS_ROOT else str(os.geteuid()))
    assert set(inside.attempts(stack, "web", ["open('/shared-ro/x', 'x')"]).values()) == {"EROFS"}


@pytest.mark.skipif(not IS_ROOT, reason="owners other than the caller need a range of ids")
def test_the_owners_in_a_volume_are_kept_on_disk(stack: TestStack) -> None:
    inside.run(stack, "web", "sh", "-c", "touch /shared/owned && chown 7:8 /shared/owned")
    data = next((stack.state / "volumes").rglob("owned"))
    assert (data.stat().st_uid, data.stat().st_gid) == (7, 8)


def test_a_tmpfs_has_its_size_and_mode(stack: TestStack) -> None:
    program = (
        "v = os.statvfs('/scratch'); answer = [v.f_blocks * v.f_frsize, stat.S_IMODE(os.stat('/scratch').st_mode)]"
    )
    assert inside.python(stack, "web", program) == [1 << 20, 0o700]
    tried = inside.attempts(
        stack, "web", ["open('/scratch/big', 'wb', 0).write(bytes(2 << 20)) < 2 << 20 or os.stat('/')"]
    )
    assert set(tried.values()) == {"done"}
    assert inside.python(stack, "web", "answer = os.stat('/scratch/big').st_size") <= 1 << 20
    assert "/scratch" not in inside.run(stack, "other", "cat", "/proc/mounts").stdout


def test_no_mount_of_the_service_honours_setuid_or_devices(stack: TestStack) -> None:
    table = inside.mounts(inside.run(stack, "web", "cat", "/proc/self/mountinfo").stdout)
    for point in ("/data/rw", "/data/ro", "/data/file.txt", "/shared", "/scratch", "/data/nested/tmp"):
        assert {"nosuid", "nodev"} <= table[point].options, point


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_is_shown_is_visible_and_read_only(new_stack: object, tmp_path: Path, kind: str) -> None:
    """`x-stackup.rootfs.show` opens a way into what is hidden, here /tmp of the host."""
    stack: TestStack = new_stack()  # type: ignore[operator]
    (tmp_path / "tool").mkdir(mode=0o755)
    (tmp_path / "tool" / "file").write_text("shown\n")
    shown = tmp_path / "tool" if kind == "directory" else tmp_path / "tool" / "file"
    stack.write(
        f"services:\n  web:\n    command: sleep MARK\n    x-stackup: {{rootfs: {{show: ['{shown}']}}}}\n"
        "  blind:\n    command: sleep MARK\n"
    )
    stack.run("up", "-d")
    path = tmp_path / "tool" / "file"
    assert inside.run(stack, "web", "cat", str(path)).stdout == "shown\n"
    assert set(inside.attempts(stack, "web", [f"open('{path}', 'a')"]).values()) <= {"EROFS", "EACCES"}
    assert inside.run(stack, "blind", "cat", str(path), check=False).code == 1


def test_a_source_that_may_not_be_made_is_an_error_that_names_it(new_stack: object) -> None:
    stack: TestStack = new_stack()  # type: ignore[operator]
    stack.write(
        "services:\n  web:\n    command: sleep MARK\n    volumes:\n"
        "      - {type: bind, source: ./absent, target: /x, bind: {create_host_path: false}}\n"
    )
    failed = stack.run("up", "-d", check=False)
    assert failed.code == 1
    assert f"cannot mount {stack.directory / 'absent'}" in failed.stderr
