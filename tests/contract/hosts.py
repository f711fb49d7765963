"""The two hosts behind one interface: the fake one, and the real one through its launcher. Thin; decides nothing."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import Protocol

from stackup.clock import boottime
from stackup.core.addresses import assign, subnet_for
from stackup.core.plan import Action
from stackup.core.types import Desired, Exit, Health, Observed
from stackup.host.linux import LinuxHost
from stackup.host.procfs import can_react
from stackup.statedir import StackDir, StateDir
from stackup.supervisor import lifetime
from stackup.testing.fake_host import FakeHost, Script
from tests.support import eventually

PATIENCE = 20.0
"""Seconds for something to happen on the real host."""

# What a service does, by its name: its program on the real host, and its script on the fake one.
POLITE = "trap 'exit 0' TERM; while :; do sleep 0.02; done"
PROGRAMS: dict[str, tuple[tuple[str, ...], Script]] = {
    "sleeper": (("sleep", "1000"), Script(reacts=False)),
    "polite": (("sh", "-c", POLITE), Script(stop_exit=Exit(code=0))),
    "task": (("true",), Script(exits_after=0.001)),
    "failing": (("sh", "-c", "exit 3"), Script(exits_after=0.001, exit=Exit(code=3))),
    "missing": (("no-such-program",), Script(launch_error="no-such-program: not found")),
}


class Host(Protocol):
    """What both hosts promise, as a supervisor uses it."""

    def now(self) -> float: ...

    def prepare(self, desired: Desired) -> None:
        """Take in what is wanted, before any of it is applied."""

    def observe(self) -> Observed: ...

    def apply(self, action: Action) -> bool:
        """Carry out an action; False where it is refused because it has been done or cannot be."""

    def wait(self, until: Callable[[Observed], bool], wake_at: float | None = None) -> Observed:
        """Let time pass until something holds, or at the latest until `wake_at`."""

    def wait_for_handler(self, name: str, number: int) -> None:
        """Until the program handles a signal: one that came before would be lost."""

    def kill(self, name: str) -> None:
        """SIGKILL from outside for a container's process."""

    def note_health(self, name: str, health: Health) -> None: ...

    def adopt(self, desired: Desired) -> None:
        """Another supervisor takes over, which knows nothing but what it observes."""


class Fake:
    """FakeHost behind the interface."""

    def __init__(self) -> None:
        self._host = FakeHost({name: (script,) for name, (_, script) in PROGRAMS.items()})

    def now(self) -> float:
        return self._host.now

    def prepare(self, desired: Desired) -> None:
        """It makes no orders, and needs nothing for them."""

    def observe(self) -> Observed:
        return self._host.observe()

    def apply(self, action: Action) -> bool:
        try:
            self._host.apply(action)
        except ValueError:
            return False
        return True

    def wait(self, until: Callable[[Observed], bool], wake_at: float | None = None) -> Observed:
        while not until(self.observe()):
            moments = [at for at in (self._host.next_event_at(), wake_at) if at is not None]
            assert moments, f"nothing will ever happen: {self.observe()}"
            self._host.pass_time(max(min(moments), self._host.now))
            if min(moments) == wake_at:
                break
        return self.observe()

    def wait_for_handler(self, name: str, number: int) -> None:
        """Its programs are born with their handlers."""

    def kill(self, name: str) -> None:
        self._host.crash(name, Exit(signal=9))

    def note_health(self, name: str, health: Health) -> None:
        self._host.set_health(name, health)

    def adopt(self, desired: Desired) -> None:
        """There is one memory, and it stays."""


class Linux:
    """LinuxHost behind the interface, with a launcher of its own."""

    def __init__(self, base: str, stack: str) -> None:
        self.directory: StackDir = StateDir(base).stack(stack)
        self.directory.create()
        link = lifetime.launch(self.directory)
        lifetime.wait_launched(self.directory, link)
        self.host = LinuxHost(self.directory, lifetime.find_caller(self.directory), link)
        self.host.greet()
        self._desired = Desired(stack, project=None)  # type: ignore[arg-type]

    def now(self) -> float:
        return boottime()

    def prepare(self, desired: Desired) -> None:
        self._desired = desired
        subnets = subnet_for(
            {network.name for network in desired.networks} | self.host.subnets.keys(), self.host.subnets
        )
        self.host.prepare(desired, subnets)

    def observe(self) -> Observed:
        assert list(self.host.listen()) == []  # nobody else speaks here
        return self.host.observe()

    def apply(self, action: Action) -> bool:
        return self.host.apply(action, assign(self._desired, self.observe(), self.host.subnets))

    def wait(self, until: Callable[[Observed], bool], wake_at: float | None = None) -> Observed:
        deadline = boottime() + PATIENCE
        while not until(observed := self.observe()):
            limit = deadline if wake_at is None else min(deadline, wake_at)
            if boottime() >= limit:
                break
            select.select([self.host.link], [], [], limit - boottime())
        return observed

    def wait_for_handler(self, name: str, number: int) -> None:
        pid = self.observe().by_name[name].pid
        assert pid is not None
        eventually(lambda: can_react(pid, number), PATIENCE)

    def kill(self, name: str) -> None:
        pid = self.observe().by_name[name].pid
        assert pid is not None
        os.kill(pid, 9)

    def note_health(self, name: str, health: Health) -> None:
        self.host.note_health(name, self.observe().by_name[name].run, health.value)

    def adopt(self, desired: Desired) -> None:
        subnets = self.host.subnets
        self.host.close()
        self.host.link.close()
        link = lifetime.connect(self.directory)
        assert link is not None
        self.host = LinuxHost(self.directory, lifetime.find_caller(self.directory), link)
        self.host.greet()
        self.host.prepare(desired, subnets)

    def end(self) -> None:
        """End the launcher, and with it everything; then remove what the kernel leaves."""
        record = self.directory.read("launcher")
        assert record is not None
        launcher = os.pidfd_open(record["pid"])
        self.host.link.send("end")
        assert select.select([launcher], [], [], PATIENCE)[0], "the launcher does not end"
        os.close(launcher)
        self.host.link.close()
        lifetime.bury(self.directory, self.host)
