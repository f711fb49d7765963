"""One thin wrapper for each system call that Python 3.11 lacks; each raises OSError with the object it was about.

ctypes.PyDLL, never CDLL: CDLL lets go of the GIL around the call, and a child of clone() whose parent had another
thread waiting for it can hang for ever. No policy here: what is called when is decided in sandbox, spawn and boot.
"""

from __future__ import annotations

import ctypes
import errno as errno_module
import os
import platform
import struct

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

# Numbers from 424 on are the same on every architecture (asm-generic/unistd.h); older ones are not.
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 428, 429, 430, 431, 432
_CLONE3, _CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 435, 436, 437, 442
_RT_SIGACTION = {"x86_64": 13, "aarch64": 134, "riscv64": 134, "ppc64le": 173, "s390x": 174}
_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}

_MACHINE = platform.machine()

AT_FDCWD = -100
AT_EMPTY_PATH, AT_RECURSIVE = 0x1000, 0x8000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 0x1, 0x2, 0x4, 0x8
MOUNT_ATTR_IDMAP = 0x100000
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x02, 0x04, 0x08, 0x10
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6

CLONE_PARENT = 0x8000
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_CLONE_PIDFD = 0x1000

MS_REC, MS_PRIVATE, MS_SLAVE, MNT_DETACH = 0x4000, 1 << 18, 1 << 19, 2

_PR_SET_DUMPABLE, _PR_SET_NAME, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 15, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_KEYCTL_JOIN_SESSION_KEYRING = 1


def _check(result: int, subject: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)
    return result


def _syscall(subject: str, number: int, *arguments: object) -> int:
    return _check(_libc.syscall(ctypes.c_long(number), *arguments), subject)


def _number(by_machine: dict[str, int]) -> int:
    """This architecture's number of an old system call."""
    number = by_machine.get(_MACHINE)
    if number is None:
        raise OSError(errno_module.ENOSYS, "its number is unknown on this architecture", _MACHINE)
    return number


def clone3(flags: int, exit_signal: int) -> tuple[int, int]:
    """Fork with new namespaces (clone(2)). Returns (pid, pidfd) in the parent and (0, -1) in the child.

    Only from a single-threaded process. With CLONE_PARENT `exit_signal` must be 0.
    """
    pidfd = ctypes.c_int(-1)
    arguments = struct.pack("=11Q", flags | _CLONE_PIDFD, ctypes.addressof(pidfd), 0, 0, exit_signal, *[0] * 6)
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = _libc.syscall(ctypes.c_long(_CLONE3), buffer, ctypes.c_size_t(len(arguments)))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    number = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number), "clone3")
    return pid, pidfd.value


def setns(fd: int, flags: int) -> None:
    """Enter the namespaces `flags` of a pidfd, or the one of a namespace descriptor (setns(2))."""
    _check(_libc.setns(fd, flags), "setns")


def unshare(flags: int) -> None:
    """unshare(2)."""
    _check(_libc.unshare(flags), "unshare")


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close all descriptors from `first` to `last` (close_range(2))."""
    _syscall("close_range", _CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0))


# --- mounts (mount_setattr(2), open_tree(2), move_mount(2), fsopen(2)) ------------------------------------------------


def open_tree(path: str, *, dir_fd: int = AT_FDCWD, recursive: bool = False) -> int:
    """A detached copy of the mount tree at `path` (of `dir_fd` itself where it is empty)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return _syscall(path, _OPEN_TREE, ctypes.c_int(dir_fd), os.fsencode(path), ctypes.c_uint(flags))


