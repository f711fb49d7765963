"""Control groups of a stack: where they are, the default limits, and their removal. Both hierarchies (cgroups(7)).

A stack's groups lie below `stackup/STACK/CONTAINER` in every hierarchy that is used; STACK carries a mark where the
state directory is not the default one, since two of them may have stacks of one name. What this machine cannot give is
said by `doctor`; only limits that a file asks for are errors.
"""

from __future__ import annotations

import errno
import os
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stackup.errors import HostError
from stackup.statedir import StackDir, default_base

DEFAULT_PIDS = 2048
_ROOT = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("pids",)


@dataclass(frozen=True, slots=True)
class Layout:
    """`version` 1 or 2, or 0 where groups cannot be made; `roots` are directories in which ours can be made."""

    version: int
    roots: tuple[Path, ...]


def find_layout(root: Path = _ROOT) -> Layout:
    """Look at what is mounted and writable; changes nothing."""
    if (root / "cgroup.controllers").exists():
        roots = tuple(path for path in _delegated(root) if os.access(path, os.W_OK))
        return Layout(2 if roots else 0, roots[:1])
    roots = tuple(root / name for name in _V1_CONTROLLERS if os.access(root / name / "cgroup.procs", os.W_OK))
    return Layout(1 if roots else 0, roots)


def _delegated(root: Path) -> list[Path]:
    """Candidates on v2: the top for root, else this process's own group where it was delegated."""
    if os.geteuid() == 0:
        return [root]
    own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
    return [(root / own.lstrip("/")).parent]


class StackGroups:
    """The groups of one stack."""

    def __init__(self, directory: StackDir, layout: Layout) -> None:
        base = directory.state.path
        mark = "" if base == default_base({}) else f".{zlib.crc32(base.encode()):08x}"
        self._tops = tuple(root / "stackup" / f"{directory.name}{mark}" for root in layout.roots)
        self._version = layout.version

    def create(self, container: str) -> list[int]:
        """Make the container's groups with the default limits; returns open cgroup.procs files for its first process.

        Raises:
            HostError: the kernel refused to make a group.
        """
        opened: list[int] = []
        try:
            for top in self._tops:
                group = top / container
                group.mkdir(parents=True, exist_ok=True)
                if self._version == 2:
                    self._enable(top)
                with suppress(FileNotFoundError):
                    (group / "pids.max").write_text(str(DEFAULT_PIDS))
                opened.append(os.open(group / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        except OSError as error:
            for fd in opened:
                os.close(fd)
            raise HostError("create cgroup", str(error.filename), error.strerror or "", errno=error.errno) from error
        return opened

    def _enable(self, top: Path) -> None:
        """Hand the pids controller down from the root to the stack's group (cgroup v2, top-down)."""
        for directory in (top.parent.parent, top.parent, top):
            with suppress(OSError):  # without the controller there is no default limit, and doctor says so
                (directory / "cgroup.subtree_control").write_text("+pids +memory")

    def remove(self, container: str) -> None:
        """Remove the groups of a container whose processes are gone, or about to be."""
        for top in self._tops:
            _remove_directory(top / container)

    def remove_all(self) -> None:
        """Remove every group of the stack; and the common parent, if this was the last stack."""
        for top in self._tops:
            if top.is_dir():
                for group in sorted(top.iterdir()):
                    if group.is_dir():
                        _remove_directory(group)
                _remove_directory(top)
            with suppress(OSError):
                top.parent.rmdir()


def _remove_directory(path: Path, patience: float = 2.0) -> None:
    """rmdir a group, waiting while the kernel still counts dying processes in it.

    Raises:
        HostError: it is still busy after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    pause = 0.001
    while True:
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise HostError("remove cgroup", str(path), error.strerror or "", errno=error.errno) from error
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
