"""What is wrong between the keys of a valid file: unknown references, cycles, clashes, missing parts.

Reads models, reports at the place of the offending node. Only services that are enabled are checked, as Compose does.
"""

from __future__ import annotations

import graphlib
from collections.abc import Iterable

from stackup import __version__
from stackup.stackfile.models import Healthcheck, Port, Service, StackFile
from stackup.stackfile.nodes import Mapping, Path, Report, find, written
from stackup.stackfile.validate import suggest

_WITHOUT_COMMAND = frozenset(("image", "build", "provider", "extends"))
"""Keys that would bring a command; they have a problem of their own."""

_KERNELS_OWN = frozenset(("/", "/dev", "/proc", "/sys"))

_TEST_WORDS = ("CMD", "CMD-SHELL", "NONE")


class Checker:
    """Checks one merged document. `available` are the services that may be depended on."""

    def __init__(self, document: Mapping, stack: StackFile, report: Report) -> None:
        self.document, self.stack, self.report = document, stack, report

    def check(self, services: Iterable[str]) -> None:
        """Report every fault of these services, and of the volumes."""
        names = sorted(services)
        for name in names:
            service, path = self.stack.services[name], ("services", name)
            self._command(service, path)
            self._dependencies(name, service, path)
            self._references(service, path)
            self._healthcheck(service.healthcheck, (*path, "healthcheck"))
            self._mounts(service, path)
            self._watch(service, path)
            self._scale(service, path)
        self._cycle(names)
        self._published(names)
        for key, volume in self.stack.volumes.items():
            if volume and volume.external and (volume.driver or volume.labels):
                other = "driver" if volume.driver else "labels"
                reason = f'conflicting parameters "external" and "{other}" specified for volume "{key}"'
                self._problem(("volumes", key, other), reason, at_key=True)

    def check_enabled(self, services: Iterable[str], available: frozenset[str]) -> None:
        """Report required dependencies on services that no active profile enables."""
        for name in sorted(services):
            for other, dependency in self.stack.services[name].depends_on.items():
                if dependency.required and other in self.stack.services and other not in available:
                    profiles = ", ".join(self.stack.services[other].profiles)
                    reason = f"depends on {other!r}, which is disabled: none of its profiles ({profiles}) is active"
                    advice = (
                        f"activate one with --profile {self.stack.services[other].profiles[0]}, or say required: false"
                    )
                    self._problem(("services", name, "depends_on", other), reason, advice, at_key=True)

    def _problem(self, path: Path, reason: str, suggestion: str | None = None, *, at_key: bool = False) -> None:
        key_mark, node = find(self.document, path)
        mark = key_mark if at_key else node.mark
        self.report.problem(mark, written(self.document, path), reason, suggestion)

    def _command(self, service: Service, path: Path) -> None:
        _, node = find(self.document, path)
        if not service.argv and isinstance(node, Mapping) and not self._is_faulty(path, _WITHOUT_COMMAND):
            self._problem(path, "has no command", "give it one: the host's root filesystem brings none", at_key=True)
        elif service.argv and not service.argv[0]:
            self._problem((*path, "entrypoint" if service.entrypoint else "command"), "the program's name is empty")

    def _is_faulty(self, path: Path, keys: frozenset[str]) -> bool:
        """Whether something below has been reported already, or one of `keys` is there: then absence is no news."""
        _, node = find(self.document, path)
        here = ".".join(str(step) for step in path)
        reported = any(problem.path.startswith(here + ".") for problem in self.report.problems)
        return reported or (isinstance(node, Mapping) and not keys.isdisjoint(node.entries))

    def _dependencies(self, name: str, service: Service, path: Path) -> None:
        for other, dependency in service.depends_on.items():
            here = (*path, "depends_on", other)
            target = self.stack.services.get(other)
            if target is None:
                suggestion = suggest(other, self.stack.services)
                self._problem(here, f"depends on unknown service {other!r}", suggestion, at_key=True)
            elif (
                dependency.condition == "service_healthy"
                and not target.is_checked
                and not self._is_faulty(("services", other), frozenset())
            ):
                reason = f"waits for {other!r} to be healthy, but {other!r} has no healthcheck"
                self._problem(
                    here, reason, f"add services.{other}.healthcheck, or wait for service_started", at_key=True
                )

    def _references(self, service: Service, path: Path) -> None:
        for key in service.networks:
            if key not in self.stack.networks and key != "default":
                suggestion = suggest(key, self.stack.networks) or f"declare it below networks: {key}:"
                self._problem((*path, "networks", key), f"refers to undefined network {key!r}", suggestion, at_key=True)
        for index, volume in enumerate(service.volumes):
            here = (*path, "volumes", index)
            if volume.type == "volume" and not volume.source:
                self._problem(here, "an anonymous volume is not built yet in stackup", "name it, or use type: tmpfs")
            elif volume.type == "volume" and volume.source not in self.stack.volumes:
                known = suggest(str(volume.source), self.stack.volumes)
                suggestion = (
                    known or f"declare it below volumes: {volume.source}:, or write ./{volume.source} for a path"
                )
                self._problem(here, f"refers to undefined volume {volume.source!r}", suggestion)
            elif volume.type == "bind" and not volume.source:
                self._problem(here, "a bind needs a source", "add source: PATH")
            elif volume.type == "tmpfs" and volume.source:
                self._problem(here, "a tmpfs takes no source", "remove source")
            for option in ("bind", "volume", "tmpfs"):
                if option != volume.type and getattr(volume, option) is not None:
                    self._problem(
                        (*here, option), f"options for {option} on a mount of type {volume.type}", at_key=True
                    )

    def _healthcheck(self, check: Healthcheck | None, path: Path) -> None:
        if check is None or check.disable:
            return
        if not check.test:
            self._problem(path, "has no test", "add test: [CMD, PROGRAM, ...], or disable: true")
        elif check.test[0] not in _TEST_WORDS:
            reason = f"a list begins with one of {', '.join(_TEST_WORDS)}, not {check.test[0]!r}"
            self._problem((*path, "test"), reason, "write a text for a shell command, or [CMD, PROGRAM, ...]")
        elif check.test[0] != "NONE" and (len(check.test) == 1 or not check.test[1]):
            self._problem((*path, "test"), f"{check.test[0]} has nothing to run")

    def _mounts(self, service: Service, path: Path) -> None:
        seen: dict[str, int] = {}
        for index, volume in enumerate(service.volumes):
            if volume.target in seen:
                first = written(self.document, (*path, "volumes", seen[volume.target]))[-1]
                reason = f"target {volume.target} is already mounted as volumes[{first}]"
                self._problem((*path, "volumes", index), reason, "use another target, or remove one of the two")
            seen.setdefault(volume.target, index)
            if volume.target in _KERNELS_OWN or volume.target.startswith(("/proc/", "/sys/")):
                reason = f"nothing can be mounted at {volume.target}: it belongs to the kernel, or to every container"
                self._problem((*path, "volumes", index), reason, "use another target")

    def _watch(self, service: Service, path: Path) -> None:
        for index, rule in enumerate(service.develop.watch if service.develop else ()):
            here = (*path, "develop", "watch", index)
            if rule.action != "restart" and rule.target is None:
                self._problem(here, f"the action {rule.action} needs a target", "add target: PATH in the container")
            if not rule.path.strip():
                self._problem((*here, "path"), "must not be blank")
            if rule.action == "sync+restart" and rule.target and not _is_lasting(service, rule.target):
                reason = f"{rule.target} begins empty with every run, so that the restart loses what was copied"
                self._problem((*here, "target"), reason, "mount a volume there, or use the action restart")

    def _scale(self, service: Service, path: Path) -> None:
        deployed = service.deploy.replicas if service.deploy else None
        if service.scale is not None and deployed is not None and service.scale != deployed:
            reason = f"scale is {service.scale} and deploy.replicas is {deployed}"
            self._problem((*path, "scale"), reason, "say it once")
        if service.replicas > 1:
            for index, port in enumerate(service.ports):
                if port.published:
                    reason = f"{service.replicas} replicas cannot share the host port {port.published}"
                    advice = f"leave the host port out ({port.target}), or run one replica"
                    self._problem((*path, "ports", index), reason, advice)

    def _published(self, names: list[str]) -> None:
        """Report two wishes for one port of the host. The same line twice in one service counts once, as in Compose."""
        taken: dict[tuple[int, str], list[tuple[str, Port]]] = {}
        for name in names:
            for index, port in enumerate(self.stack.services[name].ports):
                if port.protocol == "udp":
                    reason = f"publishing udp ports is not built yet in stackup {__version__}"
                    advice = "within the stack's networks udp works without publishing: remove this port"
                    self._problem(("services", name, "ports", index), reason, advice)
                if not port.published:
                    continue
                holders = taken.setdefault((port.published, port.protocol), [])
                clash = next((holder for holder in holders if _overlap(holder[1].host_ip, port.host_ip)), None)
                if clash is None:
                    holders.append((name, port))
                elif clash != (name, port):
                    reason = f"host port {port.published}/{port.protocol} is already published by {clash[0]!r}"
                    self._problem(("services", name, "ports", index), reason, "choose another host port")

    def _cycle(self, names: list[str]) -> None:
        edges = {name: sorted(self.stack.services[name].depends_on) for name in names}
        try:
            graphlib.TopologicalSorter(edges).prepare()
        except graphlib.CycleError as error:
            # Each node of the error's list is a predecessor (here: a dependency) of the next one.
            ring = list(reversed(error.args[1][1:]))
            start = ring.index(min(ring))
            cycle = [*ring[start:], *ring[:start], ring[start]]
            reason = f"dependency cycle detected: {' -> '.join(cycle)}"
            self._problem(
                ("services", cycle[0], "depends_on", cycle[1]), reason, "remove one of these dependencies", at_key=True
            )


def _is_lasting(service: Service, path: str) -> bool:
    """Whether a path in a container lies on a volume or a bind, which outlive its runs."""
    targets = [volume.target for volume in service.volumes if volume.type != "tmpfs"]
    return any(path == target or path.startswith(target.rstrip("/") + "/") for target in targets)


def _overlap(first: str | None, second: str | None) -> bool:
    """Whether two host addresses mean a common socket address; None is the loopback of both families."""

    def families(address: str | None) -> dict[str, str]:
        if address is None:
            return {"4": "127.0.0.1", "6": "::1"}
        return {"6": address} if ":" in address else {"4": address}

    ours, theirs = families(first), families(second)
    return any(
        ours[family] == theirs[family] or wildcard in (ours[family], theirs[family])
        for family, wildcard in (("4", "0.0.0.0"), ("6", "::"))
        if family in ours and family in theirs
    )
