"""Works off new messages, as a queue's consumer would: counts their words and gives their author a colour.

Stop it (`stackup stop worker`) and new messages stay grey on the page; start it, and it catches up.
"""

from __future__ import annotations

import hashlib
import signal
import socket
import sys
import time

from client import StoreError, ask

STARTED = time.time()


def work(done: int) -> int:
    """Handle what is new, tell the store that the worker lives, and return how many messages are done."""
    for key, message in ask("items", "message/").items():
        if "words" not in message:
            hue = hashlib.sha256(message["author"].encode()).digest()[0] * 360 // 256
            ask("set", key, {**message, "words": len(message["text"].split()), "hue": hue})
            done += 1
            print(f"{key} by {message['author']}: done")
    beats = ask("increment", "beats")
    view = {"host": socket.gethostname(), "started": STARTED, "beats": beats, "done": done, "seen": time.time()}
    ask("set", "worker", view)
    return done


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    done = 0
    while True:
        try:
            done = work(done)
        except StoreError as error:
            print(f"{error}; trying again")
        time.sleep(1)
