"""Runs the installed program on stacks of its own, and sees what is left afterwards. Shared by cli, kernel and e2e."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "stackup")
IS_ROOT = os.geteuid() == 0


def eventually(check: Callable[[], T], timeout: float = 20.0, what: str = "") -> T:
    """The first true value of `check`, which is asked again and again; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {timeout} s: {what or check}; last value: {value!r}")
        time.sleep(0.01)


def processes_matching(pattern: str) -> list[int]:
    """PIDs whose command line matches, without this process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z" and re.search(pattern, line):
                found.append(int(entry.name))
    return found


class TestStack:
    """A stack in a directory of its own, with a state directory of its own and a name nobody else has."""

    __test__ = False

    def __init__(self, directory: Path, state: Path, name: str) -> None:
        self.directory, self.state, self.name = directory, state, name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": os.environ.get("HOME", "/"),
            "STACKUP_STATE": str(state),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.mark = f"{100000 + int(time.time() * 1e6) % 800000}.{os.getpid()}"
        """An argument for `sleep` that marks the processes of this stack."""
        self.foreground: list[subprocess.Popen[str]] = []

    def write(self, text: str, file: str = "stack.yaml") -> Path:
        """Write the stack file; `MARK` in it becomes this stack's mark for sleep."""
        path = self.directory / file
        path.write_text(f"name: {self.name}\n" * (file == "stack.yaml") + text.replace("MARK", self.mark))
        return path

    def run(self, *arguments: str, check: bool = True, input: str | None = None, timeout: float = 60.0) -> Result:
        """Run one command to its end."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            input=input,
            timeout=timeout,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        if check and done.returncode != 0:
            raise AssertionError(f"stackup {' '.join(arguments)} exited {done.returncode}\n{result.all}\n{self.said()}")
        return result

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run one command in the background (`up` in the foreground)."""
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.foreground.append(process)
        return process

    def said(self) -> str:
        """What the supervisor and launcher wrote, for messages of failed tests."""
        try:
            return (self.state / "stacks" / self.name / "supervisor.log").read_text()
        except OSError:
            return ""

    def ps(self, *arguments: str) -> dict[str, dict[str, Any]]:
        """Containers by name, as `ps -a --format json` tells."""
        lines = self.run("ps", "-a", "--format", "json", *arguments).stdout.splitlines()
        return {record["Name"]: record for record in map(json.loads, lines)}

    def container(self, service: str, index: int = 1) -> dict[str, Any]:
        return self.ps()[f"{self.name}-{service}-{index}"]

    def pids(self) -> dict[str, int]:
        """Host PIDs of the running containers, by service and number."""
        prefix = len(self.name) + 1
        return {name[prefix:]: record["Pid"] for name, record in self.ps().items() if record["State"] == "running"}

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal from outside, as a crash or the kernel would."""
        os.kill(pid, number)

    def logs(self, *services: str) -> str:
        return self.run("logs", "--no-log-prefix", *services).stdout

    def launcher_pid(self) -> int:
        record = json.loads((self.state / "stacks" / self.name / "launcher.json").read_text())
        return int(record["pid"])

    def supervisor_pids(self) -> list[int]:
        return processes_matching(rf"stackup\.supervisor {self.name}( |$)")

    def leftovers(self) -> list[str]:
        """Everything of this stack that is still there: processes, cgroups, mounts, state."""
        found = [
            f"process {pid}"
            for pid in processes_matching(rf"(stackup\.supervisor|stackup/launcher \d+) {self.name}( |$)")
        ]
        found += [f"process {pid} (container)" for pid in processes_matching(rf"sleep {re.escape(self.mark)}")]
        for root in Path("/sys/fs/cgroup").glob("*/stackup"):
            found += [f"cgroup {path}" for path in root.glob(f"{self.name}*")]
        found += [f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if self.name in line]
        stacks = self.state / "stacks"
        found += [f"state {path}" for path in (stacks.iterdir() if stacks.exists() else ())]
        return found

    def destroy(self) -> None:
        """Take it down whatever its condition, and end what a test has left running in the foreground."""
        for process in self.foreground:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()
        self.run("down", "-t", "0", "-v", check=False)


class Result:
    """What a command printed and how it ended."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    @property
    def all(self) -> str:
        return self.stdout + self.stderr
