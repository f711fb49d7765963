"""Runs the healthchecks of running containers; core/health.py decides what results mean and when the next is due."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from stackup.clock import boottime
from stackup.core import health
from stackup.core.types import Container, Health, Healthcheck, Observed, State
from stackup.errors import StackupError
from stackup.supervisor.commands import OUTPUT_LIMIT, CommandResult, Commands

_CHUNK = 65536


@dataclass
class _Probe:
    run: int
    check: Healthcheck
    record: health.HealthRecord
    task: asyncio.Task[None]


class Probes:
    """One task for each running container that has a healthcheck."""

    def __init__(self, commands: Commands, on_health: Callable[[str, int, Health], None]) -> None:
        """`on_health(container, run, health)` is told of every change."""
        self._commands, self._on_health = commands, on_health
        self._probes: dict[str, _Probe] = {}

    def follow(self, observed: Observed) -> None:
        """Begin, go on, or stop probing, as the containers are now."""
        wanted = {
            container.name: container
            for container in observed.containers
            if container.state is State.RUNNING and container.spec.healthcheck is not None
        }
        for name in list(self._probes):
            container = wanted.get(name)
            probe = self._probes[name]
            if container is None or container.run != probe.run or container.spec.healthcheck != probe.check:
                self._probes.pop(name).task.cancel()
        for name, container in wanted.items():
            if name not in self._probes:
                self._begin(container)

    def _begin(self, container: Container) -> None:
        check = container.spec.healthcheck
        assert check is not None and container.started_at is not None
        now = boottime()
        if container.health in (Health.HEALTHY, Health.UNHEALTHY):
            record = health.resume(check, container.started_at, container.health, now)
        else:
            record = health.begin(check, container.started_at)
        task = asyncio.ensure_future(self._keep_probing(container.name))
        self._probes[container.name] = _Probe(container.run, check, record, task)

    def last_result(self, container: str) -> health.ProbeResult | None:
        """The newest result of a container's healthcheck, for messages."""
        probe = self._probes.get(container)
        return probe.record.results[-1] if probe and probe.record.results else None

    async def _keep_probing(self, name: str) -> None:
        while True:
            probe = self._probes[name]
            await asyncio.sleep(max(0.0, health.next_probe_at(probe.check, probe.record) - boottime()))
            began = boottime()
            result = await self._run(name, probe.check)
            ok = result.status == 0 and not result.timed_out
            output = f"no answer within {probe.check.timeout:g} s" if result.timed_out else result.output
            output = output or result.error or ""
            before = probe.record.health
            probe.record = health.after_probe(probe.check, probe.record, ok, output, began, boottime())
            if probe.record.health is not before:
                self._on_health(name, probe.run, probe.record.health)

    async def _run(self, name: str, check: Healthcheck) -> CommandResult:
        """One probe. One that could not be started has failed; where the container is gone, `follow` ends the task."""
        loop, output = asyncio.get_running_loop(), bytearray()
        read, write = os.pipe2(os.O_CLOEXEC)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        os.set_blocking(read, False)
        loop.add_reader(read, _drain, read, output)
        try:
            running = self._commands.run(
                name, {"command": list(check.test)}, [null, write, write], timeout=check.timeout
            )
            task = asyncio.ensure_future(running)
            await asyncio.sleep(0)
            os.close(write)
            write = -1
            result = await task
            _drain(read, output)
            text = output[:OUTPUT_LIMIT].decode(errors="replace")
            return CommandResult(result.code, result.signal, result.error, text, result.timed_out)
        except StackupError as error:
            return CommandResult(None, None, error.message)
        finally:
            loop.remove_reader(read)
            for fd in (read, write, null):
                if fd >= 0:
                    os.close(fd)

    def stop(self) -> None:
        """Stop probing."""
        for probe in self._probes.values():
            probe.task.cancel()
        self._probes.clear()


def _drain(fd: int, output: bytearray) -> None:
    """Empty the pipe of a probe, which must not wait for us; only the beginning of its output is kept."""
    try:
        data = os.read(fd, _CHUNK)
    except BlockingIOError:
        return
    if len(output) < OUTPUT_LIMIT:
        output += data
    if not data:
        asyncio.get_running_loop().remove_reader(fd)
