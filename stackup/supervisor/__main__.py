"""`python -m stackup.supervisor STACK --ready-fd N [--launch]`: started by the CLI, one for each stack.

Order matters for speed: the lock and the launcher first, so that the launcher starts while the heavy imports run.
"""

from __future__ import annotations

import os
import resource
import sys

from stackup.errors import StackupError
from stackup.statedir import StateDir

_PATIENCE = 10.0
"""Seconds to wait for a supervisor that is just ending to let go of the stack's lock."""


def main(arguments: list[str]) -> int:
    """Serve one stack until it ends. Returns the exit code."""
    name, ready = arguments[0], int(arguments[arguments.index("--ready-fd") + 1])
    os.set_inheritable(ready, False)  # the launcher must not hold it open for us
    os.closerange(ready + 1, 1024)  # nor we, for the rest of a stack's life, what a careless caller left open
    directory = StateDir().stack(name)
    lock = directory.acquire_lock(_PATIENCE)
    os.umask(0o022)  # what it makes for containers others may read; its own files are 0600 by themselves
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a thousand probes at once need three each

    from stackup.supervisor import lifetime

    link = lifetime.connect(directory)
    launched = link is None and "--launch" in arguments
    if launched:
        link = lifetime.launch(directory)

    from stackup.supervisor.service import serve

    serve(directory, lock, link, ready, launched=launched)
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except StackupError as error:  # before it could serve: the command that started it shows what is written here
        sys.stderr.write(f"{error.message}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        code = error.exit_code
    sys.stderr.flush()
    os._exit(code)  # nothing is left to tidy up, and a client of `down` waits for this process to be gone
