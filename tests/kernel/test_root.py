"""The root file system: the host's own, read-only everywhere, with private places to write and nothing to find out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.kernel import inside
from tests.support import IS_ROOT, TestStack

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
DIRECTORIES = {"pts", "shm", "mqueue"}
PRIVATE = ("/tmp", "/run", "/var/tmp")
READ_ONLY_KERNEL = ("/sys", "/proc/sys", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger")
MASKED_FILES = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/interrupts")
MASKED_DIRECTORIES = ("/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap")


@pytest.fixture(scope="module")
def stack(place: TestStack) -> TestStack:
    place.write("services:\n  one:\n    command: sleep MARK\n  two:\n    command: sleep MARK\n    user: '33'\n")
    place.run("up", "-d")
    return place


@pytest.fixture(scope="module")
def mounts(stack: TestStack) -> dict[str, inside.Mounted]:
    """What can be reached in the container, by mount point."""
    return inside.mounts(inside.run(stack, "one", "cat", "/proc/self/mountinfo").stdout)


def hidden(stack: TestStack) -> list[str]:
    """Directories of the host that the container must see as empty: everybody's homes and stackup's own state."""
    homes = {line.split(":")[5] for line in Path("/etc/passwd").read_text().splitlines() if _is_human(line)}
    return sorted({"/root", "/home", str(stack.state), *(home for home in homes if os.path.isdir(home))} - {"/"})


def _is_human(line: str) -> bool:
    uid = int(line.split(":")[2])
    return uid == 0 or 1000 <= uid < 60000


def test_dev_holds_the_known_nodes_and_nothing_else(stack: TestStack) -> None:
    program = (
        "answer = {}\n"
        "for name in os.listdir('/dev'):\n"
        "    s = os.lstat('/dev/' + name)\n"
        "    answer[name] = [stat.S_IFMT(s.st_mode), os.major(s.st_rdev), os.minor(s.st_rdev)]\n"
        "    if stat.S_ISLNK(s.st_mode): answer[name] = os.readlink('/dev/' + name)\n"
    )
    expected: dict[str, object] = {name: [stat.S_IFCHR, *numbers] for name, numbers in DEVICES.items()}
    expected |= LINKS | {name: [stat.S_IFDIR, 0, 0] for name in DIRECTORIES}
    assert inside.python(stack, "one", program) == expected


def test_devices_work_and_no_other_can_be_made(stack: TestStack) -> None:
    tried = inside.attempts(
        stack,
        "one",
        [
            "open('/dev/null', 'w').write('x')",
            "open('/dev/urandom', 'rb').read(8)",
            "os.openpty()",
            "os.mknod('/dev/sda', 0o600 | stat.S_IFBLK, os.makedev(8, 0))",
            "os.mknod('/tmp/sda', 0o600 | stat.S_IFBLK, os.makedev(8, 0))",
            "os.mknod('/tmp/mem', 0o600 | stat.S_IFCHR, os.makedev(1, 1))",
        ],
    )
    assert list(tried.values()) == ["done", "done", "done", "EPERM", "EPERM", "EPERM"]


@pytest.mark.parametrize("directory", PRIVATE)
def test_private_places_are_writable_and_private(stack: TestStack, directory: str) -> None:
    name = f"{directory}/{stack.name}"
    assert set(inside.attempts(stack, "one", [f"open('{name}', 'x').close()"]).values()) == {"done"}
    assert set(inside.attempts(stack, "two", [f"os.stat('{name}')"]).values()) == {"ENOENT"}
    assert not os.path.lexists(name)


def test_tmp_is_writable_for_any_user(stack: TestStack) -> None:
    tried = inside.attempts(
        stack, "two", [f"open('{path}/mine', 'x').close()" for path in ("/tmp", "/var/tmp", "/dev/shm")]
    )
    assert set(tried.values()) == {"done"}


def test_every_mount_that_can_be_reached_is_read_only_or_known(
    stack: TestStack, mounts: dict[str, inside.Mounted]
) -> None:
    """The whole table: what is writable, and of which kind it is. All of it but the project is the container's own."""
    writable = {point: mounted.kind for point, mounted in mounts.items() if "rw" in mounted.options}
    project = str(stack.directory)
    assert writable.pop(project) == mounts[project].kind
    known = {
        **dict.fromkeys(PRIVATE, "tmpfs"),
        **{f"/dev/{name}": mounts[f"/dev/{name}"].kind for name in DEVICES},
        **dict.fromkeys(("/dev", "/dev/shm", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"), "tmpfs"),
        "/dev/mqueue": "mqueue",
        "/dev/pts": "devpts",
        "/proc": "proc",
    }
    assert {point: writable.pop(point) for point in known} == known
    assert set(writable.values()) <= {"tmpfs"}  # covers of what is hidden


def test_no_mount_honours_setuid_and_devices_work_only_in_dev(mounts: dict[str, inside.Mounted]) -> None:
    for point, mounted in mounts.items():
        if point.removeprefix("/dev/") in DEVICES or point in MASKED_FILES:
            continue  # a device of the host each; a masked file is /dev/null
        assert "nosuid" in mounted.options, mounted
        assert "nodev" in mounted.options or point in ("/dev", "/dev/pts"), mounted


def test_the_host_cannot_be_written_anywhere(stack: TestStack) -> None:
    """Tries a file in every directory at the top and at every mount: whatever succeeds is not the host's."""
    name = f"written-by-{stack.name}"
    program = (
        "tops = ['/' + entry for entry in os.listdir('/')]\n"
        "points = [line.split()[4] for line in open('/proc/self/mountinfo')]\n"
        "answer = []\n"
        "for place in sorted({'/', *tops, *points, '/etc/cron.d', '/usr/bin', '/usr/local/bin', '/var/lib', '/opt'}):\n"
        "    try:\n"
        f"        open(place + '/{name}', 'x').close()\n"
        "        answer.append(place)\n"
        "    except OSError:\n"
        "        pass\n"
    )
    places = inside.python(stack, "one", program)
    assert {"/tmp", "/run", "/var/tmp", str(stack.directory)} <= set(places)
    (stack.directory / name).unlink()
    for place in places:
        assert not os.path.lexists(f"{place}/{name}"), f"the container wrote to {place} of the host"
    inside.run(stack, "one", "rm", "-f", *(f"{place}/{name}" for place in places))
    assert not {"/", "/etc", "/usr", "/usr/bin", "/var", "/var/lib", "/opt", "/sys", "/proc"} & set(places)


def test_files_of_the_host_cannot_be_changed(stack: TestStack) -> None:
    tried = inside.attempts(
        stack,
        "one",
        [
            "open('/etc/passwd', 'a').close()",
            "os.unlink('/etc/passwd')",
            "os.rename('/etc/passwd', '/etc/passwd-')",
            "os.chmod('/etc/passwd', 0o666)",
            "os.chown('/etc/passwd', 0, 0)",
            "os.utime('/etc/passwd')",
            "os.mkdir('/usr/new')",
            "os.symlink('/x', '/usr/new')",
            "os.setxattr('/etc/passwd', 'user.x', b'1')",
            "os.mount('x', '/mnt', 'tmpfs') if hasattr(os, 'mount') else os.unlink('/bin/sh')",
        ],
    )
    assert set(tried.values()) <= {"EROFS", "EPERM", "EACCES", "EBUSY"}, tried


def test_homes_and_state_are_hidden(stack: TestStack) -> None:
    for path in hidden(stack):
        found = inside.python(
            stack, "one", "answer = os.listdir(sys.argv[1]) if os.path.isdir(sys.argv[1]) else []", path
        )
        here = Path(path)
        own = {here.name and Path(home).name for home in _own_homes(stack) if Path(home).parent == here}
        assert set(found) <= own, path


def _own_homes(stack: TestStack) -> list[str]:
    return [inside.run(stack, service, "sh", "-c", "echo $HOME").stdout.strip() for service in ("one", "two")]


def test_no_socket_of_the_host_is_visible(stack: TestStack) -> None:
    program = (
        "answer = [os.path.join(top, name) for base in ('/run', '/tmp', '/var/tmp')\n"
        "          for top, _, names in os.walk(base) for name in names if not top.startswith(sys.argv[1])]\n"
    )
    program += "answer = [path for path in answer if stat.S_ISSOCK(os.lstat(path).st_mode)]"
    assert inside.python(stack, "one", program, str(stack.directory)) == []
    for path in ("/run/user", "/run/docker.sock", "/var/run/docker.sock", "/run/containerd", "/run/stackup"):
        assert inside.run(stack, "one", "test", "-e", path, check=False).code == 1, path


@pytest.mark.parametrize("path", READ_ONLY_KERNEL)
def test_the_kernels_settings_are_read_only(mounts: dict[str, inside.Mounted], path: str) -> None:
    if os.path.exists(path):
        assert "ro" in mounts[path].options


def test_the_kernels_settings_cannot_be_written(stack: TestStack) -> None:
    writable = (
        "/proc/sys/kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
    )
    tried = inside.attempts(stack, "one", [f"open('{path}', 'w')" for path in writable if os.path.exists(path)])
    assert set(tried.values()) <= {"EROFS", "EACCES", "EPERM"}, tried


def test_what_tells_of_the_host_is_masked(stack: TestStack) -> None:
    files = [path for path in MASKED_FILES if os.path.exists(path)]
    directories = [path for path in MASKED_DIRECTORIES if os.path.isdir(path)]
    program = (
        "answer = {path: len(os.listdir(path)) if os.path.isdir(path) else len(open(path).read(64))\n"
        "          for path in sys.argv[1:]}"
    )
    assert inside.python(stack, "one", program, *files, *directories) == dict.fromkeys([*files, *directories], 0)


def test_generated_files_tell_the_containers_own_name(stack: TestStack) -> None:
    name = f"{stack.name}-one-1"
    address = next(iter(stack.container("one")["Networks"].values()))
    assert inside.run(stack, "one", "cat", "/etc/hostname").stdout == f"{name}\n"
    assert f"{address}\t{name}" in inside.run(stack, "one", "cat", "/etc/hosts").stdout
    assert inside.run(stack, "one", "cat", "/etc/resolv.conf").stdout.startswith("nameserver 10.")


@pytest.mark.skipif(not IS_ROOT, reason="only root can plant a file that others may not read")
class TestFilesOfRoot:
    """A container of root's stack reads what others may read, although its user is 0 inside."""

    @pytest.fixture
    def planted(self) -> Path:
        directory = Path(f"/var/lib/stackup-test-{os.getpid()}")
        directory.mkdir(mode=0o755)
        directory.chmod(0o755)
        return directory

    @pytest.fixture(autouse=True)
    def removed(self, planted: Path) -> object:
        yield
        for path in planted.iterdir():
            path.unlink()
        planted.rmdir()

    @pytest.mark.parametrize("mode", [0o600, 0o640, 0o000])
    def test_what_others_may_not_read_stays_unread(self, stack: TestStack, planted: Path, mode: int) -> None:
        secret = planted / "secret"
        secret.write_text("secret")
        secret.chmod(mode)
        (planted / "public").write_text("public")
        (planted / "public").chmod(0o644)
        tried = inside.attempts(
            stack,
            "one",
            [
                f"open('{planted}/public').read()",
                f"open('{secret}').read()",
                f"os.chmod('{secret}', 0o644)",
                "open('/etc/shadow').read()",
            ],
        )
        assert list(tried.values()) == ["done", "EACCES", "EROFS", "EACCES"]

    def test_a_setuid_program_gives_nothing(self, stack: TestStack, planted: Path) -> None:
        program = planted / "id"
        program.write_bytes(Path("/usr/bin/id").resolve().read_bytes())
        program.chmod(0o6755)
        found = inside.run(stack, "two", str(program)).stdout
        assert found.startswith("uid=33(www-data)")
        assert "euid" not in found and "egid" not in found

    def test_file_capabilities_give_nothing(self, stack: TestStack, planted: Path) -> None:
        program = planted / "cat"
        program.write_bytes(Path("/bin/cat").resolve().read_bytes())
        program.chmod(0o755)
        # VFS_CAP_REVISION_2, effective, CAP_DAC_OVERRIDE (capabilities(7), "File capability extended attribute").
        os.setxattr(program, "security.capability", bytes.fromhex("0100000202000000000000000000000000000000"))
        found = inside.status(inside.run(stack, "two", str(program), "/proc/self/status").stdout)
        assert (found["CapPrm"], found["CapEff"]) == ("0" * 16, "0" * 16)
