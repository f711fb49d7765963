"""The launcher's loop: PID 1 of the stack, parent of every container, server of the launcher socket.

It owns the stack's namespaces, the containers' pidfds and exit statuses, and the helpers. It decides nothing: whoever
is connected tells it what to do, and learns what happened. It never blocks on a client.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from stackup.launcher import births, protocol, rtnetlink, sources
from stackup.launcher.births import Newborn
from stackup.launcher.containers import Container, boottime
from stackup.launcher.helpers import Helper

_Handler = Callable[[], None]


class Refused(Exception):
    """A request that cannot be carried out; its text goes back to the client."""


@dataclass(eq=False)
class Client:
    """A connection. `watching` clients are told of every change; `behind` ones missed some, and get a whole list.

    `unsent` is what the client must get and has no room for: answers and the ends of its commands. The `starter` made
    this launcher and has not yet noted down that it exists: without it nobody would find it.
    """

    sock: socket.socket
    watching: bool = False
    behind: bool = False
    starter: bool = False
    commands: set[int] = field(default_factory=set)
    unsent: deque[tuple[dict[str, Any], list[int]]] = field(default_factory=deque)


@dataclass
class Command:
    """A process started by exec. `number` is the client's name for it."""

    client: Client
    number: int
    newborn: Newborn
    failure: dict[str, Any] | None = None


