"""Names, isolation between networks, and published ports."""

from __future__ import annotations

import socket
import urllib.request

from tests.support import TestStack, eventually

SERVER = "python3 -m http.server 8000 --bind 0.0.0.0"

TWO_NETWORKS = f"""
services:
  front:
    command: sleep MARK
    networks: [outer]
  middle:
    command: {SERVER}
    working_dir: /usr/share/doc
    networks: {{outer: {{}}, inner: {{aliases: [core]}}}}
  back:
    command: {SERVER}
    working_dir: /usr/share/doc
    networks: [inner]
networks: {{outer: {{}}, inner: {{}}}}
"""


def resolves(stack: TestStack, service: str, name: str) -> bool:
    return stack.run("exec", "-T", service, "getent", "ahostsv4", name, check=False).code == 0


def connects(stack: TestStack, service: str, host: str, port: int) -> bool:
    program = f"import socket; socket.create_connection(('{host}', {port}), 2).close()"
    return stack.run("exec", "-T", service, "python3", "-c", program, check=False).code == 0


def test_names_and_reach_end_at_the_network(stack: TestStack) -> None:
    stack.write(TWO_NETWORKS)
    stack.run("up", "-d")
    eventually(lambda: connects(stack, "front", "middle", 8000), what="front reaches middle")
    eventually(lambda: connects(stack, "middle", "back", 8000), what="middle reaches back")
    assert resolves(stack, "front", f"{stack.name}-middle-1")
    assert resolves(stack, "back", "core")
    assert not resolves(stack, "front", "core")
    assert not resolves(stack, "front", "back")
    address = next(iter(stack.container("back")["Networks"].values()))
    assert not connects(stack, "front", address, 8000)


def test_replicas_are_several_addresses_of_one_name(stack: TestStack) -> None:
    stack.write("services:\n  one:\n    command: sleep MARK\n  many:\n    command: sleep MARK\n    scale: 3\n")
    stack.run("up", "-d")
    found = stack.run("exec", "-T", "one", "getent", "ahostsv4", "many").stdout
    assert len({line.split()[0] for line in found.splitlines()}) == 3


def test_a_service_keeps_its_address_over_restarts_and_others_find_it_again(stack: TestStack) -> None:
    stack.write(TWO_NETWORKS)
    stack.run("up", "-d")
    before = stack.container("middle")["Networks"]
    stack.run("restart", "middle")
    assert stack.container("middle")["Networks"] == before
    eventually(lambda: connects(stack, "front", "middle", 8000))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


def test_published_ports_listen_on_both_loopbacks_and_nowhere_else(stack: TestStack) -> None:
    port = free_port()
    stack.write(
        f"""
services:
  web:
    command: {SERVER}
    working_dir: /usr/share/doc
    ports: ["{port}:8000"]
    healthcheck: {{test: ["CMD", "python3", "-c", "import socket; socket.create_connection(('127.0.0.1', 8000))"]}}
"""
    )
    stack.run("up", "-d", "--wait")
    assert "Directory listing" in get(f"http://127.0.0.1:{port}/")
    try:
        assert "Directory listing" in get(f"http://[::1]:{port}/")
    except OSError:
        with socket.socket(socket.AF_INET6) as probe:
            assert probe.connect_ex(("::1", 9)) != 111, "::1 works here, but the port is not published on it"
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", port)) != 0
    stack.run("down")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_taken_port_is_an_error_before_anything_starts_and_names_its_holder(stack: TestStack) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        stack.write(f'services:\n  web:\n    command: sleep MARK\n    ports: ["{port}:80"]\n')
        failed = stack.run("up", "-d", check=False)
    assert failed.code == 1
    assert f"port {port} on 127.0.0.1" in failed.stderr
    assert "is taken by python" in failed.stderr
    assert stack.ps() == {}


def test_a_published_port_survives_the_restart_of_its_service(stack: TestStack) -> None:
    port = free_port()
    stack.write(f'services:\n  web:\n    command: {SERVER}\n    working_dir: /etc\n    ports: ["{port}:8000"]\n')
    stack.run("up", "-d")
    eventually(lambda: _answers(port))
    stack.run("restart", "web")
    eventually(lambda: _answers(port))


def _answers(port: int) -> bool:
    try:
        return "Directory listing" in get(f"http://127.0.0.1:{port}/")
    except OSError:
        return False
