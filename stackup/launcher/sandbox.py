"""What a container's child does between clone and exec: identity, root, privileges, program. Never returns.

The order of the steps is the security of the container (docs/architecture.md, "Between clone and exec"). After the
root has been entered nothing may be imported or looked up by name: it would come from the container.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import sys
from fcntl import ioctl
from typing import Any

from stackup.launcher import protocol, rootfs, rtnetlink
from stackup.launcher import syscalls as kernel

CANNOT_START, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127
"""Exit codes of a launch that failed, as Docker and the shells have them."""


class StepFailed(Exception):
    """A step with its own words for what went wrong."""

    def __init__(self, code: int, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.number = code, message, number


def lock_imports() -> None:
    """Make every later import fail: after a change of root it would run the container's code with our rights."""
    sys.path[:] = []
    sys.meta_path[:] = []
    sys.path_hooks[:] = []
    sys.path_importer_cache.clear()


def keep_only(descriptors: list[int]) -> None:
    """Close everything this process inherited from the launcher except `descriptors` and 0 to 2."""
    first = 3
    for fd in sorted(set(descriptors)):
        if fd > first:
            kernel.close_range(first, fd - 1)
        first = max(first, fd + 1)
    kernel.close_range(first)


def run_container(order: dict[str, Any], report: socket.socket, fds: dict[str, list[int]]) -> None:
    """The life of a container's first process up to exec.

    `fds`: "stdio" (stdout and stderr), "cgroups" (open cgroup.procs files), "trees" (detached mounts), "host_proc" (the
    host's /proc, which tells this process its PID there).
    `report` is the packet socket to the launcher: it says when the namespaces are ready and when to start.
    """
    step = "prepare"
    try:
        gc.disable()
        keep_only([report.fileno(), *(fd for group in fds.values() for fd in group)])
        lock_imports()
        report.recv(64)  # the maps are written, the links are in place
        step = "become the container's root"
        _become_first_id(order)
        kernel.set_dumpable(False)
        step = "join cgroups"
        join_cgroups(fds["cgroups"])
        kernel.unshare(kernel.CLONE_NEWCGROUP)
        host_pid = os.readlink("self", dir_fd=fds["host_proc"][0])
        step = "set up the network"
        _configure_network(order["network"])
        os.umask(0o022)  # the directories on the way to a mount are for every user of the container
        step = "build the root file system"
        rootfs.build(order, fds["trees"])
        step = "set the host name"
        socket.sethostname(order["hostname"])
        protocol.send(report, {"created": int(host_pid)})
        if not report.recv(64):
            os._exit(CANNOT_START)  # the launcher removed this container before it was started
        step = "start the program"
        _replace_stdio(None, *fds["stdio"])
        _give_streams(order, 1, 2)
        _exec(order, report)
    except BaseException as error:
        fail(report, step, error)


def run_command(order: dict[str, Any], report: socket.socket, stdio: list[int]) -> None:
    """The second process of an exec, already inside the container's namespaces: the same way down to the program."""
    step = "start the program"
    try:
        gc.disable()
        keep_only([report.fileno(), *stdio])
        if order["tty"]:
            step = "open a terminal"
            stdio = [_open_terminal(report)] * 3
            _give_streams(order, stdio[0])
            step = "start the program"
        os.setsid()
        _replace_stdio(*stdio)
        if order["tty"]:
            _make_controlling_terminal()
        _exec(order, report, session=False)
    except BaseException as error:
        fail(report, step, error)


def fail(report: socket.socket, step: str, error: BaseException) -> None:
    """Report what failed and end: no traceback, no atexit, nothing that would read the container's files."""
    code = error.code if isinstance(error, StepFailed) else CANNOT_START
    if isinstance(error, StepFailed):
        message, number = error.message, error.number
    elif isinstance(error, OSError):
        subject = f" {error.filename}" if error.filename else ""
        message, number = f"{error.strerror}:{subject}" if subject else str(error.strerror), error.errno
    else:
        message, number = f"{type(error).__name__}: {error}", None
    try:
        protocol.send(report, {"failed": step, "message": message, "errno": number, "code": code})
    finally:
        os._exit(code)


def join_cgroups(procs_files: list[int]) -> None:
    """Move this process by opened cgroup.procs files: the right is the opener's, the pid the writer's (cgroups(7))."""
    for fd in procs_files:
        os.write(fd, b"0")
        os.close(fd)


def _become_first_id(order: dict[str, Any]) -> None:
    """Root of the new user namespace; with a one-id map the only id there is, which the child already has."""
    if order["one_id"]:
        return
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.setgroups([])


def _configure_network(messages: str) -> None:
    """Send the rtnetlink messages (hex) that bring up this network namespace: addresses and links."""
    data = bytes.fromhex(messages)
    if data:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
            rtnetlink.request(netlink, data)


