"""One running stack on this kernel: observe it, apply actions to it. The effects behind core's decisions.

Everything goes through the launcher, whose replies are kept as a mirror: observing costs nothing, and a request that
is on its way is not sent twice. Nothing here decides what should happen.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stackup.clock import boottime
from stackup.core.addresses import Addresses, gateway
from stackup.core.codec import to_plain
from stackup.core.plan import (
    Action,
    AdoptSpec,
    CreateContainer,
    CreateNetwork,
    CreateVolume,
    KillContainer,
    RemoveContainer,
    RemoveNetwork,
    StartContainer,
    StopContainer,
)
from stackup.core.types import Bind, Container, ContainerSpec, Desired, Observed, VolumeMount
from stackup.errors import HostError
from stackup.host import links, orders, procfs
from stackup.host.cgroups import StackGroups, find_layout
from stackup.host.commands import check_commands
from stackup.host.facts import find_facts
from stackup.host.launcher import LauncherLink
from stackup.host.links import StackNetwork
from stackup.host.observe import container_from
from stackup.host.trees import TreeOpener
from stackup.host.users import Caller
from stackup.statedir import StackDir


class LinuxHost:
    """The host's side of one stack, for one supervisor."""

    def __init__(self, directory: StackDir, caller: Caller, link: LauncherLink) -> None:
        self._directory, self._caller, self.link = directory, caller, link
        layout = find_layout()
        self._cgroups = StackGroups(directory, layout)
        self._cgroup2 = layout.version == 2
        self._trees = TreeOpener(caller, link)
        self._views: dict[str, dict[str, Any]] = {}
        self._records: dict[str, dict[str, Any]] = {}
        self._specs: dict[str, ContainerSpec] = {}
        self._decoded: dict[str, Container] = {}
        self._asked: dict[str, dict[str, int]] = {}
        self._orders: dict[str, dict[str, Any]] = {}
        self._requests: dict[str, list[orders.TreeRequest]] = {}
        self._facts: orders.Facts | None = None
        self._network: StackNetwork | None = None
        self._volumes: dict[str, str] = {}
        self.subnets: dict[str, str] = {}
        self.notes: list[str] = []
        """What the user should be told, once: drained by the supervisor."""

    def prepare(self, desired: Desired, subnets: Mapping[str, str]) -> None:
        """Take in what orders are composed from; called for every new Desired, before anything is applied."""
        self._facts = find_facts(self._caller, desired, self._directory.state.path, cgroup2=self._cgroup2)
        self._volumes = {volume.key: self._directory.state.volume(volume.name).data for volume in desired.volumes}
        self.subnets = dict(subnets)

    def check_commands(self, specs: Sequence[ContainerSpec], caller_path: str) -> None:
        """Refuse programs that the caller sees and the containers would not (see commands.py). Raises HostError."""
        assert self._facts is not None
        check_commands(specs, self._facts, caller_path)

    # --- observing ----------------------------------------------------------------------------------------------------

    def greet(self) -> None:
        """Learn everything from the launcher: at the start, and when it says that it skipped changes."""
        answer, _ = self.link.call("hello")
        self._take_list(answer["containers"])

    def _take_list(self, views: Sequence[dict[str, Any]]) -> None:
        self._views = {view["name"]: view for view in views}
        self._records = {view["name"]: view.pop("record") for view in views}
        for mirror in (self._specs, self._decoded, self._asked):
            mirror.clear()

    def listen(self) -> Iterator[dict[str, Any]]:
        """Take in what the launcher has said meanwhile; yields the messages that are for others (commands).

        Raises:
            StateError: the launcher is gone, and the stack with it.
        """
        for message in self.link.messages():
            if "container" in message:
                view = message["container"]
                if view["name"] in self._views:
                    self._views[view["name"]] = view
                    self._decoded.pop(view["name"], None)
            elif "resync" in message:
                self._take_list(message["resync"])
            elif "error" in message and message.get("request"):
                name = message.get("name") or "the stack"
                self.notes.append(f"{message['request']} {name} was refused: {message['error']}")
                self._asked.pop(name, None)
            else:
                yield message

    def observe(self) -> Observed:
        """The snapshot that decisions are made from."""
        containers = tuple(self._container(name) for name in sorted(self._views))
        networks = tuple(sorted(self._net().bridges)) if self._network else tuple(self.observed_networks())
        volumes = tuple(self._directory.state.volumes())
        return Observed(containers, networks, volumes)

    def observed_networks(self) -> Sequence[str]:
        """The networks that exist, without loading what is needed to make one."""
        launched = self._directory.read("launcher") or {}
        return list(launched.get("networks", ()))

    def _container(self, name: str) -> Container:
        known = self._decoded.get(name)
        if known is None:
            known = container_from(self._views[name], self._records[name], self._specs.get(name))
            self._specs[name] = known.spec
            self._decoded[name] = known
        return known

    # --- applying -----------------------------------------------------------------------------------------------------

    def apply(self, action: Action, addresses: Addresses, *, grace: float | None = None) -> bool:
        """Carry out one action; False where it is on its way already. Does not wait for its effect.

        `grace` overrides a container's stop_grace_period, in seconds.

        Raises:
            HostError: the host refused; the action is not done.
            StateError: the launcher is gone.
        """
        match action:
            case CreateNetwork(network):
                self._net().create(network.name, self.subnets[network.name])
                self._record_networks()
            case RemoveNetwork(name):
                self._net().remove(name)
                self._record_networks()
            case CreateVolume(volume):
                if volume.external:
                    raise HostError("use", f"volume {volume.name}", "it is external and does not exist")
                directory = self._directory.state.volume(volume.name)
                directory.create()
                directory.write({"name": volume.name, "stack": self._directory.name, "labels": dict(volume.labels)})
            case CreateContainer(spec):
                self._create(spec, addresses.get(spec.name, ()))
            case StartContainer(name, run):
                return self._start(name, run)
            case StopContainer(name, run, cause):
                return self._stop(name, run, cause, grace)
            case KillContainer(name, run):
                return self._kill(name, run)
            case RemoveContainer(name):
                self._remove(name)
            case AdoptSpec(spec):
                record = self._records[spec.name] | {"spec": to_plain(spec)}
                self.link.send("record", name=spec.name, record=record)
                self._records[spec.name] = record
                self._specs[spec.name] = spec
                self._decoded.pop(spec.name, None)
        return True

    def _create(self, spec: ContainerSpec, addresses: tuple[tuple[str, str], ...]) -> None:
        bridges = self._net().bridges
        inside = links.inside([address for _, address in addresses])
        order, requests = self._compose(spec, addresses, inside)
        plugs = [
            links.plug(bridges[network], number, address).to_plain()
            for number, (network, address) in enumerate(addresses)
        ]
        record = {"spec": to_plain(spec), "addresses": [list(pair) for pair in addresses]}
        trees, tree_fds = self._open_trees(spec, requests, order)
        cgroup_fds: list[int] = []
        try:
            cgroup_fds = self._cgroups.create(spec.name)
            self.link.send(
                "create",
                [*cgroup_fds, *tree_fds],
                name=spec.name,
                record=record,
                order=order,
                links=plugs,
                cgroups=len(cgroup_fds),
                trees=trees,
                start=False,
            )
        finally:
            for fd in (*cgroup_fds, *tree_fds):
                os.close(fd)
        self._records[spec.name], self._specs[spec.name] = record, spec
        self._views[spec.name] = {
            "name": spec.name,
            "state": "created",
            "run": 0,
            "pid": None,
            "started_at": None,
            "stop": None,
            "note": {},
            "runs": [],
        }
        self._decoded.pop(spec.name, None)
        self._asked.pop(spec.name, None)

    def _compose(
        self, spec: ContainerSpec, addresses: Sequence[tuple[str, str]], inside: str = ""
    ) -> tuple[dict[str, Any], list[orders.TreeRequest]]:
        assert self._facts is not None
        resolver = gateway(self.subnets[addresses[0][0]]) if addresses else None
        composed = orders.compose(spec, self._facts, addresses, resolver, inside, self._volumes)
        self._orders[spec.name], self._requests[spec.name] = composed
        return composed

    def _open_trees(
        self, spec: ContainerSpec, requests: Sequence[orders.TreeRequest], order: Mapping[str, Any]
    ) -> tuple[list[tuple[str, str]], list[int]]:
        wanted = {mount.source for mount in spec.mounts if isinstance(mount, Bind) and mount.create_host_path}
        for request in requests:
            if request.source in wanted and self._trees.make_missing(request):
                self.notes.append(f"created the missing directory {request.source} for {spec.service}")
        for mount in spec.mounts:
            if isinstance(mount, VolumeMount):
                self._give_volume(self._volumes[mount.volume], order)
        before = set(self._trees.unmapped)
        opened = self._trees.open(requests, order)
        for source in sorted(self._trees.unmapped - before):
            self.notes.append(
                f"the file system of {source} takes no id map: containers see its files with the host's owners"
            )
        return opened

    def _give_volume(self, data: str, order: Mapping[str, Any]) -> None:
        """A new volume belongs to the user of the first service that mounts it."""
        if self._caller.one_id:
            return
        status = os.stat(data)
        if (status.st_uid, status.st_gid) == (0, 0) and (order["uid"] or order["gid"]) and not os.listdir(data):
            os.chown(data, order["uid"], order["gid"])

    def _start(self, name: str, run: int) -> bool:
        if self._is_asked(name, "start", run):
            return False
        container = self._container(name)
        if container.run == 0 and container.state.value == "created":
            self.link.send("start", name=name, run=run, trees=[])
            self._note_asked(name, "start", run)
            return True
        if name not in self._requests:
            self._compose(container.spec, container.addresses)
        trees, fds = self._open_trees(container.spec, self._requests[name], self._orders[name])
        try:
            self.link.send("start", fds, name=name, run=run, trees=trees)
        finally:
            for fd in fds:
                os.close(fd)
        self._note_asked(name, "start", run)
        return True

    def _stop(self, name: str, run: int, cause: str, grace: float | None) -> bool:
        if self._is_asked(name, "stop", run):
            return False
        container, now = self._container(name), boottime()
        number = _signal_number(container.spec.stop_signal)
        reacts = number == signal.SIGKILL or container.pid is None or procfs.can_react(container.pid, number)
        grace = container.spec.stop_grace_period if grace is None else grace
        order = {
            "signal": container.spec.stop_signal,
            "since": now,
            "deadline": now + grace if reacts else now,
            "cause": cause,
            "reacts": reacts,
            "killed": number == signal.SIGKILL,
        }
        self._send_stop(name, run, number, order)
        self._note_asked(name, "stop", run)
        return True

    def _kill(self, name: str, run: int) -> bool:
        if self._is_asked(name, "kill", run):
            return False
        stop = dict(self._views[name]["stop"] or {})
        self._send_stop(name, run, int(signal.SIGKILL), stop | {"killed": True})
        self._note_asked(name, "kill", run)
        return True

    def hasten(self) -> None:
        """Let every stop in progress end now: a second Ctrl-C."""
        for name, view in self._views.items():
            if view["stop"] and not view["stop"]["killed"]:
                self._kill(name, view["run"])

    def _send_stop(self, name: str, run: int, number: int, order: dict[str, Any]) -> None:
        self.link.send("stop", name=name, run=run, signal=number, order=order)
        self._views[name] = self._views[name] | {"stop": order}
        self._decoded.pop(name, None)

    def _is_asked(self, name: str, what: str, run: int) -> bool:
        """Whether the launcher has this request for this run already: its answer may still be on its way."""
        return self._asked.get(name, {}).get(what, 0) >= run

    def _note_asked(self, name: str, what: str, run: int) -> None:
        """Remember a request that was sent; one that failed before may be tried again."""
        self._asked.setdefault(name, {})[what] = run

    def _remove(self, name: str) -> None:
        self.link.send("remove", name=name, keep_logs=False)
        for mirror in (self._views, self._records, self._specs, self._decoded, self._asked):
            mirror.pop(name, None)
        self._orders.pop(name, None)
        self._requests.pop(name, None)
        self._cgroups.remove(name)

    def note_health(self, name: str, run: int, health: str) -> None:
        """Record a container's health where it outlives this supervisor."""
        view = self._views.get(name)
        if view is not None and view["run"] == run:
            self._views[name] = view | {"note": {"health": health}}
            self._decoded.pop(name, None)
            self.link.send("note", name=name, run=run, note={"health": health})

    def command_order(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The order for a command in a running container (see orders.command_order)."""
        container = self._container(name)
        if name not in self._orders:
            self._compose(container.spec, container.addresses)
        assert self._facts is not None
        return orders.command_order(self._orders[name], self._facts, request)

    # --- the network --------------------------------------------------------------------------------------------------

    def _net(self) -> StackNetwork:
        if self._network is None:
            _, fds = self.link.call("socket", family=int(socket.AF_NETLINK), type=int(socket.SOCK_DGRAM), protocol=0)
            self._network = StackNetwork(socket.socket(fileno=fds[0]), adopted=bool(self.observed_networks()))
        return self._network

    def _record_networks(self) -> None:
        launched = self._directory.read("launcher") or {}
        networks = sorted(self._net().bridges)
        self._directory.write("launcher", launched | {"networks": networks, "subnets": self.subnets})

    def helper(
        self, name: str, message: Mapping[str, Any], fds: Sequence[int] = (), *, keep: str = "", forget: str = ""
    ) -> None:
        """Send a message to a helper; `keep` makes it last, `forget` lets go of a lasting one."""
        self.link.send("helper", fds, name=name, message=dict(message), keep=keep or None, forget=forget or None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def clean_up(self) -> None:
        """Remove what the kernel does not remove with the launcher: the stack's cgroups.

        Raises:
            HostError: a group is still in use.
        """
        self.close()
        self._cgroups.remove_all()

    def close(self) -> None:
        """Let go of the descriptors held here. The stack goes on: another host can be made of its launcher."""
        self._trees.close()
        if self._network is not None:
            self._network.close()
            self._network = None

    def remove_volume(self, name: str) -> None:
        """Delete a named volume with its data."""
        self._directory.state.volume(name).remove()


def _signal_number(name: str) -> int:
    """The number of a signal by its name; real-time signals are `SIGRTMIN+N` (signal(7))."""
    base, _, offset = name.partition("+")
    return int(getattr(signal, base)) + int(offset or 0)
