"""The peers that are installed, each ready to run: docker compose with a daemon of its own, podman-compose.

Both live in PID, mount and network namespaces of the benchmark, with their usual paths on directories of its own: the
host's bridges, packet filter, images and daemons are not touched, and the end of the namespaces ends everything.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.harness import BenchError, Figure, children, eventually, timed, version
from bench.subject import AGAIN, DOWN, PS, UP, Subject, make_directory, tool

IMAGE = "localhost/stackup-bench:latest"
_PATHS = ("/etc/cni/net.d", "/var/lib/cni", "/var/lib/containerd", "/var/lib/containers", "/var/lib/docker")
_GROUPS = ("docker", "libpod_parent", "machine.slice")

_PODMAN_LIMITED = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""For machines on which podman's defaults do not work: no systemd, cgroups in hybrid mode, no CAP_SYS_RESOURCE."""

_INIT = """
import signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps orphans
print("ready", flush=True)
sys.stdin.read()
"""
"""PID 1 of a sandbox. It ends when the benchmark does, even by SIGKILL: then its input ends."""


class Sandbox:
    """The namespaces that the peers run in."""

    def __init__(self, work: Path) -> None:
        """Raises BenchError: they cannot be made."""
        if os.geteuid() != 0:
            raise BenchError("measured by root only")
        self._work = make_directory(work)
        self._groups_before = _groups()
        script = ["mount -t tmpfs tmpfs /run && ip link set lo up || exit"]
        for path in _PATHS:
            own = make_directory(work / path.strip("/").replace("/", "-"))
            script.append(f"if [ -d {path} ]; then mount --bind {own} {path} || exit; fi")
        script.append('exec "$0" -ISc "$1"')
        command = ["unshare", "--fork", "--pid", "--mount-proc", "--mount", "--net", "sh", "-c", "\n".join(script)]
        self._holder = subprocess.Popen(
            [*command, sys.executable, _INIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._holder.stdout is not None
        if (said := self._holder.stdout.readline().strip()) != "ready":
            raise BenchError(f"no namespaces for it here: {said}")
        self._init = children(self._holder.pid)[0]
        self._enter = ["nsenter", f"--target={self._init}", "--pid", "--mount", "--net", "--"]
        self.environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}

    def command(self, *command: str) -> list[str]:
        """A command, to be run inside."""
        return [*self._enter, *command]

    def call(self, *command: str) -> str:
        """Run a command inside; its output. Raises BenchError."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, env=self.environment)
        if done.returncode != 0:
            raise BenchError((done.stderr or done.stdout).strip().splitlines()[-1])
        return done.stdout

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a daemon inside."""
        with (self._work / "daemon.log").open("w") as log:
            return subprocess.Popen(self.command(*command), stdout=log, stderr=log, text=True, env=self.environment)

    def pids(self) -> list[int]:
        """The peers' own processes: all in this PID namespace but its first; containers have their own."""
        namespace = os.stat(f"/proc/{self._init}/ns/pid").st_ino
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != self._init:
                try:
                    if os.stat(f"/proc/{entry}/ns/pid").st_ino == namespace:
                        found.append(int(entry))
                except OSError:
                    continue
        return found

    def close(self) -> None:
        """End everything inside, and remove the groups that the peers have left."""
        assert self._holder.stdin is not None and self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.wait()
        self._holder.stdout.close()
        for group in sorted(_groups() - self._groups_before):
            for path, _, _ in os.walk(group, topdown=False):
                os.rmdir(path)


def _groups() -> set[Path]:
    root = Path("/sys/fs/cgroup")
    return {group for name in _GROUPS for group in (*root.glob(name), *root.glob(f"*/{name}"))}


def _image(work: Path) -> Path:
    """A tar archive of a root file system with busybox's sleep and sh in it."""
    program = tool("busybox")
    data = Path(program).read_bytes() if program else b""
    if not data or b"/ld-linux" in data[:4096]:
        raise BenchError("there is no static busybox for its image (apt-get install busybox-static)")
    path = work / "image.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("bin/busybox")
        member.size, member.mode = len(data), 0o755
        archive.addfile(member, io.BytesIO(data))
        for applet in ("sh", "sleep"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return path


def _verbs(sandbox: Sandbox, compose: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """`down -t 0`: peers would wait ten seconds for a sleep, which as PID 1 does not react to SIGTERM."""
    up = sandbox.command(*compose, "up", "-d")
    return {
        UP: up,
        AGAIN: up,
        PS: sandbox.command(*compose, "ps"),
        DOWN: sandbox.command(*compose, "down", "-t", "0"),
    }


def _docker(sandbox: Sandbox, work: Path) -> Subject:
    """Raises BenchError: something is missing, or does not work here."""
    daemon = tool("dockerd")
    if daemon is None:
        raise BenchError("there is no dockerd (apt-get install docker.io)")
    if version(["docker", "compose", "version"]):
        compose, compose_version = ["docker", "compose"], version(["docker", "compose", "version"])
    else:
        compose, compose_version = ["docker-compose"], version(["docker-compose", "--version"])
    if compose_version is None:
        raise BenchError("there is no docker compose (apt-get install docker-compose)")
    engine = version([daemon, "--version"])
    process = sandbox.start(daemon)

    def answers() -> bool:
        if process.poll() is not None:
            raise BenchError(f"dockerd ended: {(work / 'daemon.log').read_text().strip().splitlines()[-1]}")
        return subprocess.run(sandbox.command("docker", "version"), capture_output=True).returncode == 0

    eventually(answers, "the start of dockerd")
    sandbox.call("docker", "import", str(_image(work)), IMAGE)
    sandbox.call("docker", "run", "--rm", IMAGE, "sleep", "0")
    directory = make_directory(work / "stackup-bench")
    verbs = _verbs(sandbox, [*compose, "-f", str(directory / "compose.yaml")])
    return Subject(
        "docker compose", f"{compose_version}, engine {engine}", directory, verbs, sandbox.environment, IMAGE
    )


def _podman(sandbox: Sandbox, work: Path) -> Subject:
    """Raises BenchError: something is missing, or does not work here."""
    engine, compose = version(["podman", "--version"]), tool("podman-compose")
    if engine is None or compose is None:
        raise BenchError("not installed (apt-get install podman podman-compose)")
    tools = Path(compose).resolve()
    released = version([str(tools), "--version"], after="compose")
    sandbox.call("podman", "import", str(_image(work)), IMAGE)
    settings = "as configured"
    try:
        sandbox.call("podman", "run", "--rm", IMAGE, "sleep", "0")
    except BenchError:
        settings = "runc, cgroupfs, nofile 1024"
        (work / "containers.conf").write_text(_PODMAN_LIMITED)
        sandbox.environment["CONTAINERS_CONF"] = str(work / "containers.conf")
        sandbox.call("podman", "run", "--rm", IMAGE, "sleep", "0")
    directory = make_directory(work / "stackup-bench")
    verbs = _verbs(sandbox, [str(tools), "-f", str(directory / "compose.yaml")])
    name = f"{released}, podman {engine} ({settings})"
    alone = _podman_alone(sandbox, work)
    remark = (
        f"podman without podman-compose: {1000 * alone:.0f} ms for one `podman run -d` in this image. What "
        "podman-compose takes beyond that for each service is its own; its releases 1.0 sleep a second after each call "
        "of podman."
    )
    return Subject("podman-compose", name, directory, verbs, sandbox.environment, IMAGE, remark)


def _podman_alone(sandbox: Sandbox, work: Path) -> float:
    """Seconds of one `podman run -d`: median of five."""
    figure = Figure()
    for _ in range(5):
        command = sandbox.command("podman", "run", "-d", "--name", "alone", IMAGE, "sleep", "1000000")
        figure.samples.append(timed(command, work, sandbox.environment))
        sandbox.call("podman", "rm", "-f", "-t", "0", "alone")
    return figure.median


def peers(work: Path) -> tuple[list[tuple[Subject, Sandbox]], dict[str, str]]:
    """The peers that work here, and for each other one the reason. Close the sandboxes when done."""
    ready, missing = [], {}
    makers: dict[str, Callable[[Sandbox, Path], Subject]] = {"docker compose": _docker, "podman-compose": _podman}
    for name, make in makers.items():
        own = make_directory(work / name.replace(" ", "-"))
        try:
            sandbox = Sandbox(own)
        except BenchError as error:
            missing[name] = str(error)
            continue
        try:
            ready.append((make(sandbox, own), sandbox))
        except BenchError as error:
            sandbox.close()
            missing[name] = str(error)
    return ready, missing
