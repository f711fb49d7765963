"""Which stack a command means, and what its launcher knows of it. Only reads; parses YAML only where it must."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stackup.cli.invocation import Invocation
from stackup.errors import StackupError, StateError
from stackup.files import connect_socket
from stackup.launcher import protocol
from stackup.statedir import StackDir, StateDir, file_stamp

if TYPE_CHECKING:
    from stackup.stackfile import Location, Source

Record = dict[str, Any]

_INTERPOLATED_NAME = re.compile(rb"\bname[\"']?\s*:[\s>|+-]*\S*\$")
"""A name made from variables: any variable, so that no key for the index could be complete."""


def stack_of(invocation: Invocation, *, remember: bool = False) -> StackDir:
    """The directory of the stack that is meant.

    A name that was chosen (-p, COMPOSE_PROJECT_NAME) needs no file. With `remember` the name is noted, so that the next
    command finds it without reading YAML; only verbs that change the stack do that.

    Raises:
        StackupError: no stack file is found, or it has no usable name.
    """
    state = StateDir()
    chosen = invocation.name or os.environ.get("STACKUP_PROJECT_NAME") or os.environ.get("COMPOSE_PROJECT_NAME")
    if chosen:
        return state.stack(chosen)
    key = _identity_key(invocation)
    name = state.recall_identity(key)
    if name is None:
        from stackup.stackfile import locate, stack_name

        source = invocation.source()
        location = locate(source)
        stamps = [file_stamp(path) for path in _deciding_files(source, location)] if remember else []
        name = stack_name(source)
        if remember and not any(_name_is_interpolated(path) for path in location.files):
            state.remember_identity(key, stamps, name)
    return state.stack(name)


def _deciding_files(source: Source, location: Location) -> list[str]:
    """Every file whose change, birth or death could change the answer of `locate` or the name in the files."""
    from stackup.stackfile.source import FILE_NAMES, OVERRIDE_NAMES

    start = os.path.join(source.directory, source.project_directory or "")
    paths = [*location.files, *location.env_files, os.path.join(start, ".env")]
    paths.append(os.path.join(location.project_directory, ".env"))
    found, directory = os.path.dirname(location.files[0]), os.path.normpath(start)
    overrides = {name for names in OVERRIDE_NAMES.values() for name in names}
    while True:
        paths += [os.path.join(directory, name) for name in (*FILE_NAMES, *sorted(overrides))]
        parent = os.path.dirname(directory)
        if directory in (found, parent):
            return list(dict.fromkeys(paths))
        directory = parent


def _identity_key(invocation: Invocation) -> str:
    """Everything but files that decides which stack is meant."""
    settings = {key: value for key, value in os.environ.items() if key.startswith(("COMPOSE_", "STACKUP_", "HOME"))}
    given = [os.getcwd(), invocation.files, invocation.project_directory, invocation.env_files, settings]
    return json.dumps(given, sort_keys=True)


def _name_is_interpolated(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return _INTERPOLATED_NAME.search(file.read()) is not None
    except OSError:
        return True


def launcher(stack: StackDir) -> socket.socket | None:
    """A connection to the stack's launcher; None where none runs."""
    try:
        return connect_socket(stack.launcher_socket, socket.SOCK_SEQPACKET)
    except (FileNotFoundError, ConnectionRefusedError):
        return None


def containers(stack: StackDir) -> list[Record] | None:
    """The launcher's records of the stack's containers, sorted by service and number; None without a launcher.

    Raises:
        StateError: what listens there speaks something else.
    """
    found: list[Record] = []
    sock = launcher(stack)
    if sock is None:
        return None
    with sock:
        more = True
        try:
            protocol.send(sock, {"op": "list"})
            while more:
                received = protocol.receive(sock)
                if received is None:
                    return None  # it ended while it was asked
                message, fds = received
                for fd in fds:
                    os.close(fd)
                found += message["containers"]
                more = message.get("more", False)
        except (ConnectionResetError, BrokenPipeError):
            return None
        except (ValueError, KeyError) as error:
            hint = "another version of stackup may have started it; stop the stack with that one"
            raise StateError(f"the launcher of {stack.name} gave no list of containers", hint) from error
    return sorted(found, key=lambda record: (spec(record)["service"], spec(record)["index"]))


def spec(record: Record) -> Record:
    """The plain ContainerSpec in a launcher's record."""
    plain: Record = record["record"]["spec"]
    return plain


def check_services(stack: StackDir, services: Sequence[str], records: Sequence[Record] | None = None) -> None:
    """Raise StackupError for a service that the stack has neither in its containers nor in what was asked for last."""
    found = (containers(stack) or ()) if records is None else records
    known = {spec(record)["service"] for record in found}
    if not known.issuperset(services):
        known |= {container["service"] for container in (stack.read("desired") or {}).get("containers", ())}
    for service in services:
        if service not in known and not stack.exists():
            raise StackupError(f"stack {stack.name} is not running", "stackup up -d starts it")
        if service not in known:
            from difflib import get_close_matches

            near = get_close_matches(service, known, 1)
            raise StackupError(f"no such service: {service}", f"did you mean {near[0]}?" if near else None)
