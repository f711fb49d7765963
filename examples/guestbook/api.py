"""The guestbook's HTTP API and its page, on port 8000."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from client import StoreError, ask

# Change one of these, save the file, and look at the page.
TITLE = "Guestbook"
SUBTITLE = "A whole stack in one file, without Docker, daemon or root."
ACCENT = "#e4572e"

HERE = Path(__file__).parent
STARTED = time.time()
VERSION = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:7]
MAX_BODY = 10_000


def page() -> str:
    text = (HERE / "page.html").read_text()
    for name, value in (("TITLE", TITLE), ("SUBTITLE", SUBTITLE), ("ACCENT", ACCENT)):
        text = text.replace("{{" + name + "}}", value)
    return text


def state() -> dict[str, Any]:
    """What the page shows. Without a store there is still something to say."""
    found: dict[str, Any] = {
        "now": time.time(),
        "api": {"host": socket.gethostname(), "started": STARTED, "version": VERSION},
        "messages": [],
    }
    try:
        found["messages"] = list(ask("items", "message/").values())[::-1][:50]
        found["worker"] = ask("get", "worker")
        found["store"] = ask("stats")
    except StoreError as error:
        found["error"] = str(error)
    return found


def add_message(author: str, text: str) -> None:
    number = ask("increment", "messages")
    ask("set", f"message/{number:06}", {"author": author, "text": text, "at": time.time()})


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/":
            self.answer(200, page().encode(), "text/html; charset=utf-8")
        elif self.path == "/state":
            self.answer_json(200, state())
        elif self.path == "/health":
            self.answer_json(200, {"ok": True})
        else:
            self.answer_json(404, {"error": "no such page"})

    def do_POST(self) -> None:
        status, error = self.post()
        self.answer_json(status, {"error": error} if error else {})

    def post(self) -> tuple[int, str]:
        """Do what is asked; the answer's status, and what is wrong."""
        # No other site's page can send this type without asking first, and nobody here answers that question.
        if self.headers.get("Content-Type") != "application/json":
            return 415, "send application/json"
        if self.path == "/crash":
            print("crashing, as asked for")
            os._exit(1)
        if self.path != "/messages":
            return 404, "no such page"
        try:
            body = json.loads(self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY)))
            author, text = body["author"].strip()[:40], body["text"].strip()[:500]
        except (ValueError, KeyError, TypeError, AttributeError):
            return 400, "send an author and a text"
        if not author or not text:
            return 400, "author and text must not be empty"
        try:
            add_message(author, text)
        except StoreError as error:
            return 503, str(error)
        print(f"message by {author}")
        return 201, ""

    def answer_json(self, status: int, value: Any) -> None:
        self.answer(status, json.dumps(value).encode(), "application/json")

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Quiet: the page asks every second."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"version {VERSION} listening on port 8000")
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
