"""Looks at a container from inside: runs commands there, and reads what the kernel tells them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.support import Result, TestStack, eventually

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = 0x800405FB
"""CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE SYS_CHROOT SETFCAP (capabilities(7))."""


def run(stack: TestStack, service: str, *command: str, check: bool = True) -> Result:
    """Run a command in the service's first container."""
    return stack.run("exec", "-T", service, *command, check=check)


def output(stack: TestStack, service: str) -> str:
    """What a service has printed, once it has ended."""
    eventually(lambda: stack.container(service)["State"] == "exited", what=f"{service} ends")
    return eventually(lambda: stack.logs(service), what=f"{service} prints something")


def python(stack: TestStack, service: str, program: str, *arguments: str) -> Any:
    """Run a Python program in the container; what it leaves in `answer` comes back."""
    text = f"import errno, json, os, socket, stat, sys\nanswer = None\n{program}\nprint(json.dumps(answer))"
    return json.loads(run(stack, service, "python3", "-c", text, *arguments).stdout)


def attempts(stack: TestStack, service: str, actions: Iterable[str]) -> dict[str, str]:
    """Try each Python expression in the container: "done", or the name of the error."""
    program = (
        "answer = {}\n"
        "for action in sys.argv[1:]:\n"
        "    try:\n"
        "        eval(action)\n"
        "        answer[action] = 'done'\n"
        "    except OSError as error:\n"
        "        answer[action] = errno.errorcode[error.errno]\n"
    )
    found: dict[str, str] = python(stack, service, program, *actions)
    return found


def status(text: str) -> dict[str, str]:
    """/proc/PID/status as a table (proc_pid_status(5))."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {key: value.strip() for key, _, value in pairs}


@dataclass(frozen=True)
class Mounted:
    """A line of /proc/PID/mountinfo (proc_pid_mountinfo(5)); `options` are the mount's own."""

    point: str
    options: frozenset[str]
    kind: str


def mounts(text: str) -> dict[str, Mounted]:
    """What is on top at each mount point, without what another mount covers."""
    found: dict[int, tuple[int, Mounted]] = {}
    for line in text.splitlines():
        fields, _, rest = line.partition(" - ")
        own, above, _, _, point, options = fields.split()[:6]
        found[int(own)] = int(above), Mounted(point, frozenset(options.split(",")), rest.split()[0])
    visible: dict[str, Mounted] = {}

    def visit(number: int) -> None:
        mounted = found[number][1]
        below = {child: on for child, (parent, on) in found.items() if parent == number != child}
        for child, on in below.items():
            if on.point == mounted.point:  # mounted on its root: only that one can be reached
                visit(child)
                return
        visible[mounted.point] = mounted
        for child, on in below.items():
            if not any(on.point.startswith(other.point + "/") for other in below.values()):
                visit(child)

    for root, (parent, _) in found.items():
        if parent not in found:
            visit(root)
    return visible
