"""Builds a container's root file system inside its own mount namespace, and enters it. Runs in the container's child.

All paths of the new root are resolved below its descriptor (openat2, RESOLVE_IN_ROOT) and mounts are attached to
descriptors, never to strings: another container may change a shared directory at the same moment (CVE-2021-30465).
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any

from stackup.launcher import syscalls as kernel

# Where the new root is put together in the child's private view; both exist on every system, and both are left behind
# by pivot_root. Everything that comes from the host is opened before they are covered.
_NEW_ROOT, _SCRATCH = "/tmp", "/sys"

_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
_QUIET = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV | kernel.MOUNT_ATTR_NOEXEC
_WRITABLE = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM)


class RootBuilder:
    """The root file system in the making. One instance lives from `attach_host` to `enter`, in one child."""

    def __init__(self, uid: int, gid: int) -> None:
        """`uid` and `gid` are the service's ids inside the container: they own what is made for the service."""
        self._owner = (uid, gid)
        self._devices = {name: _open_device(name, *numbers) for name, numbers in _DEVICES.items()}
        self._null = _open_device("null", *_DEVICES["null"])
        self._old_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._scratch = kernel.new_filesystem("tmpfs", {"mode": "0755", "size": "1m"}, _QUIET)
        os.mkdir("empty", dir_fd=self._scratch)
        os.close(os.open("null", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, dir_fd=self._scratch))
        self._covers: list[int] = []
        self._root = -1

    def attach_host(self) -> None:
        """Make the host's own root, read-only with everything below it, the new root."""
        tree = kernel.open_tree("/", recursive=True)
        read_only = kernel.MOUNT_ATTR_RDONLY | kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV
        kernel.mount_setattr(tree, read_only, recursive=True)
        _attach_at(_NEW_ROOT, tree)
        self._reopen()
        _attach_at(_SCRATCH, self._scratch)
        _attach_at(f"{_SCRATCH}/null", self._null)

    def _reopen(self) -> None:
        if self._root >= 0:
            os.close(self._root)
        self._root = os.open(_NEW_ROOT, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    # --- kernel file systems ------------------------------------------------------------------------------------------

    def mount_kernel_filesystems(self, *, tty_group: bool, cgroup2: bool) -> None:
        """/proc, /sys, /dev and what belongs below. `tty_group`: gid 5 is mapped; `cgroup2`: the host has only v2."""
        self._attach(kernel.new_filesystem("proc", {}, _QUIET), "/proc")
        self._attach(kernel.new_filesystem("sysfs", {}, _QUIET | kernel.MOUNT_ATTR_RDONLY), "/sys")
        if cgroup2:
            self._attach(kernel.new_filesystem("cgroup2", {}, _QUIET | kernel.MOUNT_ATTR_RDONLY), "/sys/fs/cgroup")
        dev = kernel.new_filesystem("tmpfs", {"mode": "0755", "size": "64k"}, kernel.MOUNT_ATTR_NOSUID)
        for name in _DEVICES:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=dev))
        for name in ("pts", "shm", "mqueue"):
            os.mkdir(name, dir_fd=dev)
        for name, text in _DEVICE_LINKS.items():
            os.symlink(text, name, dir_fd=dev)
        self._attach(dev, "/dev")
        for name, device in self._devices.items():
            self._attach(device, f"/dev/{name}")
        pts: dict[str, str | None] = {"newinstance": None, "ptmxmode": "0666", "mode": "0620"}
        if tty_group:
            pts["gid"] = "5"
        self._attach(
            kernel.new_filesystem("devpts", pts, kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NOEXEC), "/dev/pts"
        )
        self._attach(kernel.new_filesystem("tmpfs", {"mode": "1777", "size": "64m"}, _QUIET), "/dev/shm")
        self._attach(kernel.new_filesystem("mqueue", {}, _QUIET), "/dev/mqueue")

    def protect_kernel_files(self) -> None:
        """Mask what tells of the host and make read-only what could change it; paths that do not exist are skipped."""
        for path in _MASKED:
            target = self._find(path)
            if target is None:
                continue
            is_directory = stat.S_ISDIR(os.fstat(target).st_mode)
            mask = kernel.open_tree(f"{_SCRATCH}/empty" if is_directory else f"{_SCRATCH}/null")
            kernel.mount_setattr(mask, kernel.MOUNT_ATTR_RDONLY)
            kernel.move_mount(mask, target, path)
            os.close(mask)
            os.close(target)
        for path in _READ_ONLY:
            target = self._find(path)
            if target is not None:
                self._make_read_only(target, path)

    # --- the service's own mounts -------------------------------------------------------------------------------------

    def hide(self, paths: list[str]) -> None:
        """Cover directories of the host with empty ones."""
        for path in paths:
            target = self._find(path)
            if target is not None:
                tree = kernel.new_filesystem("tmpfs", {"mode": "0755"}, _WRITABLE)
                kernel.move_mount(tree, target, path)
                os.close(tree)
                os.close(target)

    def mount_tmpfs(self, path: str, *, mode: int, size: int | None, directories: dict[str, int] | None = None) -> None:
        """A writable tmpfs, with `directories` (name -> mode) in it that belong to the service's user."""
        options: dict[str, str | None] = {"mode": f"{mode:o}"}
        if size is not None:
            options["size"] = str(size)
        tree = kernel.new_filesystem("tmpfs", options, _WRITABLE)
        for name, directory_mode in (directories or {}).items():
            os.mkdir(name, dir_fd=tree)
            self._give(name, tree, directory_mode)
        self._attach(tree, path)

    def make_home(self, path: str) -> None:
        """Make the user's home directory where it lies in a hidden, now empty, place."""
        parent, name = os.path.split(path.rstrip("/"))
        if not name or self._find(path) is not None:
            return
        parent_fd = self._find(parent)
        if parent_fd is None:
            return
        try:
            os.mkdir(name, 0o700, dir_fd=parent_fd)
            self._give(name, parent_fd, 0o700)
        except OSError as error:
            if error.errno not in _REFUSED:  # a home on the read-only root stays what it is
                raise
        finally:
            os.close(parent_fd)

    def _give(self, name: str, dir_fd: int, mode: int) -> None:
        uid, gid = self._owner
        if (os.geteuid(), os.getegid()) != (uid, gid):
            os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)
        target = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        os.fchmod(target, mode)
        os.close(target)

    def mount_tree(self, tree: int, path: str, *, read_only: bool, protect: list[str], hide: list[str]) -> None:
        """Attach the detached mount `tree` at `path`. Relative to it, `protect` become read-only and `hide` empty."""
        attributes = _WRITABLE | (kernel.MOUNT_ATTR_RDONLY if read_only else 0)
        kernel.mount_setattr(tree, attributes, recursive=True)
        self._attach(tree, path)
        # A directory that holds a mount can still be renamed, and the protected file with it. A mount point cannot:
        # so every directory on the way to a protected path becomes a mount point as well.
        anchored: set[str] = set()
        for relative in sorted(protect):
            parts = relative.split("/")
            for depth in range(1, len(parts)):
                ancestor = "/".join(parts[:depth])
                if ancestor not in anchored:
                    anchored.add(ancestor)
                    self._remount(f"{path}/{ancestor}", read_only=False)
            self._remount(f"{path}/{relative}", read_only=True)
        self.hide([f"{path}/{relative}" for relative in hide])

    def _remount(self, path: str, *, read_only: bool) -> None:
        target = self._find(path, os.O_NOFOLLOW)  # a link is protected itself: what it points to has a path of its own
        if target is None:
            return
        if read_only:
            self._make_read_only(target, path)
            return
        tree = kernel.open_tree("", dir_fd=target, recursive=True)
        kernel.move_mount(tree, target, path)
        os.close(tree)
        os.close(target)

    def write_files(self, files: dict[str, str]) -> None:
        """Put small generated files (path -> text) over the root's own, readable to everybody."""
        for number, (path, text) in enumerate(sorted(files.items())):
            name = str(number)
            file = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=self._scratch)
            os.write(file, text.encode())
            os.fchmod(file, 0o644)
            os.close(file)
            self._attach(kernel.open_tree(f"{_SCRATCH}/{name}"), path)

    # --- attaching ----------------------------------------------------------------------------------------------------

    def _find(self, path: str, flags: int = 0) -> int | None:
        """An O_PATH descriptor of `path` in the new root; None where it does not exist or cannot be reached."""
        try:
            return kernel.open_in_root(self._root, path, os.O_PATH | flags)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                return None
            raise

    def _make_read_only(self, target: int, path: str) -> None:
        tree = kernel.open_tree("", dir_fd=target, recursive=True)
        kernel.mount_setattr(tree, kernel.MOUNT_ATTR_RDONLY, recursive=True)
        kernel.move_mount(tree, target, path)
        os.close(tree)
        os.close(target)

    def _attach(self, tree: int, path: str) -> None:
        """Attach `tree` at `path`, making the mount point where it is missing. Closes `tree`."""
        is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
        target = self._ensure(path, is_directory)
        kernel.move_mount(tree, target, path)
        os.close(target)
        os.close(tree)

    def _ensure(self, path: str, is_directory: bool) -> int:
        """An O_PATH descriptor of the mount point `path`, which is made if need be."""
        parts = [part for part in path.split("/") if part]
        for depth in range(1, len(parts) + 1):
            here = "/" + "/".join(parts[:depth])
            try:
                found = kernel.open_in_root(self._root, here, os.O_PATH)
            except FileNotFoundError:
                parent = "/" + "/".join(parts[: depth - 1])
                self._make(parent, parts[depth - 1], is_directory or depth < len(parts))
            except PermissionError:
                # The container may not search the parent: cover it, so that the way to the mount point opens.
                self._cover("/" + "/".join(parts[: depth - 1]))
                self._make("/" + "/".join(parts[: depth - 1]), parts[depth - 1], is_directory or depth < len(parts))
            else:
                if depth == len(parts):
                    return found
                os.close(found)
        return kernel.open_in_root(self._root, path, os.O_PATH)

    def _make(self, parent: str, name: str, is_directory: bool) -> None:
        for attempt in (1, 2):
            parent_fd = kernel.open_in_root(self._root, parent, os.O_PATH | os.O_DIRECTORY)
            try:
                if is_directory:
                    os.mkdir(name, 0o755, dir_fd=parent_fd)
                else:
                    os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent_fd))
                return
            except FileExistsError:
                return  # another container made it, or a link whose target is missing: opening it tells
            except OSError as error:
                if error.errno not in _REFUSED or attempt == 2:
                    raise
            finally:
                os.close(parent_fd)
            self._cover(parent)

    def _cover(self, path: str) -> None:
        """Put a tmpfs over a directory that cannot be changed, with everything that was in it bound back in place."""
        kept: list[tuple[str, int | None, str]] = []
        try:
            directory = kernel.open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
            names = os.listdir(directory)
        except PermissionError:
            directory, names = -1, []
        for name in names:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                kept.append((name, None, os.readlink(name, dir_fd=directory)))
                continue
            try:
                kept.append((name, kernel.open_tree(name, dir_fd=directory, recursive=True), ""))
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.ENOENT):
                    raise
        tree = kernel.new_filesystem("tmpfs", {"mode": "0755"}, _WRITABLE)
        for name, child, link in kept:
            if child is None:
                os.symlink(link, name, dir_fd=tree)
            elif stat.S_ISDIR(os.fstat(child).st_mode):
                os.mkdir(name, dir_fd=tree)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=tree))
        target = kernel.open_in_root(self._root, path, os.O_PATH | os.O_DIRECTORY)
        kernel.move_mount(tree, target, path)
        if path == "/":
            self._reopen()
        for name, child, _ in kept:
            if child is not None:
                self._attach(child, f"{path.rstrip('/')}/{name}")
        self._covers.append(tree)
        for fd in (directory, target):
            if fd >= 0:
                os.close(fd)

    def enter(self) -> None:
        """Make the finished tree this process's root and let go of the host's view."""
        for cover in self._covers:
            kernel.mount_setattr(cover, kernel.MOUNT_ATTR_RDONLY)
        os.fchdir(self._root)
        kernel.pivot_root(".", ".")
        os.fchdir(self._old_root)
        kernel.set_propagation(".", kernel.MS_REC | kernel.MS_SLAVE)
        kernel.unmount(".", kernel.MNT_DETACH)
        os.chdir("/")


