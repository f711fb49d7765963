"""The commands of the control socket, from request to result. One supervisor serves one stack (see supervisor.py)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from stackup.core.addresses import subnet_for
from stackup.core.progress import Begun, Goal, Gone, Stopped, Up
from stackup.core.requests import for_down, for_restart, for_start, for_stop
from stackup.core.types import Desired, Project
from stackup.errors import StackFileError, StackupError, StateError
from stackup.host.launcher import LauncherLink
from stackup.host.linux import LinuxHost
from stackup.statedir import Lock, StackDir
from stackup.supervisor import lifetime, publishing
from stackup.supervisor.control import Connection
from stackup.supervisor.failures import DependencyFailed
from stackup.supervisor.preview import last_desired, wish
from stackup.supervisor.supervisor import Supervisor
from stackup.supervisor.watching import Watching


class Session:
    """Serves requests for one stack, from the first to the end of the stack or of its supervisor."""

    def __init__(self, directory: StackDir, lock: Lock, link: LauncherLink | None, *, launched: bool) -> None:
        """`launched`: the launcher behind `link` is just being started; otherwise it is to be adopted."""
        self._directory, self._lock, self._link, self._launched = directory, lock, link, launched
        self._supervisor: Supervisor | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self._watching: Watching | None = None
        self._changing = asyncio.Lock()
        self.ended = asyncio.Event()

    async def handle(self, connection: Connection) -> None:
        """Answer one connection."""
        received = await connection.request()
        if received is None:
            return
        request, fds = received
        try:
            handler = getattr(self, "_on_" + str(request.get("verb")), None)
            if handler is None:
                raise StackupError(
                    f"unknown request {request.get('verb')}", hint="another version of stackup runs here"
                )
            await handler(connection, request, fds)
        except Exception as error:
            connection.send({"error": _plain_error(error)})
            if not isinstance(error, StackupError):
                raise
        finally:
            for fd in fds:
                os.close(fd)
            if self._is_empty and not self._changing.locked():
                self.ended.set()  # a first `up` that failed leaves no empty stack behind

    # --- the supervisor and its launcher ------------------------------------------------------------------------------

    @property
    def _is_empty(self) -> bool:
        """Whether there is a launcher (or was to be one) for which nothing was ever wanted."""
        return self._loop_task is None

    @property
    def idle(self) -> bool:
        """Whether there is no stack to supervise, and nobody is about to start one."""
        return self._is_empty and not self._changing.locked()

    def close(self) -> None:
        """Let go of the stack: a launcher that never got a stack ends, and so does the loop of one that goes on."""
        if self._is_empty and self._link is not None:
            lifetime.end_unused(self._directory, self._link)
        elif self._is_empty or (self._supervisor is not None and self._supervisor.gone.is_set()):
            self._directory.remove()
        if self._loop_task is not None:
            self._loop_task.cancel()
        self._lock.release()

    async def adopt(self) -> None:
        """Take over a stack whose launcher runs: what an earlier supervisor wanted is wanted again."""
        if self._link is None:
            return
        desired = last_desired(self._directory)
        supervisor = self._attach(self._link, desired or Desired(self._directory.name, Project("/", shared=False)))
        if desired is not None:
            supervisor.want(desired, (self._directory.read("launcher") or {}).get("subnets", {}))
        self._begin(supervisor)

    def _attach(self, link: LauncherLink, desired: Desired) -> Supervisor:
        host = LinuxHost(self._directory, lifetime.find_caller(self._directory), link)
        host.greet()
        self._link, self._supervisor = link, Supervisor(self._directory, host, desired)
        return self._supervisor

    def _begin(self, supervisor: Supervisor) -> None:
        if self._loop_task is None:
            self._loop_task = asyncio.ensure_future(self._run(supervisor))
            self._watching = Watching(supervisor, self._restart_by_watch)

    async def _run(self, supervisor: Supervisor) -> None:
        """The supervisor's whole life; whatever ends it, the stack's last traces go with it."""
        try:
            await supervisor.run()
        finally:
            if self._watching is not None:
                self._watching.stop()
            if supervisor.gone.is_set():
                lifetime.bury(self._directory, supervisor.host)
            self.ended.set()

    def _ensure(self) -> Supervisor:
        """The supervisor, or an error where the stack does not run."""
        if self._supervisor is None:
            raise StackupError(f"stack {self._directory.name} is not running", hint="stackup up starts it")
        return self._supervisor

    # --- requests -----------------------------------------------------------------------------------------------------

    async def _on_ping(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> None:
        connection.send({"result": {"pid": os.getpid()}})

    async def _on_up(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> None:
        from stackup.stackfile import Source, load

        async with self._changing:
            if self._link is None:
                self._link = lifetime.launch(self._directory)
            stack = load(Source.from_plain(request["source"]))
            fresh = self._supervisor is None
            if fresh:
                lifetime.wait_launched(self._directory, self._link)
                self._attach(self._link, Desired(stack.name, Project("/", shared=False)))
            supervisor = self._ensure()
            if fds and fresh:
                supervisor.host.link.send("own", fds[:1])
            elif request["detach"]:
                supervisor.host.link.send("own")
            observed = supervisor.host.observe()
            desired = wish(stack, self._directory, observed, request["services"])
            supervisor.grace = request.get("stop_timeout")
            caller_path = request["source"]["environ"].get("PATH", "")
            self._apply(supervisor, desired, caller_path, fresh=fresh, detached=not fds)
            self._begin(supervisor)
            unsubscribe = supervisor.subscribe(lambda event: connection.send({"event": event}))
            begun = supervisor.begun
        try:
            await self._settle(supervisor, connection, request)
            summary = self._summary(desired, stack.warnings) | {"changed": supervisor.begun - begun}
            connection.send({"result": summary})
            if request.get("attach"):
                await self._attend(supervisor, connection)
        finally:
            with suppress(ValueError):
                unsubscribe()

    def _apply(
        self, supervisor: Supervisor, desired: Desired, caller_path: str, *, fresh: bool, detached: bool
    ) -> None:
        """Check and publish, then want: a hidden program or a taken port must keep anything from starting."""
        record = self._directory.read("stack") or {}
        before = [] if fresh else record.get("published", [])
        launched = self._directory.read("launcher") or {}
        taken = dict(launched.get("subnets", {}))
        subnets = subnet_for(sorted({network.name for network in desired.networks} | set(taken)), taken)
        supervisor.host.prepare(desired, subnets)
        supervisor.host.check_commands(desired.containers, caller_path)
        published = publishing.publish(supervisor.host, desired, before)
        if not fresh:
            detached = detached or record.get("detached", True)
        self._directory.write(
            "stack",
            {
                "name": desired.stack,
                "project_dir": desired.project.directory,
                "files": list(desired.project.files),
                "detached": detached,
                "created_at": record.get("created_at", time.time()) if not fresh else time.time(),
                "published": published,
            },
        )
        supervisor.want(desired, subnets)

    async def _settle(self, supervisor: Supervisor, connection: Connection, request: dict[str, Any]) -> None:
        waiting = asyncio.ensure_future(supervisor.until(Up(healthy=bool(request.get("wait")))))
        closed = asyncio.ensure_future(connection.closed.wait())
        try:
            limit = request.get("timeout")
            done, _ = await asyncio.wait({waiting, closed}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            if waiting in done:
                await waiting
            elif not done:
                hint = "stackup ps shows what is not; the stack goes on starting"
                raise StackupError(f"{self._directory.name} is not ready after {limit:g} s", hint)
        finally:
            waiting.cancel()
            closed.cancel()
            with suppress(asyncio.CancelledError, StackupError):
                await waiting

    async def _attend(self, supervisor: Supervisor, connection: Connection) -> None:
        """Keep an attached client company until it leaves or every container has ended."""
        changed = asyncio.Event()
        unsubscribe = supervisor.subscribe(lambda event: changed.set())
        try:
            while not connection.closed.is_set() and not supervisor.gone.is_set():
                if supervisor.finished():
                    connection.event("end", reason="every container has exited")
                    return
                changed.clear()
                events = (changed, connection.closed, supervisor.gone)
                waits = [asyncio.ensure_future(event.wait()) for event in events]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
        finally:
            with suppress(ValueError):
                unsubscribe()

    def _summary(self, desired: Desired, warnings: Sequence[str]) -> dict[str, Any]:
        record = self._directory.read("stack") or {}
        return {
            "warnings": list(warnings),
            "published": record.get("published", []),
            "containers": [spec.name for spec in desired.containers],
        }

    async def _on_down(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> None:
        if request.get("kill") and self._supervisor is not None:
            self._supervisor.grace = 0.0
            self._supervisor.host.hasten()
            self._supervisor.wake()
        async with self._changing:
            previous = last_desired(self._directory)
            if self._supervisor is not None and not self._supervisor.gone.is_set():
                await self._take_down(self._supervisor, connection, request)
            else:
                lifetime.bury(self._directory, None)
            if request.get("volumes"):
                self._remove_volumes(previous, connection)
            connection.send({"result": {}})
            await connection.drained()
            connection.lasting = True
            self.ended.set()

    def _remove_volumes(self, previous: Desired | None, connection: Connection) -> None:
        """Remove the volumes of the last file, and those that an earlier `down` has left."""
        state = self._directory.state
        names = {volume.name for volume in previous.volumes if not volume.external} if previous else set()
        names |= {
            name for name in state.volumes() if (state.volume(name).read() or {}).get("stack") == self._directory.name
        }
        for name in sorted(names.intersection(state.volumes())):
            state.volume(name).remove()
            event = {"type": "action", "action": "remove volume", "object": name, "cause": "asked for with -v"}
            connection.send({"event": event})

    async def _take_down(self, supervisor: Supervisor, connection: Connection, request: dict[str, Any]) -> None:
        unsubscribe = supervisor.subscribe(lambda event: connection.send({"event": event}))
        if request.get("timeout") is not None:
            supervisor.grace = float(request["timeout"])
        if self._watching is not None:
            self._watching.stop()
        supervisor.want(for_down(supervisor.desired), supervisor.host.subnets)
        try:
            await supervisor.until(Gone())
            supervisor.host.link.send("end")
            await supervisor.gone.wait()
        except StateError:
            await supervisor.gone.wait()
        finally:
            with suppress(ValueError):
                unsubscribe()
        if self._loop_task is not None:
            await self._loop_task

    async def _on_stop(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> None:
        async with self._changing:
            supervisor = self._ensure()
            services = self._services(supervisor, request["services"])
            supervisor.grace = request.get("timeout")
            desired = for_stop(supervisor.desired, services, "stopped by hand")
            await self._change(supervisor, connection, desired, Stopped(frozenset(services)))

    async def _on_start(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> None:
        async with self._changing:
            supervisor = self._ensure()
            services = self._services(supervisor, request["services"])
            observed = supervisor.host.observe()
            desired = for_start(supervisor.desired, observed, services)
            await self._change(supervisor, connection, desired, Begun(frozenset(services)))

    async def _on_restart(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> None:
        async with self._changing:
            supervisor = self._ensure()
            services = self._services(supervisor, request["services"])
            supervisor.grace = request.get("timeout")
            observed = supervisor.host.observe()
            desired = for_restart(supervisor.desired, observed, services, "restarted by hand")
            await self._change(supervisor, connection, desired, Begun(frozenset(services)))

    async def _change(self, supervisor: Supervisor, connection: Connection, desired: Desired, goal: Goal) -> None:
        unsubscribe = supervisor.subscribe(lambda event: connection.send({"event": event}))
        try:
            supervisor.want(desired, supervisor.host.subnets)
            await supervisor.until(goal)
        finally:
            supervisor.grace = None
            with suppress(ValueError):
                unsubscribe()
        connection.send({"result": {}})

    def _services(self, supervisor: Supervisor, named: Sequence[str]) -> list[str]:
        known = {spec.service for spec in supervisor.desired.containers}
        for name in named:
            if name not in known:
                raise StackupError(f"no such service: {name}", hint=f"there are {', '.join(sorted(known)) or 'none'}")
        return list(named) or sorted(known)

    def _restart_by_watch(self, supervisor: Supervisor, services: Sequence[str], cause: str) -> None:
        observed = supervisor.host.observe()
        desired = for_restart(supervisor.desired, observed, services, cause)
        supervisor.want(desired, supervisor.host.subnets)

    async def _on_exec(self, connection: Connection, request: dict[str, Any], fds: list[int]) -> None:
        supervisor = self._ensure()
        self._services(supervisor, [request["service"]])
        running = [
            container
            for container in supervisor.host.observe().containers
            if container.spec.service == request["service"]
            and container.pid
            and container.state.value == "running"
            and request.get("index") in (None, container.spec.index)
        ]
        if not running:
            number = f" container #{request['index']}" if request.get("index") else ""
            raise StackupError(f'service "{request["service"]}" is not running{number}', hint="stackup ps -a")
        container = min(running, key=lambda each: each.spec.index)
        result = await supervisor.commands.run(
            container.name,
            request,
            fds[:3],
            on_terminal=lambda fd: connection.event("pty", [fd]),
            abandoned=connection.closed,
        )
        if result.error is not None:
            connection.event("note", level="warning", text=result.error)
        connection.send({"result": {"exit_code": result.status}})


def _plain_error(error: Exception) -> dict[str, Any]:
    if isinstance(error, StackFileError):
        fields = ("file", "line", "column", "path", "reason", "suggestion")
        problems = [{key: getattr(problem, key) for key in fields} for problem in error.problems]
        return {"kind": "stackfile", "problems": problems}
    if isinstance(error, DependencyFailed):
        return {"kind": "dependency", "failures": error.failures}
    if isinstance(error, StackupError):
        return {"kind": "error", "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    hint = "this is a defect of stackup: please report it, with supervisor.log of the stack"
    return {"kind": "error", "message": f"{type(error).__name__}: {error}", "hint": hint, "exit_code": 1}
