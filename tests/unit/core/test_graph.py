"""The graph of services."""

from __future__ import annotations

import subprocess
import sys
from graphlib import CycleError
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackup.core.graph import dependents, find_cycle, levels, reachable

EDGES = {"web": ["api", "cache"], "api": ["db"], "cache": [], "db": []}


def test_levels_put_dependencies_first() -> None:
    assert levels(EDGES) == (("cache", "db"), ("api",), ("web",))


def test_levels_of_a_cycle_are_an_error() -> None:
    with pytest.raises(CycleError):
        levels({"a": ["b"], "b": ["a"]})


def test_dependents_turn_the_edges() -> None:
    assert dependents(EDGES) == {"web": set(), "api": {"web"}, "cache": {"web"}, "db": {"api"}}


def test_reachable_includes_the_roots_and_survives_cycles() -> None:
    assert reachable(EDGES, ["api"]) == {"api", "db"}
    assert reachable({"a": ["b"], "b": ["a"]}, ["a"]) == {"a", "b"}
    assert reachable(EDGES, []) == set()


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        (EDGES, None),
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["c"], "c": ["a"]}, ("a", "b", "c", "a")),
        ({"x": ["a"], "a": ["b"], "b": ["a"]}, ("a", "b", "a")),
    ],
)
def test_a_cycle_is_named_in_full(edges: dict[str, list[str]], cycle: tuple[str, ...] | None) -> None:
    assert find_cycle(edges) == cycle


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), max_size=6))
def test_a_found_cycle_is_one(edges: dict[str, list[str]]) -> None:
    cycle = find_cycle(edges)
    if cycle is None:
        order = [node for level in levels(edges) for node in level]
        assert all(order.index(target) < order.index(node) for node in edges for target in edges[node])
    else:
        assert cycle[0] == cycle[-1]
        assert all(target in edges[source] for source, target in pairwise(cycle))


def test_nothing_heavy_is_imported_until_there_is_a_cycle_to_name() -> None:
    program = (
        "import sys; from stackup.core import graph, reconcile, planview, requests\n"
        "graph.find_cycle({'a': ['b']}); graph.levels({'a': ['b']})\n"
        "print([name for name in ('networkx', 'asyncio', 'pydantic', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
