"""Watches files for `develop.watch`: one thread and one inotify instance for the stack, reactions in the loop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence

from stackup.core.progress import Begun
from stackup.core.types import ContainerSpec, State
from stackup.core.watch import Copy, Reaction, react, watched_paths
from stackup.errors import StackupError
from stackup.supervisor.supervisor import Supervisor

_QUIET_MS = 20
"""A batch is complete after this many milliseconds without a further change: one save is several events."""
_LONGEST_MS = 500
_POLL_MS = 500
"""How often the watching thread looks whether it shall stop, in milliseconds."""

Restart = Callable[[Supervisor, Sequence[str], str], None]
_Identity = tuple[int, int] | None
"""Device and inode of a watched path, None where there is nothing."""


class Watching:
    """The watch rules of one stack. Follows changes of the rules when told that what is wanted has changed."""

    def __init__(self, supervisor: Supervisor, restart: Restart) -> None:
        self._supervisor, self._restart = supervisor, restart
        self._loop = asyncio.get_running_loop()
        self._paths: tuple[str, ...] = ()
        self._stopping = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Lock] = {}
        self._unsubscribe: Callable[[], None] | None = supervisor.subscribe(lambda event: self._follow())
        self._follow()

    def _follow(self) -> None:
        paths = watched_paths(self._supervisor.desired.containers)
        if paths == self._paths:
            return
        self._stopping.set()
        self._paths, self._stopping = paths, threading.Event()
        if paths:
            arguments = (paths, self._stopping)
            threading.Thread(target=self._watch, args=arguments, name="watch", daemon=True).start()

    def stop(self) -> None:
        """End the thread and what is being done about the last changes."""
        self._stopping.set()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for task in self._tasks:
            task.cancel()

    def _watch(self, paths: tuple[str, ...], stopping: threading.Event) -> None:
        """The thread: watch the paths that exist, anew whenever one of them goes, comes or is replaced."""
        known: dict[str, _Identity] = {}
        said: set[str] = set()
        left: set[str] = set()
        try:
            while not stopping.is_set():
                before, known = known, {path: _identity(path) for path in paths}
                missing = {path for path, identity in known.items() if identity is None} - said
                if missing:
                    said |= missing
                    text = f"cannot watch {', '.join(sorted(missing))} as long as it does not exist"
                    self._loop.call_soon_threadsafe(self._say, text)
                if before:
                    left |= {path for path in paths if known[path] not in (None, before[path])}
                if left:
                    self._loop.call_soon_threadsafe(self._changed, sorted(left))
                left = self._watch_these(known, stopping)
        except (OSError, RuntimeError) as error:  # watchfiles raises both
            hint = "sysctl fs.inotify.max_user_watches may be too small"
            self._loop.call_soon_threadsafe(self._say, f"watching has stopped: {error} ({hint})")

    def _watch_these(self, known: dict[str, _Identity], stopping: threading.Event) -> set[str]:
        """Tell of changes until a path is not what it was: inotify(7) follows the inode, not the name.

        Returns the changes that came with that, to be told together with what is there now: it is one change.
        """
        from watchfiles import Change, watch

        existing = [path for path, identity in known.items() if identity is not None]
        if not existing:
            stopping.wait(_POLL_MS / 1000)
            return set()
        for changes in watch(
            *existing,
            watch_filter=None,
            debounce=_LONGEST_MS,
            step=_QUIET_MS,
            stop_event=stopping,
            rust_timeout=_POLL_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            changed = {path for _, path in changes}
            deleted = {path for change, path in changes if change is Change.deleted and path in known}
            # An inode number may be used again at once: what is there now is new, whatever its number.
            known.update(dict.fromkeys(deleted, (0, 0)))
            if any(_identity(path) != identity for path, identity in known.items()):
                return changed
            if changed:
                self._loop.call_soon_threadsafe(self._changed, sorted(changed))
        return set()

    def _say(self, text: str) -> None:
        self._supervisor.notify({"type": "note", "level": "warning", "text": text})

    def _changed(self, paths: Sequence[str]) -> None:
        for reaction in react(self._supervisor.desired.containers, paths):
            task = asyncio.ensure_future(self._react_in_turn(reaction))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _react_in_turn(self, reaction: Reaction) -> None:
        """One reaction of a service after another: an earlier copy must not overtake a later one."""
        async with self._turns.setdefault(reaction.service, asyncio.Lock()):
            await self._react(reaction)

    async def _react(self, reaction: Reaction) -> None:
        began = time.monotonic()
        try:
            if reaction.copies:
                await self._sync(reaction)
            if reaction.restart:
                names = ", ".join(os.path.basename(path) for path in reaction.files[:3])
                more = f" and {len(reaction.files) - 3} more" if len(reaction.files) > 3 else ""
                self._restart(self._supervisor, [reaction.service], f"{names}{more} changed")
                await self._supervisor.until(Begun(frozenset([reaction.service])))
        except (StackupError, OSError) as error:
            self._say(f"watch: {reaction.service}: {error}")
            return
        done = "sync and restart" if reaction.copies and reaction.restart else "restart" if reaction.restart else "sync"
        self._supervisor.notify(
            {
                "type": "watch",
                "service": reaction.service,
                "action": done,
                "files": list(reaction.files),
                "duration": round(time.monotonic() - began, 4),
            }
        )

    async def _sync(self, reaction: Reaction) -> None:
        """Copy changed files into every running container of the service, by tar and rm inside of it."""
        from stackup.supervisor.archive import pack

        present = [copy for copy in reaction.copies if os.path.lexists(copy.source)]
        gone = [copy.target for copy in reaction.copies if not os.path.lexists(copy.source)]
        for container in self._supervisor.host.observe().containers:
            if container.spec.service != reaction.service or container.state is not State.RUNNING:
                continue
            present_here = [copy for copy in present if not _is_shared(container.spec, copy)]
            if present_here:
                command = ["tar", "-x", "-o", "-m", "-f", "-", "-C", "/"]
                await self._run(container.name, command, pack(present_here))
            if gone:
                await self._run(container.name, ["rm", "-rf", "--", *gone], None)

    async def _run(self, container: str, command: list[str], stdin: int | None) -> None:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        output = os.memfd_create("stackup-sync")
        try:
            result = await self._supervisor.commands.run(
                container, {"command": command, "working_dir": "/"}, [null if stdin is None else stdin, null, output]
            )
            if result.status != 0:
                said = os.pread(output, 4096, 0).decode(errors="replace").strip()
                raise StackupError(f"{command[0]} failed in {container}: {result.error or said or result.status}")
        finally:
            for fd in (null, output) if stdin is None else (null, output, stdin):
                os.close(fd)


def _identity(path: str) -> _Identity:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_shared(spec: ContainerSpec, copy: Copy) -> bool:
    """Whether source and target are one file already: the project directory is bound at its own path."""
    return os.path.realpath(copy.source) == copy.target
