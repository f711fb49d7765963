"""Servers that speak the control and the launcher protocol as told, in a thread of the test."""

from __future__ import annotations

import json
import os
import socket
import threading
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stackup.files import bind_socket
from stackup.launcher import protocol

PATIENCE = 20.0
"""Seconds before a test that hangs fails."""

Script = Callable[["Client"], None]


class Client:
    """One accepted control connection: its request and descriptors, and a way to answer."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        data, self.fds = b"", array("i")
        while not data.endswith(b"\n"):
            chunk, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(64), socket.MSG_CMSG_CLOEXEC)
            for _, _, payload in ancillary:
                self.fds.frombytes(payload)
            assert chunk
            data += chunk
        self.request: dict[str, Any] = json.loads(data)

    def send(self, message: dict[str, Any], fds: list[int] | None = None) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        self.sock.sendmsg([json.dumps(message).encode() + b"\n"], ancillary)

    def event(self, kind: str, **fields: Any) -> None:
        self.send({"event": {"type": kind, **fields}})

    def result(self, **fields: Any) -> None:
        self.send({"result": fields})

    def close(self) -> None:
        self.sock.close()
        for fd in self.fds:
            os.close(fd)


class FakeSupervisor:
    """Listens at a control socket and runs one script after the other, one for each connection.

    Without scripts it only listens.
    """

    def __init__(self, path: str, *scripts: Script) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._listener = bind_socket(path)
        self._listener.settimeout(PATIENCE)
        self.requests: list[dict[str, Any]] = []
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, args=(scripts,), daemon=True)
        self._thread.start()

    def _serve(self, scripts: tuple[Script, ...]) -> None:
        kept: list[Client] = []
        try:
            for script in scripts:
                client = Client(self._listener.accept()[0])
                self.requests.append(client.request)
                script(client)
                if client.sock.fileno() >= 0:
                    kept.append(client)
        except BaseException as error:
            self.failure = error
        finally:
            if scripts:
                self._listener.close()  # the next command finds nobody
            for client in kept:
                client.close()

    def finish(self) -> None:
        """Wait until every script has run; raises what one of them raised."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "not every script was used"
        self._listener.close()
        if self.failure is not None:
            raise self.failure


class FakeLauncher:
    """Answers `list` with given records, for any number of connections, until closed."""

    def __init__(self, path: str, records: list[dict[str, Any]]) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._records = records
        self._listener = bind_socket(path, socket.SOCK_SEQPACKET)
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        try:
            while protocol.receive(client) is not None:
                protocol.send(client, {"containers": self._records, "more": False})
        except OSError:
            return

    def close(self) -> None:
        """End as a killed launcher does. Safe to repeat."""
        if self._listener.fileno() >= 0:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        while self._clients:
            client = self._clients.pop()
            with suppress(OSError):  # it may have left already
                client.shutdown(socket.SHUT_RDWR)
            client.close()


def container(
    name: str, service: str, state: str, *, run: int = 1, runs: list[dict[str, Any]] | None = None, **fields: Any
) -> dict[str, Any]:
    """A launcher's record of a container."""
    spec = {"name": name, "service": service, "index": 1, "command": ["sleep", "60"], "labels": [], "mounts": []}
    spec |= fields.pop("spec", {})
    record = {"spec": spec, "addresses": fields.pop("addresses", [])}
    base = {"name": name, "record": record, "state": state, "run": run, "pid": None, "started_at": None}
    return base | {"stop": None, "note": {}, "runs": runs or []} | fields


def ended(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A finished run in a launcher's record."""
    base = {"number": number, "started_at": 0.0, "ended_at": 1.0, "code": 0, "signal": None, "error": None}
    return base | {"asked": False} | fields
