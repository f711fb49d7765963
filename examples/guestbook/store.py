"""A key-value store on TCP port 7000. Every change is a line in an append-only file, so a restart forgets nothing.

Usage: store.py DIRECTORY
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import sys
import threading
import time
from pathlib import Path
from typing import Any


class Store:
    """Keys and values in memory, backed by the file. Values are anything JSON can say."""

    def __init__(self, file: Path) -> None:
        self.values: dict[str, Any] = {}
        self.lock = threading.Lock()
        self.started = time.time()
        self._load(file)
        self._log = open(file, "a")  # noqa: SIM115 (open as long as the process lives)
        self.increment("starts")

    def _load(self, file: Path) -> None:
        """Replay the file, then write it anew with one line per key: it never grows beyond one life of the store."""
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        for line in lines:
            if line.endswith("\n"):  # the last line may be torn by a crash: its change was never confirmed
                key, value = json.loads(line)
                self.values[key] = value
        compact = file.with_suffix(".new")
        with open(compact, "w") as new:
            new.writelines(json.dumps([key, value]) + "\n" for key, value in self.values.items())
            new.flush()
            os.fsync(new.fileno())
        os.replace(compact, file)

    def set(self, key: str, value: Any) -> None:
        self._log.write(json.dumps([key, value]) + "\n")
        self._log.flush()
        os.fsync(self._log.fileno())
        self.values[key] = value

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def items(self, prefix: str = "") -> dict[str, Any]:
        return {key: self.values[key] for key in sorted(self.values) if key.startswith(prefix)}

    def increment(self, key: str) -> int:
        self.set(key, self.values.get(key, 0) + 1)
        return int(self.values[key])

    def ping(self) -> str:
        return "pong"

    def stats(self) -> dict[str, Any]:
        return {
            "keys": len(self.values),
            "bytes": self._log.tell(),
            "starts": self.values["starts"],
            "started": self.started,
        }


class Connection(socketserver.StreamRequestHandler):
    """One client; a thread of its own."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(json.dumps(self.answer(line)).encode() + b"\n")

    def answer(self, line: bytes) -> list[Any]:
        try:
            operation, *arguments = json.loads(line)
            if operation not in ("set", "get", "items", "increment", "ping", "stats"):
                return ["error", f"unknown operation {operation!r}"]
            with store.lock:
                return ["ok", getattr(store, operation)(*arguments)]
        except (ValueError, TypeError) as error:
            return ["error", str(error)]


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    store = Store(Path(sys.argv[1]) / "store.log")
    print(f"{len(store.values)} keys, start number {store.values['starts']}; listening on port 7000")
    with Server(("", 7000), Connection) as server:
        server.serve_forever()
