"""The imperative shell of one stack: wake, observe, reconcile, execute, publish; again and again.

It decides nothing about containers (core does) and touches no kernel (host does). It may be killed at any instruction:
everything it must know again is with the launcher or on disk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stackup.clock import boottime
from stackup.core import names, ports
from stackup.core.addresses import Addresses, assign, gateway
from stackup.core.codec import to_plain
from stackup.core.fate import Wanted
from stackup.core.plan import (
    Action,
    CreateContainer,
    CreateNetwork,
    Plan,
    RemoveNetwork,
)
from stackup.core.planview import subject as subject_of
from stackup.core.planview import verb
from stackup.core.progress import Goal, obstacles, reached
from stackup.core.reconcile import reconcile
from stackup.core.types import Container, Desired, Observed, State
from stackup.errors import HostError, StackupError, StateError
from stackup.host.linux import LinuxHost
from stackup.statedir import StackDir
from stackup.supervisor.commands import Commands
from stackup.supervisor.failures import DependencyFailed
from stackup.supervisor.failures import describe as describe_failures
from stackup.supervisor.probes import Probes

_ROUNDS = 16
"""Plans executed in a row before the loop listens again; each follows from what the one before it has begun."""

Listener = Callable[[dict[str, Any]], None]


_FIRST_RETRY, _LONGEST_RETRY = 1.0, 60.0
"""Seconds until an action that the host refused is tried again, and the most that its doubling comes to."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the host refused: tried again at `again_at` (CLOCK_BOOTTIME), then after `pause` seconds twice as long."""

    error: StackupError
    again_at: float
    pause: float


@dataclass(eq=False)
class Waiter:
    """A command that waits until the stack has become what it asked for."""

    goal: Goal
    future: asyncio.Future[None]


