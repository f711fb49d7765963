"""Global options on either side of the verb."""

from __future__ import annotations

import pytest

from stackup.cli.invocation import hoist
from stackup.cli.main import VERBS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("up -d", "up -d"),
        ("up -d -f a.yaml web", "-f a.yaml up -d web"),
        ("-f a.yaml up -p x", "-f a.yaml -p x up"),
        ("up --file=a.yaml --profile dev", "--file=a.yaml --profile dev up"),
        ("up -pdemo", "-pdemo up"),
        ("logs -f web", "logs -f web"),
        ("logs -f --file a.yaml -p x", "--file a.yaml -p x logs -f"),
        ("exec -e A=1 web grep -f pattern -p x", "exec -e A=1 web grep -f pattern -p x"),
        ("up -- -f", "up -- -f"),
        ("up -f", "up -f"),
        ("-p up ps", "-p up ps"),
        ("--help", "--help"),
        ("nosuch -f a", "nosuch -f a"),
        ("", ""),
    ],
)
def test_hoist(given: str, expected: str) -> None:
    assert hoist(given.split(), VERBS) == expected.split()