def mount_setattr(fd: int, attributes: int, *, recursive: bool = False, userns: int | None = None) -> None:
    """Set attributes of the mount that `fd` is; with `userns` map its ids by that user namespace."""
    if userns is not None:
        attributes |= MOUNT_ATTR_IDMAP
    argument = struct.pack("=4Q", attributes, 0, 0, userns or 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _syscall(
        "mount_setattr",
        _MOUNT_SETATTR,
        ctypes.c_int(fd),
        b"",
        ctypes.c_uint(flags),
        ctypes.create_string_buffer(argument, len(argument)),
        ctypes.c_size_t(len(argument)),
    )


def move_mount(fd: int, target_fd: int, subject: str) -> None:
    """Attach the detached mount `fd` to the file or directory that `target_fd` is."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _syscall(subject, _MOVE_MOUNT, ctypes.c_int(fd), b"", ctypes.c_int(target_fd), b"", ctypes.c_uint(flags))


def new_filesystem(kind: str, options: dict[str, str | None], attributes: int) -> int:
    """A detached mount of a new file system; an option whose value is None is a flag."""
    context = _syscall(kind, _FSOPEN, kind.encode(), ctypes.c_uint(1))
    try:
        for key, value in options.items():
            command = _FSCONFIG_SET_FLAG if value is None else _FSCONFIG_SET_STRING
            text = None if value is None else value.encode()
            _syscall(f"{kind} {key}={value}", _FSCONFIG, context, ctypes.c_uint(command), key.encode(), text, 0)
        _syscall(kind, _FSCONFIG, context, ctypes.c_uint(_FSCONFIG_CMD_CREATE), None, None, 0)
        return _syscall(kind, _FSMOUNT, context, ctypes.c_uint(1), ctypes.c_uint(attributes))
    finally:
        os.close(context)


def set_propagation(path: str, flags: int) -> None:
    """Change the propagation type of mounts (mount(2), MS_SLAVE and the like)."""
    _check(_libc.mount(None, os.fsencode(path), None, flags, None), path)


def unmount(path: str, flags: int) -> None:
    """umount2(2)."""
    _check(_libc.umount2(os.fsencode(path), flags), path)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2).

    Raises:
        OSError: ENOSYS also where this architecture's number is not known.
    """
    _syscall(new_root, _number(_PIVOT_ROOT), new_root.encode(), put_old.encode())


def open_in_root(root_fd: int, path: str, flags: int) -> int:
    """Open `path` as if `root_fd` were the root directory: links and `..` cannot lead out (openat2(2))."""
    return _openat2(root_fd, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def open_beneath(directory_fd: int, path: str, flags: int) -> int:
    """Open `path` below a directory; ELOOP for any link on the way, EXDEV for `..` that leads out (openat2(2))."""
    return _openat2(directory_fd, path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def _openat2(directory_fd: int, path: str, flags: int, resolve: int) -> int:
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, 0, resolve)
    buffer = ctypes.create_string_buffer(how, len(how))
    return _syscall(path, _OPENAT2, ctypes.c_int(directory_fd), os.fsencode(path), buffer, ctypes.c_size_t(len(how)))


# --- signals and names -----------------------------------------------------------------------------------------------


def reset_signals() -> None:
    """Give every signal its default action, also the two that the C library keeps from its callers (rt_sigaction(2)).

    An ignored signal stays ignored through exec: `yes | head` would never end.
    """
    default = ctypes.create_string_buffer(32)  # sa_handler SIG_DFL, no flags, no mask
    for signal_number in range(1, 65):
        if signal_number not in (9, 19):  # SIGKILL, SIGSTOP
            _syscall(
                "rt_sigaction", _number(_RT_SIGACTION), ctypes.c_int(signal_number), default, None, ctypes.c_long(8)
            )


def join_new_keyring() -> None:
    """Leave the caller's session keyring for an empty one: exec would pass on his keys (keyrings(7))."""
    try:
        _syscall("keyctl", _number(_KEYCTL), ctypes.c_int(_KEYCTL_JOIN_SESSION_KEYRING), None)
    except OSError as error:
        # A kernel without keyrings has no keys to pass on; a filter that forbids this call forbids them to containers.
        if error.errno not in (errno_module.ENOSYS, errno_module.EPERM):
            raise


def set_name(name: str) -> None:
    """The name of this process in ps(1) and top(1), at most 15 bytes (PR_SET_NAME)."""
    buffer = ctypes.create_string_buffer(name.encode())
    _prctl(_PR_SET_NAME, ctypes.addressof(buffer))


# --- privileges (prctl(2), capabilities(7)) ---------------------------------------------------------------------------


def _prctl(option: int, *arguments: int) -> int:
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _check(_libc.prctl(option, *padded), f"prctl {option}")


def set_dumpable(dumpable: bool) -> None:
    """PR_SET_DUMPABLE: whether other processes of this uid may look into this one."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def set_no_new_privs() -> None:
    """PR_SET_NO_NEW_PRIVS: no exec from now on grants privileges."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_bounding_set(keep: int) -> None:
    """Drop every capability that is not in the mask `keep` from the bounding set."""
    for capability in range(64):
        if keep >> capability & 1:
            continue
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno_module.EINVAL:  # beyond cap_last_cap
                return
            raise


def set_capabilities(mask: int) -> None:
    """Make `mask` the permitted and effective set; nothing is inheritable or ambient (CVE-2022-24769)."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    _check(_libc.capset(header, struct.pack("=6I", low, low, 0, high, high, 0)), "capset")
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)


def drop_all_capabilities() -> None:
    """Leave nothing: for helpers, whose input comes from containers."""
    limit_bounding_set(0)
    set_capabilities(0)
    set_no_new_privs()


def last_capability() -> int:
    """The highest capability this kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", "rb") as file:
        return int(file.read())
