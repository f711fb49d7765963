"""Tries, in a process of its own, what a stack asks of the kernel, and prints one JSON object: name -> null or why not.

`python -m stackup.host.trial [DIRECTORY]`; run by host/probe.py. Everything happens in namespaces that end with this
process, so nothing is changed. A reason is {"errno": N, "text": TEXT}.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from stackup.launcher import syscalls as kernel

Outcome = dict[str, Any] | None

_NAMESPACES = {
    "mount namespace": kernel.CLONE_NEWNS,
    "network namespace": kernel.CLONE_NEWNET,
    "ipc namespace": kernel.CLONE_NEWIPC,
    "uts namespace": kernel.CLONE_NEWUTS,
    "cgroup namespace": kernel.CLONE_NEWCGROUP,
    "pid namespace": kernel.CLONE_NEWPID,
}
_CLONE3 = 435


def main() -> None:
    directory = sys.argv[1] if len(sys.argv) > 1 else "/"
    outcomes: dict[str, Outcome] = {
        "clone3": attempt(_clone3),
        "pidfd": attempt(_pidfd),
        "close_range": attempt(lambda: kernel.close_range(0x7FFFFFFF)),
        "memfd exec": attempt(_run_from_memory),
    }
    if os.geteuid() == 0:
        outcomes["idmapped mounts"] = attempt(lambda: _map_ids(directory))
    outcomes["user namespace"] = attempt(_enter_user_namespace)
    if outcomes["user namespace"] is None:
        outcomes |= {name: attempt(lambda flag=flag: kernel.unshare(flag)) for name, flag in _NAMESPACES.items()}  # type: ignore[misc]
        outcomes["bridge and veth"] = attempt(_make_links)
        outcomes["mount API"] = attempt(_clone_root)
        outcomes["proc"] = attempt(_mount_proc)
        outcomes["overlay"] = attempt(_mount_overlay)
    print(json.dumps(outcomes))


def attempt(trial: Callable[[], object]) -> Outcome:
    """Run one trial; None where it succeeded."""
    try:
        trial()
    except OSError as error:
        subject = f"{error.filename}: " if error.filename else ""
        return {"errno": error.errno, "text": f"{subject}{error.strerror}"}
    return None


def _clone3() -> None:
    """With a size of 0 the call is refused as EINVAL where it exists (clone(2)); some sandboxes answer ENOSYS."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(ctypes.c_long(_CLONE3), None, ctypes.c_size_t(0))
    number = ctypes.get_errno()
    if number != errno.EINVAL:
        raise OSError(number, os.strerror(number))


def _pidfd() -> None:
    pidfd = os.pidfd_open(os.getpid())
    signal.pidfd_send_signal(pidfd, 0)
    os.close(pidfd)


def _run_from_memory() -> None:
    with open(os.path.realpath("/bin/true"), "rb") as file:
        program = file.read()
    try:
        memfd = os.memfd_create("trial", 0x10)  # MFD_EXEC, from Linux 6.3 on
    except OSError:
        memfd = os.memfd_create("trial", 0)
    with open(memfd, "wb", closefd=False) as copy:
        copy.write(program)
    _expect_success(os.posix_spawn(f"/proc/{os.getpid()}/fd/{memfd}", ["true"], {}))


def _map_ids(directory: str) -> None:
    """An idmapped mount of the file system that holds the state (mount_setattr(2), MOUNT_ATTR_IDMAP)."""
    waiting, release = os.pipe()
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release)
        kernel.unshare(kernel.CLONE_NEWUSER)
        os.write(ready_write, b"1")
        os.read(waiting, 1)
        os._exit(0)
    try:
        os.close(ready_write)
        os.read(ready_read, 1)
        for name in ("uid_map", "gid_map"):
            _write(f"/proc/{pid}/{name}", "0 1879048192 65536")
        userns = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        tree = kernel.open_tree(directory)
        kernel.mount_setattr(tree, 0, userns=userns)
    finally:
        os.close(release)
        os.waitpid(pid, 0)


def _enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    # Where AppArmor restricts user namespaces, unshare succeeds and it is the map that is refused.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {uid} 1")
    _write("/proc/self/gid_map", f"0 {gid} 1")


def _make_links() -> None:
    """A bridge and a veth pair (rtnetlink(7), IFLA_LINKINFO)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        for kind, name in ((b"bridge", b"trial0"), (b"veth", b"trial1")):
            kind_attribute = _attribute(1, kind)
            attributes = _attribute(3, name + b"\0") + _attribute(18, kind_attribute)
            body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attributes
            # RTM_NEWLINK; NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE
            netlink.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
            (number,) = struct.unpack_from("=i", netlink.recv(65536), 16)
            if number:
                raise OSError(-number, os.strerror(-number), kind.decode())


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _clone_root() -> None:
    tree = kernel.open_tree("/", recursive=True)
    kernel.mount_setattr(tree, kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID, recursive=True)
    os.close(tree)


def _mount_proc() -> None:
    """In the new PID namespace, which only children are in. Refused where the /proc we see is partly covered."""
    pid = os.fork()
    if pid == 0:
        outcome = attempt(lambda: kernel.new_filesystem("proc", {}, kernel.MOUNT_ATTR_NOSUID))
        os._exit(outcome["errno"] if outcome else 0)
    _expect_success(pid)


def _mount_overlay() -> None:
    kernel.set_propagation("/", kernel.MS_REC | kernel.MS_SLAVE)
    scratch = kernel.new_filesystem("tmpfs", {"mode": "0700"}, kernel.MOUNT_ATTR_NOSUID)
    target = os.open("/tmp", os.O_PATH | os.O_DIRECTORY)
    kernel.move_mount(scratch, target, "/tmp")
    for name in ("lower", "upper", "work"):
        os.mkdir(f"/tmp/{name}")
    layers = {"lowerdir": "/tmp/lower", "upperdir": "/tmp/upper", "workdir": "/tmp/work", "userxattr": None}
    os.close(kernel.new_filesystem("overlay", layers, 0))


def _expect_success(pid: int) -> None:
    """Wait for a child whose exit code is an errno."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code if code > 0 else errno.EPERM, os.strerror(code) if code > 0 else f"signal {-code}")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(fd)


if __name__ == "__main__":
    main()
