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
        from watchfiles import watch

        existing = [path for path in paths if os.path.exists(path)]
        missing = sorted(set(paths) - set(existing))
        if missing:
            self._loop.call_soon_threadsafe(self._say, f"cannot watch {', '.join(missing)}: no such file or directory")
        if not existing:
            return
        try:
            for changes in watch(
                *existing,
                watch_filter=None,
                debounce=_LONGEST_MS,
                step=_QUIET_MS,
                stop_event=stopping,
                rust_timeout=_POLL_MS,
                raise_interrupt=False,
            ):
                self._loop.call_soon_threadsafe(self._changed, sorted({path for _, path in changes}))
        except OSError as error:
            hint = "sysctl fs.inotify.max_user_watches may be too small"
            self._loop.call_soon_threadsafe(self._say, f"watching has stopped: {error} ({hint})")

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


def _is_shared(spec: ContainerSpec, copy: Copy) -> bool:
    """Whether source and target are one file already: the project directory is bound at its own path."""
    return os.path.realpath(copy.source) == copy.target
