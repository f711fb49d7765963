"""Talks to the store over TCP, a JSON list per line: [operation, argument, ...] there, ["ok" or "error", value] back.

Also a small command, for healthchecks and for looking around: `client.py ping`, `client.py items message/`.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

ADDRESS = ("store", 7000)  # a service's name is its host name on every network it is on


class StoreError(Exception):
    """The store could not be reached, or refused the operation."""


def ask(operation: str, *arguments: Any) -> Any:
    """Send one operation to the store and return what it answers."""
    try:
        with socket.create_connection(ADDRESS, timeout=3) as connection, connection.makefile("rw") as stream:
            stream.write(json.dumps([operation, *arguments]) + "\n")
            stream.flush()
            line = stream.readline()
    except OSError as error:
        raise StoreError(f"the store does not answer: {error}") from error
    if not line.endswith("\n"):
        raise StoreError("the store closed the connection without an answer")
    status, value = json.loads(line)
    if status != "ok":
        raise StoreError(value)
    return value


if __name__ == "__main__":
    try:
        print(json.dumps(ask(*sys.argv[1:]), indent=2))
    except StoreError as error:
        sys.exit(str(error))
