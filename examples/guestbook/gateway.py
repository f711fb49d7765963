"""The way in: passes every request on to the API, on port 8080. It is on the front network only.

GET /gateway is its own: which names it can find from where it stands.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UPSTREAM = os.environ.get("UPSTREAM", "api:8000")
STARTED = time.time()
PATIENCE = 3.0
"""Seconds that a request waits for an API that is just being restarted."""

AWAY = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="1"><title>Waiting for the API</title>
<body style="font: 16px system-ui; display: grid; place-items: center; height: 90vh; color-scheme: light dark">
<p>The gateway is here, the API is not. Trying again..."""


def find(name: str) -> str:
    """The address of a host, or why there is none."""
    try:
        return socket.gethostbyname(name)
    except OSError as error:
        return f"not found: {error.strerror}"


class Gateway(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/gateway":
            names = {name: find(name) for name in ("api", "store")}
            view = {"host": socket.gethostname(), "started": STARTED, "sees": names}
            self.answer(200, "application/json", json.dumps(view).encode())
        else:
            self.forward()

    def do_POST(self) -> None:
        self.forward()

    def forward(self) -> None:
        """Ask the API; again, for a while, as long as that cannot do anything twice."""
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        headers = {name: value for name in ("Content-Type", "Accept") if (value := self.headers.get(name))}
        deadline = time.monotonic() + PATIENCE
        while True:
            upstream = http.client.HTTPConnection(UPSTREAM, timeout=10)
            repeatable = True
            try:
                upstream.connect()
                repeatable = self.command == "GET"
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                if repeatable and time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                print(f"{self.command} {self.path}: {error}")
                self.answer(502, "text/html; charset=utf-8", AWAY.encode())
            else:
                self.answer(answer.status, answer.headers.get("Content-Type", "text/plain"), content)
            finally:
                upstream.close()
            return

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Quiet: the page asks every second."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"passing requests on to {UPSTREAM}")
    ThreadingHTTPServer(("", 8080), Gateway).serve_forever()
