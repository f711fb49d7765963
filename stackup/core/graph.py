"""The dependency graph of services: cycles named in full, levels, reachability.

A graph is a mapping from a service to the services it depends on. networkx is imported only to name a cycle that is
known to exist; everything on hot paths is graphlib or plain code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from stackup.core.types import ContainerSpec

Edges = Mapping[str, Iterable[str]]


def service_edges(specs: Iterable[ContainerSpec]) -> dict[str, set[str]]:
    """Each service of `specs` with the services that its containers depend on."""
    edges: dict[str, set[str]] = {}
    for spec in specs:
        edges.setdefault(spec.service, set()).update(dependency.service for dependency in spec.depends_on)
    return edges


def find_cycle(edges: Edges) -> tuple[str, ...] | None:
    """One cycle, its first node repeated at the end (`("a", "b", "a")`), or None. Deterministic."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError:
        import networkx

        graph = networkx.DiGraph()
        for node in sorted(edges):
            graph.add_edges_from((node, target) for target in sorted(edges[node]))
        found = networkx.find_cycle(graph, sorted(edges))
        return (*(source for source, _ in found), found[-1][1])
    return None


def levels(edges: Edges) -> tuple[tuple[str, ...], ...]:
    """The nodes in dependency order: each level depends only on those before it. Nodes of a level are sorted.

    Raises:
        graphlib.CycleError: the graph has a cycle.
    """
    sorter = TopologicalSorter(edges)
    sorter.prepare()
    found = []
    while sorter.is_active():
        ready = sorter.get_ready()
        sorter.done(*ready)
        found.append(tuple(sorted(ready)))
    return tuple(found)


def dependents(edges: Edges) -> dict[str, set[str]]:
    """The graph with every edge turned round."""
    turned: dict[str, set[str]] = {node: set() for node in edges}
    for node, targets in edges.items():
        for target in targets:
            turned.setdefault(target, set()).add(node)
    return turned


def reachable(edges: Edges, roots: Iterable[str]) -> set[str]:
    """`roots` and everything they depend on, directly or not. A cycle is no obstacle."""
    seen: set[str] = set()
    ahead = list(roots)
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead.extend(edges.get(node, ()))
    return seen