def _replace_stdio(stdin: int | None, stdout: int, stderr: int) -> None:
    if stdin is None:
        stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    for target, fd in enumerate((stdin, stdout, stderr)):
        os.dup2(fd, target, inheritable=True)


def _give_streams(order: dict[str, Any], *fds: int) -> None:
    """Make the service's user the owner of its streams: opening /dev/stdout opens the pipe anew, as that user."""
    if not order["one_id"]:
        for fd in fds:
            os.fchown(fd, order["uid"], -1)


def _open_terminal(report: socket.socket) -> int:
    """A new terminal of the container's own devpts; its master side goes to the launcher."""
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    ioctl(master, 0x40045431, (0).to_bytes(4, sys.byteorder))  # TIOCSPTLCK
    slave = ioctl(master, 0x5441, os.O_RDWR | os.O_NOCTTY)  # TIOCGPTPEER: no path lookup
    protocol.send(report, {"terminal": True}, [master])
    os.close(master)
    return int(slave)


def _make_controlling_terminal() -> None:
    ioctl(0, 0x540E, 0)  # TIOCSCTTY


def _exec(order: dict[str, Any], report: socket.socket, *, session: bool = True) -> None:
    """Drop every privilege the program must not have, and become it."""
    if session:
        os.setsid()
    kernel.reset_signals()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    _limit(resource.RLIMIT_CORE, 0, 0)
    _limit(resource.RLIMIT_NOFILE, *order["nofile"])
    _change_directory(order["cwd"])
    kernel.limit_bounding_set(order["capabilities"])
    uid, gid = order["uid"], order["gid"]
    if not order["one_id"]:
        os.setgroups(order["groups"])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    kernel.set_capabilities(order["capabilities"] if uid == 0 else 0)
    environment = dict(order["environment"])
    program = _find_program(order["command"][0], environment.get("PATH", ""), order["cwd"])
    protocol.send(report, {"starting": True})
    kernel.set_no_new_privs()
    # The report is the only thing left to close: exec does that, and the launcher takes it for the start.
    os.dup2(report.fileno(), 3, inheritable=False)
    kernel.close_range(4)
    try:
        os.execve(program, order["command"], environment)
    except (OSError, ValueError) as error:
        late = socket.socket(fileno=3)
        fail(late, "execute the program", _explain_exec(program, error))


def _limit(which: int, soft: int, hard: int) -> None:
    _, ceiling = resource.getrlimit(which)
    if ceiling != resource.RLIM_INFINITY:
        hard = min(hard, ceiling)
    resource.setrlimit(which, (min(soft, hard), hard))


def _change_directory(path: str) -> None:
    try:
        os.chdir(path)
    except FileNotFoundError as error:
        raise StepFailed(
            CANNOT_START, f"the working directory {path} does not exist in the container", error.errno
        ) from None
    if not os.getcwd().startswith("/"):  # "(unreachable)": CVE-2024-21626
        raise StepFailed(CANNOT_START, f"the working directory {path} lies outside the container's root")


def _find_program(name: str, path: str, cwd: str) -> str:
    """Resolve argv[0] as execvp(3) does, in the container's root and with the container's PATH."""
    if "/" in name:
        candidates = [os.path.join(cwd, name)]
    else:
        candidates = [f"{directory or '.'}/{name}" for directory in path.split(":")]
    refused = None
    for candidate in candidates:
        try:
            status = os.stat(candidate)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError:
            refused = refused or candidate
            continue
        if status.st_mode & 0o170000 != 0o100000:
            refused = refused or candidate
        elif os.access(candidate, os.X_OK):
            return candidate
        else:
            refused = refused or candidate
    if refused is not None:
        raise StepFailed(NOT_EXECUTABLE, f"{refused} is not executable for the container's user", errno.EACCES)
    where = "" if "/" in name else f" in the container's PATH ({path})"
    raise StepFailed(NOT_FOUND, f"{name}: not found{where}", errno.ENOENT)


def _explain_exec(program: str, error: OSError | ValueError) -> StepFailed:
    if isinstance(error, ValueError):
        return StepFailed(CANNOT_START, f"{program}: its arguments or environment: {error}")
    if error.errno == errno.ENOENT:
        return StepFailed(NOT_FOUND, f"{program} exists, but its interpreter or loader does not", error.errno)
    if error.errno == errno.ENOEXEC:
        return StepFailed(
            NOT_EXECUTABLE, f"{program} is no program: it has no #! line and no known format", error.errno
        )
    return StepFailed(NOT_EXECUTABLE, f"{program}: {os.strerror(error.errno or 0)}", error.errno)