class Supervisor:
    """One stack's supervisor, with a launcher that runs."""

    def __init__(self, directory: StackDir, host: LinuxHost, desired: Desired) -> None:
        self.directory, self.host, self.desired = directory, host, desired
        self.commands = Commands(host)
        self.probes = Probes(self.commands, self._health_changed)
        self.observed = Observed()
        self.plan = Plan()
        self.gone = asyncio.Event()
        """Set when the launcher, and with it the stack, is gone."""
        self.grace: float | None = None
        """Seconds that override every stop_grace_period, while a command asked for it."""
        self.begun = 0
        """Actions begun so far; the difference is what a command changed."""
        self._wake = asyncio.Event()
        self._listeners: list[Listener] = []
        self._waiters: list[Waiter] = []
        self._refused: dict[str, Refusal] = {}
        self._tables: dict[str, Any] = {}
        self._holds: dict[str, str] = {}
        self._warned: set[str] = set()
        self._log_is_broken = False
        host.link.on_backlog = self._wake.set
        asyncio.get_running_loop().add_reader(host.link.fileno(), self._wake.set)

    # --- what commands do ---------------------------------------------------------------------------------------------

    def want(self, desired: Desired, subnets: dict[str, str]) -> None:
        """Change what is wanted, durably, and set the loop going.

        Raises:
            HostError: it cannot be recorded, and is more than to end the stack: that must be possible on a full disk.
        """
        try:
            self.directory.write("desired", to_plain(desired))
        except HostError:
            if desired.containers:
                raise
        self.desired = desired
        self.host.prepare(desired, subnets)
        self._refused.clear()
        self._wake.set()

    async def until(self, goal: Goal) -> None:
        """Wait until a goal is reached.

        Raises:
            DependencyFailed: it cannot be reached.
            StackupError: the host refused something that it needs, or the stack is gone.
        """
        waiter = Waiter(goal, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        self._wake.set()
        try:
            await waiter.future
        finally:
            self._waiters.remove(waiter)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every event from now on; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def wake(self) -> None:
        """Let the loop look again: something outside has changed."""
        self._wake.set()

    # --- the loop -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the stack as it is wanted until the launcher is gone."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                self._converge()
                await self._answer_waiters()
                try:
                    await asyncio.wait_for(self._wake.wait(), self._wait())
                except TimeoutError:
                    continue
        except StateError:
            self.gone.set()
        finally:
            loop.remove_reader(self.host.link.fileno())
            self.probes.stop()
            self.commands.lose()
            for waiter in self._waiters:
                if not waiter.future.done():
                    waiter.future.set_exception(StateError(f"stack {self.directory.name} has ended"))
            self.notify({"type": "end", "reason": "the stack has ended"})

    def _converge(self) -> None:
        for message in self.host.listen():
            self.commands.hear(message)
        for _ in range(_ROUNDS):
            before, self.observed = self.observed, self.host.observe()
            self._publish_changes(before)  # what happened before what is done about it
            self.plan = reconcile(self.desired, self.observed, boottime())
            if not self._execute(self.plan):
                break
        else:
            self._wake.set()
        self._publish_holds()
        self._send_tables()
        self.probes.follow(self.observed)
        for text in self.host.notes:
            self.notify({"type": "note", "level": "info", "text": text})
        self.host.notes.clear()

    def _execute(self, plan: Plan) -> bool:
        """Carry out a plan; False where all of it had been begun before. What the host refuses is tried again later."""
        begun, now = False, boottime()
        planned = {subject_of(action) for action in plan.actions}
        self._refused = {subject: refusal for subject, refusal in self._refused.items() if subject in planned}
        addresses = self._addresses(plan)
        for action in plan.actions:
            subject = subject_of(action)
            refusal = self._refused.get(subject)
            if refusal is not None and now < refusal.again_at:
                continue
            if isinstance(action, RemoveNetwork) and not self.desired.containers:
                continue  # the networks of a stack that goes down go with its namespaces
            try:
                done = self.host.apply(action, addresses, grace=self.grace)
            except StateError:
                raise
            except StackupError as error:
                self._refuse(subject, error)
                continue
            except OSError as error:
                self._refuse(subject, HostError("apply", subject, error.strerror or str(error), errno=error.errno))
                continue
            self._refused.pop(subject, None)
            if done:
                begun = True
                self.begun += 1
                self._after(action)
                self.notify({"type": "action", "action": verb(action), "object": subject, "cause": action.cause})
        return begun

    def _refuse(self, subject: str, error: StackupError) -> None:
        before = self._refused.get(subject)
        pause = _FIRST_RETRY if before is None else min(before.pause * 2, _LONGEST_RETRY)
        self._refused[subject] = Refusal(error, boottime() + pause, pause)
        if before is None or before.error.message != error.message:
            self.notify({"type": "note", "level": "warning", "text": error.message})

    def _wait(self) -> float | None:
        """Seconds until the clock gives something to do; None where only an event can."""
        due = [refusal.again_at for refusal in self._refused.values()]
        if self.plan.wake_at is not None:
            due.append(self.plan.wake_at)
        return max(0.0, min(due) - boottime()) if due else None

    def _after(self, action: Action) -> None:
        if isinstance(action, CreateNetwork):
            address = gateway(self.host.subnets[action.network.name])
            self.host.helper("dns", {"op": "listen", "address": address}, keep=f"listen {address}")
        elif isinstance(action, RemoveNetwork) and action.name in self.host.subnets:
            address = gateway(self.host.subnets[action.name])
            self.host.helper("dns", {"op": "unlisten", "address": address}, forget=f"listen {address}")

    def _addresses(self, plan: Plan) -> Addresses:
        if not any(isinstance(action, CreateContainer) for action in plan.actions):
            return {}
        return assign(self.desired, self.observed, self.host.subnets)

    def _send_tables(self) -> None:
        """Tell the helpers who is where, where that has changed."""
        addresses = {container.name: container.addresses for container in self.observed.containers}
        if not addresses and not self._tables:
            return
        tables = {
            "dns": names.table(self.desired, self.observed, addresses),
            "relay": {"targets": ports.table(self.desired, self.observed, addresses)},
        }
        for helper, table in tables.items():
            if table != self._tables.get(helper) and (helper != "relay" or table["targets"]):
                self.host.helper(helper, {"op": "table", **table}, keep="table")
        self._tables = tables

    # --- telling ------------------------------------------------------------------------------------------------------

    def notify(self, event: dict[str, Any]) -> None:
        """Tell every listener of an event, and the event log."""
        for listener in list(self._listeners):
            listener(event)
        if self.directory.exists():
            self._log({"at": time.time(), **event})

    def _log(self, event: dict[str, Any]) -> None:
        """Append to the event log. A full disk costs events, never the supervision of what runs."""
        try:
            self.directory.append_event(event)
            self._log_is_broken = False
        except HostError as error:
            if not self._log_is_broken:
                self._log_is_broken = True
                for listener in list(self._listeners):
                    listener({"type": "note", "level": "warning", "text": f"events are not recorded: {error.message}"})

    def _publish_changes(self, before: Observed) -> None:
        for container in self.observed.containers:
            old = before.by_name.get(container.name)
            if old is None or (old.state, old.run, old.health) != (container.state, container.run, container.health):
                self.notify(self._state_event(container))

    def _publish_holds(self) -> None:
        for text in self.plan.warnings:
            if text not in self._warned:
                self._warned.add(text)
                self.notify({"type": "note", "level": "warning", "text": text})
        stopping = {each.name for each in self.observed.containers if each.state is State.STOPPING}
        holds = {hold.container: hold.reason for hold in self.plan.holds if hold.container not in stopping}
        for name, reason in holds.items():
            if self._holds.get(name) != reason:
                self.notify({"type": "hold", "container": name, "reason": reason})
        self._holds = holds

    def _state_event(self, container: Container) -> dict[str, Any]:
        exit = container.exit
        return {
            "type": "state",
            "container": container.name,
            "service": container.spec.service,
            "state": container.state.value,
            "health": container.health.value,
            "run": container.run,
            "pid": container.pid,
            "exit": {"code": exit.code, "signal": exit.signal, "error": exit.error} if exit else None,
            "restarting": exit is not None and Wanted(self.desired).runs_again(container),
        }

    def _health_changed(self, name: str, run: int, health: Any) -> None:
        self.host.note_health(name, run, health.value)
        self._wake.set()

    async def _answer_waiters(self) -> None:
        refused = next(iter(self._refused.values()), None)
        for waiter in list(self._waiters):
            state = (waiter.goal, self.desired, self.observed, self.plan)
            if waiter.future.done():
                continue
            if refused is not None:
                waiter.future.set_exception(refused.error)
            elif failures := obstacles(*state, boottime()):
                facts = await describe_failures(failures, self.observed, self.directory, self.probes)
                if not waiter.future.done():
                    waiter.future.set_exception(DependencyFailed(facts))
            elif reached(*state):
                waiter.future.set_result(None)

    def finished(self) -> bool:
        """Whether every container has ended and none will run again by itself."""
        return (
            bool(self.observed.containers)
            and all(container.state is State.EXITED for container in self.observed.containers)
            and not (self.plan.actions or self.plan.holds)
        )
