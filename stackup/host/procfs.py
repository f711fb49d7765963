"""What /proc tells of a container's processes: whether a signal can reach anybody (proc(5))."""

from __future__ import annotations

import os

_WAITING = {"do_sigtimedwait", "__do_sys_rt_sigtimedwait", "do_rt_sigtimedwait"}
_SIGTIMEDWAIT_NUMBERS = {"128", "137"}
"""rt_sigtimedwait in /proc/PID/syscall: x86_64 and the generic table."""


def can_react(pid: int, signal_number: int) -> bool:
    """Whether a thread of process `pid` catches the signal, blocks it (to take it later), or waits for it.

    PID 1 of a namespace gets no default action: a signal that nobody handles is lost (pid_namespaces(7)). Where that
    cannot be read the answer is True, so that nobody loses a grace period to a guess.
    """
    bit = 1 << (signal_number - 1)
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        for thread in threads:
            with open(f"/proc/{pid}/task/{thread}/status", "rb") as file:
                masks = dict(line.split(b":\t", 1) for line in file.read().splitlines() if line.startswith(b"Sig"))
            if (int(masks[b"SigCgt"], 16) | int(masks[b"SigBlk"], 16)) & bit or _waits(pid, thread):
                return True
    except (OSError, KeyError, ValueError):
        return True
    return False


def _waits(pid: int, thread: str) -> bool:
    """Whether the thread sits in rt_sigtimedwait; without the right to look, its wait channel has to do."""
    try:
        with open(f"/proc/{pid}/task/{thread}/syscall", "rb") as file:
            return file.read().split(b" ", 1)[0].decode() in _SIGTIMEDWAIT_NUMBERS
    except OSError:
        with open(f"/proc/{pid}/task/{thread}/wchan", "rb") as file:
            return file.read().decode() in _WAITING
