"""Writes stackup/host/templates.py from pyroute2's messages: `make templates`."""

from pathlib import Path

import stackup.host
from stackup.host.network import compose_templates

HEAD = '''"""rtnetlink messages with marks to be patched, for little-endian machines. Generated: `make templates`."""

TEMPLATES = {
'''


def text() -> str:
    """The source of the module."""
    lines = []
    for name, message in compose_templates().items():
        rows = [message.hex()[start : start + 96] for start in range(0, len(message.hex()), 96)]
        lines += [f'    "{name}": bytes.fromhex(', *(f'        "{row}"' for row in rows), "    ),"]
    return HEAD + "\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    Path(stackup.host.__file__).with_name("templates.py").write_text(text())
