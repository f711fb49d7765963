"""Puts the first messages into an empty store, and ends. The API starts only once this has succeeded."""

from __future__ import annotations

import time

from client import ask

WELCOME = (
    ("Ada", "Every service on this page is a plain Linux process in namespaces of its own."),
    ("Grace", "Edit examples/guestbook/api.py and save it: this page changes while you look."),
    ("Linus", "The gateway serves you this page, and cannot reach the store that it comes from."),
)

if ask("items", "message/"):
    print("the store has messages already")
else:
    for author, text in WELCOME:
        number = ask("increment", "messages")
        ask("set", f"message/{number:06}", {"author": author, "text": text, "at": time.time()})
    print(f"wrote {len(WELCOME)} messages")