class Server:
    def __init__(self, listener: socket.socket, helpers: dict[str, Callable[..., None]], fds: dict[str, int]) -> None:
        """`fds`: "host_proc", "logs" (directory for the log helper), "owner" (a pidfd, or absent)."""
        self._epoll = select.epoll()
        self._handlers: dict[int, _Handler] = {}
        self._listener = listener
        self._containers: dict[str, Container] = {}
        self._clients: list[Client] = []
        self._commands: dict[int, Command] = {}
        self._host_proc = fds["host_proc"]
        self._owner = -1
        self._links = 0
        arguments = {"logs": (fds["logs"],)}
        self._helpers = {name: Helper(name, main, arguments.get(name, ())) for name, main in helpers.items()}
        self._rtnetlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        listener.setblocking(False)
        self._watch(listener.fileno(), self._accept)
        if "owner" in fds:
            self._bind_owner(fds["owner"])

    # --- the loop -----------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Run until told to end, or until the owner dies. As PID 1 of the stack, returning ends everything in it."""
        self._start_helper(self._helpers["logs"])
        while True:
            for fd, handler in [(fd, self._handlers.get(fd)) for fd, _ in self._epoll.poll()]:
                # A handler may close another's descriptor, and open a new one with its number.
                if handler is not None and self._handlers.get(fd) is handler:
                    handler()

    def _watch(self, fd: int, handler: _Handler) -> None:
        self._epoll.register(fd, select.EPOLLIN)
        self._handlers[fd] = handler

    def _unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _bind_owner(self, pidfd: int) -> None:
        self._release_owner()
        self._owner = pidfd
        self._watch(pidfd, lambda: os._exit(0))

    def _release_owner(self) -> None:
        if self._owner >= 0:
            self._unwatch(self._owner)
            os.close(self._owner)
            self._owner = -1

    # --- clients ------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        self._add_client(Client(sock))

    def add_starter(self, sock: socket.socket) -> None:
        """Serve whoever started this launcher; it ends with that connection until it is claimed."""
        self._add_client(Client(sock, starter=True))

    def _add_client(self, client: Client) -> None:
        sock = client.sock
        sock.setblocking(False)
        self._clients.append(client)
        self._watch(sock.fileno(), lambda: self._hear(client))

    def _hear(self, client: Client) -> None:
        if client.unsent or client.behind:
            self._catch_up(client)
        while True:
            try:
                received = protocol.receive(client.sock)
            except BlockingIOError:
                return
            except (OSError, ValueError):
                received = None
            if received is None:
                self._drop(client)
                return
            message, fds = received
            try:
                self._answer(client, message, fds)
            except Exception as error:  # whatever is wrong with a request, the stack must not end of it
                if not isinstance(error, Refused | OSError):
                    sys.excepthook(type(error), error, error.__traceback__)
                number = error.errno if isinstance(error, OSError) else None
                text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self._reply(client, message, {"error": text, "errno": number})
            finally:
                for fd in fds:
                    os.close(fd)

    def _answer(self, client: Client, message: dict[str, Any], fds: list[int]) -> None:
        """Handle one request. Descriptors that the handler keeps it takes out of `fds`."""
        handler = getattr(self, "_on_" + message["op"], None)
        if handler is None:
            raise Refused(f"unknown request {message['op']}")
        reply, reply_fds = handler(client, message, fds) or ({}, [])
        if "id" in message or reply:
            self._reply(client, message, reply, reply_fds)

    def _reply(
        self, client: Client, request: dict[str, Any], reply: dict[str, Any], fds: list[int] | None = None
    ) -> None:
        if "id" in request:
            reply = reply | {"id": request["id"]}
        elif "error" in reply:
            reply = reply | {"request": request.get("op"), "name": request.get("name")}
        self._send(client, reply, fds or ())

    def _send(self, client: Client, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send now, or as soon as the client has room."""
        client.unsent.append((message, [os.dup(fd) for fd in fds]))
        if len(client.unsent) == 1:
            self._flush(client)

    def _flush(self, client: Client) -> None:
        """Send what is unsent, as far as there is room."""
        while client.unsent:
            message, fds = client.unsent[0]
            try:
                protocol.send(client.sock, message, fds)
            except BlockingIOError:
                self._epoll.modify(client.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)
                return
            except OSError:  # it is gone, or beyond help: `_hear` finds the end of the connection
                with suppress(OSError):
                    client.sock.shutdown(socket.SHUT_RDWR)
            for fd in fds:
                os.close(fd)
            client.unsent.popleft()

    def _catch_up(self, client: Client) -> None:
        self._epoll.modify(client.sock.fileno(), select.EPOLLIN)
        self._flush(client)
        if client.behind and not client.unsent:
            client.behind = False
            self._send(client, {"resync": self._list()})

    def _drop(self, client: Client) -> None:
        if client.starter:
            os._exit(0)
        self._unwatch(client.sock.fileno())
        self._clients.remove(client)
        for pid in client.commands:
            self._kill_group(pid)
        client.sock.close()
        for _, fds in client.unsent:
            for fd in fds:
                os.close(fd)
        client.unsent.clear()

    def _changed(self, container: Container) -> None:
        for client in self._clients:
            if client.unsent:
                client.behind = client.watching
            elif client.watching and not client.behind:
                self._send(client, {"container": container.view(full=False)})

    def _list(self) -> list[dict[str, Any]]:
        return [container.view(full=True) for container in self._containers.values()]

    # --- requests -----------------------------------------------------------------------------------------------------

    def _on_hello(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        client.watching = True
        return {"version": protocol.VERSION, "containers": self._list(), "links": self._links}, []

    def _on_claim(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        """The starter has recorded this launcher: from now on it outlives the connection."""
        client.starter = False

    def _on_list(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        return {"containers": self._list(), "more": False}, []

    def _on_create(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        name = message["name"]
        if name in self._containers:
            raise Refused(f"container {name} exists")
        cgroups = message["cgroups"]
        container = Container(name, message["record"], message["order"], fds[:cgroups])
        del fds[:cgroups]
        self._containers[name] = container
        try:
            self._begin(container, message["trees"], fds)
            self._connect(container, message["links"])
        except OSError as error:
            self._refuse_run(container, error)
        else:
            if message["start"]:
                container.release()
        self._changed(container)
        return None

    def _on_start(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        container = self._container(message)
        if container.run != message["run"] - 1:
            raise Refused(f"the next run of {container.name} is {container.run + 1}, not {message['run']}")
        if container.state == "exited":
            try:
                self._begin(container, message["trees"], fds)
                self._go(container)
            except OSError as error:
                self._refuse_run(container, error)
                self._changed(container)
                return None
        container.release()
        return None

    def _begin(self, container: Container, paths: list[list[str]], fds: list[int]) -> None:
        """Begin a run. Its mount trees are in `fds`, or given by `paths`: for each what sources.open_tree takes."""
        for path, beneath in paths:
            fds.append(sources.open_tree(path, beneath))
        trees = list(fds)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        key, message = container.name, {"op": "add", "container": container.name, "run": container.run + 1}
        try:
            container.begin([out_write, err_write], trees, self._host_proc)
        except OSError:
            os.close(out_read)
            os.close(err_read)
            raise
        finally:
            os.close(out_write)
            os.close(err_write)
        assert container.report is not None
        self._watch(container.report.fileno(), lambda: self._hear_container(container))
        self._watch(container.pidfd, lambda: self._reap(container))
        self._tell_helper(self._helpers["logs"], message, [out_read, err_read], keep=key)

    def _connect(self, container: Container, links: list[dict[str, Any]]) -> None:
        """Make the container's veth pairs: templates of rtnetlink messages, patched with its pid and a fresh name."""
        assert container.pid is not None
        data = bytearray()
        for link in links:
            self._links += 1
            template = bytearray.fromhex(link["message"])
            template[link["pid_at"] : link["pid_at"] + 4] = container.pid.to_bytes(4, sys.byteorder)
            name = b"v%07d" % self._links
            template[link["name_at"] : link["name_at"] + len(name)] = name
            data += template
        if data:
            rtnetlink.request(self._rtnetlink, bytes(data))
        self._go(container)

    def _go(self, container: Container) -> None:
        assert container.report is not None
        container.report.send(b"go")

    def _refuse_run(self, container: Container, error: OSError) -> None:
        """The kernel refused a clone or a link: that is a run which failed."""
        subject = f"{error.filename}: " if error.filename else ""
        container.failure = {"failed": "create the container", "message": f"{subject}{error.strerror}", "code": 125}
        if container.pidfd >= 0:
            container.signal(signal.SIGKILL)  # its pidfd brings it to `_reap`
            return
        failure = container.failure
        container.run += 1
        container.state = "exited"
        end = {"number": container.run, "started_at": None, "ended_at": boottime(), "code": 125, "signal": None}
        container.runs.append(end | {"error": f"{failure['failed']}: {failure['message']}", "asked": False})

    def _on_stop(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        container = self._container(message)
        if container.run == message["run"] and container.pidfd >= 0:
            container.stop = message["order"]
            container.signal(message["signal"])
            self._changed(container)
        return None

    def _on_remove(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        container = self._containers.pop(message["name"], None)
        if container is None:
            return None
        for fd in (container.pidfd, container.report.fileno() if container.report else -1):
            if fd >= 0:
                self._unwatch(fd)
        container.close()
        logs = self._helpers["logs"]
        logs.forget(container.name)
        if not message["keep_logs"]:
            logs.send({"op": "remove", "container": container.name}, [], keep=None)
        return None

    def _on_note(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        container = self._container(message)
        if container.run == message["run"]:
            container.note = message["note"]
            self._changed(container)
        return None

    def _on_record(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        self._container(message).record = message["record"]
        return None

    def _on_exec(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        container = self._container(message)
        if container.state != "running":
            raise Refused(f"{container.name} is not running")
        newborn = births.command(message["order"], container.pidfd, fds, container.cgroups)
        newborn.report.setblocking(False)
        command = Command(client, message["command"], newborn)
        self._commands[newborn.pid] = command
        client.commands.add(newborn.pid)
        self._watch(newborn.report.fileno(), lambda: self._hear_command(command))
        self._watch(newborn.pidfd, lambda: self._reap_command(command))
        return None

    def _on_kill_command(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        for pid, command in self._commands.items():
            if command.client is client and command.number == message["command"]:
                self._kill_group(pid)
        return None

    def _on_helper(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        helper = self._helpers[message["name"]]
        if message.get("forget"):
            helper.forget(message["forget"])
        kept = list(fds)
        fds.clear()
        self._tell_helper(helper, message["message"], kept, keep=message.get("keep"))
        return None

    def _on_socket(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        with socket.socket(message["family"], message["type"] | socket.SOCK_CLOEXEC, message["protocol"]) as made:
            return {"socket": True}, [os.dup(made.fileno())]

    def _on_userns(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        return {"userns": True}, [births.user_namespace(message["uid_map"], message["gid_map"])]

    def _on_own(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        """Bind the stack to the process whose pidfd came along, or to nobody."""
        if fds:
            self._bind_owner(fds.pop(0))
        else:
            self._release_owner()
        return None

    def _on_end(self, client: Client, message: dict[str, Any], fds: list[int]) -> Any:
        os._exit(0)

    def _container(self, message: dict[str, Any]) -> Container:
        try:
            return self._containers[message["name"]]
        except KeyError:
            raise Refused(f"no container {message['name']}") from None

    # --- children -----------------------------------------------------------------------------------------------------

    def _hear_container(self, container: Container) -> None:
        fd = container.report.fileno() if container.report else -1
        changed = container.hear()
        if container.report is None and fd >= 0:
            self._forget_closed(fd)
        if changed:
            self._changed(container)

    def _reap(self, container: Container) -> None:
        self._unwatch(container.pidfd)
        if container.report is not None:
            self._unwatch(container.report.fileno())
        container.reap()
        self._helpers["logs"].forget(container.name)
        self._changed(container)

    def _forget_closed(self, fd: int) -> None:
        """A closed descriptor has left the epoll set by itself (epoll(7), Q6)."""
        self._handlers.pop(fd, None)

    def _hear_command(self, command: Command) -> None:
        report = command.newborn.report
        fd = report.fileno()
        while True:
            try:
                answer = protocol.receive(report)
            except BlockingIOError:
                return
            if answer is None:
                self._unwatch(fd)
                report.close()
                return
            message, fds = answer
            if "failed" in message:
                command.failure = message
            elif fds:
                self._send(command.client, {"command": command.number, "terminal": True}, fds)
            for received in fds:
                os.close(received)

    def _reap_command(self, command: Command) -> None:
        newborn = command.newborn
        if newborn.report.fileno() >= 0:
            self._hear_command(command)
        if newborn.report.fileno() >= 0:
            self._unwatch(newborn.report.fileno())
            newborn.report.close()
        self._unwatch(newborn.pidfd)
        status = os.waitid(os.P_PIDFD, newborn.pidfd, os.WEXITED)
        os.close(newborn.pidfd)
        del self._commands[newborn.pid]
        command.client.commands.discard(newborn.pid)
        killed = status is not None and status.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        end = {
            "code": None if killed or status is None else status.si_status,
            "signal": status.si_status if killed and status is not None else None,
            "error": f"{command.failure['failed']}: {command.failure['message']}" if command.failure else None,
        }
        if command.client in self._clients:
            self._send(command.client, {"command": command.number, "exit": end})

    def _kill_group(self, pid: int) -> None:
        """A command is the leader of its own session: its process group is what it started."""
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)  # not yet a leader, and not yet reaped: this pid is still its own

    def _tell_helper(self, helper: Helper, message: dict[str, Any], fds: list[int], *, keep: str | None) -> None:
        if helper.channel is None:
            self._start_helper(helper)
        helper.send(message, fds, keep)

    def _start_helper(self, helper: Helper) -> None:
        helper.start()
        self._watch(helper.pidfd, lambda: self._restart_helper(helper))

    def _restart_helper(self, helper: Helper) -> None:
        self._unwatch(helper.pidfd)
        helper.bury()
        try:
            self._start_helper(helper)
        except OSError as error:  # no room for a process: the next container or message that needs it tries again
            sys.stderr.write(f"stackup: cannot start helper {helper.name}: {error}\n")