def _open_device(name: str, major: int, minor: int) -> int:
    """A detached mount of one of the host's device nodes, proved to be that device (CVE-2025-31133)."""
    tree = kernel.open_tree(f"/dev/{name}")
    status = os.fstat(tree)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(major, minor):
        raise OSError(errno.ENODEV, "is not the device it should be", f"/dev/{name}")
    return tree


def _attach_at(path: str, tree: int) -> None:
    target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    kernel.move_mount(tree, target, path)
    os.close(target)


def build(order: dict[str, Any], trees: list[int]) -> None:
    """Build and enter the root that `order` describes (host/orders.py); `trees` are the mounts that came with it."""
    root = RootBuilder(order["uid"], order["gid"])
    root.attach_host()
    root.hide(order["hide"])
    root.mount_tmpfs("/run", mode=0o755, size=None, directories=order["run_directories"])
    root.mount_tmpfs("/tmp", mode=0o1777, size=None)
    root.mount_tmpfs("/var/tmp", mode=0o1777, size=None)
    root.make_home(order["home"])
    root.mount_kernel_filesystems(tty_group=order["tty_group"], cgroup2=order["cgroup2"])
    for mount in order["mounts"]:
        if mount["kind"] == "tmpfs":
            root.mount_tmpfs(mount["target"], mode=mount["mode"], size=mount["size"])
        else:
            tree = trees[mount["tree"]]
            guards = {"protect": mount["protect"], "hide": mount["hide"]}
            root.mount_tree(tree, mount["target"], read_only=mount["read_only"], **guards)
    root.write_files(order["files"])
    root.protect_kernel_files()
    root.enter()
