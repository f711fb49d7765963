"""Notes in PostgreSQL, kept ready and counted in Redis; one page on port 8000. Standard library only.

Redis is spoken to in its own protocol, PostgreSQL through psql.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

HOST = socket.gethostname()
CACHE = ("cache", 6379)
MAX_BODY = 10_000

# Both replicas start at once: IF NOT EXISTS alone is no protection against that, the lock is.
SCHEMA = """
BEGIN;
SELECT pg_advisory_xact_lock(1);
CREATE TABLE IF NOT EXISTS notes (id serial PRIMARY KEY, text text);
COMMIT;
"""

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Notes</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 17px/1.6 system-ui, sans-serif; max-width: 38rem; margin: 4rem auto; padding: 0 1rem; }}
  input {{ font: inherit; padding: .4rem .7rem; width: 100%; box-sizing: border-box; }}
  li {{ overflow-wrap: anywhere; }}
  small {{ opacity: .65; }}
</style>
<h1>Notes</h1>
<form method="post" action="/notes">
  <input name="text" placeholder="A note, and Enter" maxlength="500" autofocus required>
</form>
<ul>{notes}</ul>
<small>Visit {visits}, answered by {host}; the notes came from {source}.</small>
"""


def redis(*words: str) -> Any:
    """One command to Redis and its answer (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/)."""
    encoded = [word.encode() for word in words]
    parts = [b"*%d\r\n" % len(encoded), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)]
    with socket.create_connection(CACHE, timeout=3) as connection, connection.makefile("rb") as answer:
        connection.sendall(b"".join(parts))
        kind, text = (line := answer.readline())[:1], line[1:].strip().decode()
        if kind == b"$":
            return None if text == "-1" else answer.read(int(text)).decode()
        if kind == b"-":
            raise RuntimeError(f"Redis: {text}")
        return int(text) if kind == b":" else text


def sql(statement: str, **values: str) -> str:
    """Run a statement with psql, where `:'name'` is the quoted value. The PG* variables say where, as whom and how."""
    settings = [f"--set={name}={value}" for name, value in values.items()]
    command = ["sh", "postgres.sh", "psql", "-qAtX", "--set=ON_ERROR_STOP=1", *settings]
    done = subprocess.run(command, input=statement, capture_output=True, text=True, timeout=10)
    if done.returncode != 0:
        raise RuntimeError(f"PostgreSQL: {done.stderr.strip()}")
    return done.stdout


def find_notes() -> tuple[list[str], str]:
    """The notes, newest first, and where they came from."""
    cached = redis("GET", "notes")
    if cached is not None:
        return json.loads(cached), "Redis"
    text = sql("SELECT coalesce(json_agg(text ORDER BY id DESC), '[]') FROM notes;")
    redis("SET", "notes", text, "EX", "60")
    return json.loads(text), "PostgreSQL"


def add_note(text: str) -> None:
    sql("INSERT INTO notes (text) VALUES (:'text');", text=text)
    redis("DEL", "notes")


def visit() -> dict[str, Any]:
    """What the page shows, counted as one more visit."""
    notes, source = find_notes()
    return {"host": HOST, "visits": redis("INCR", "visits"), "source": source, "notes": notes}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer(200, "text/plain", "ok\n")
        elif self.path == "/state":
            self.answer(200, "application/json", json.dumps(visit()))
        elif self.path == "/":
            state = visit()
            items = "".join(f"<li>{escape(note)}" for note in state["notes"])
            self.answer(200, "text/html; charset=utf-8", PAGE.format(**{**state, "notes": items}))
        else:
            self.answer(404, "text/plain", "no such page\n")

    def do_POST(self) -> None:
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BODY))
        text = parse_qs(body.decode(errors="replace")).get("text", [""])[0].strip()[:500].replace("\0", "")
        if self.path == "/notes" and text:
            add_note(text)
            self.send_response(303)
            self.send_header("Location", "/")
            self.end_headers()
        else:
            self.answer(400, "text/plain", "post a text to /notes\n")

    def answer(self, status: int, content_type: str, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Quiet: nginx has the access log."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sql(SCHEMA)
    print(f"{HOST} as user {os.getuid()}, listening on port 8000")
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
