"""Which services of a stack take part: profiles, the services named by the user, and what those depend on. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from stackup.errors import StackupError
from stackup.stackfile.models import Service


def enabled(services: Mapping[str, Service], profiles: frozenset[str]) -> frozenset[str]:
    """The services without profiles, and those with an active one; `*` activates all."""
    return frozenset(
        name
        for name, service in services.items()
        if not service.profiles or "*" in profiles or not profiles.isdisjoint(service.profiles)
    )


def with_profiles_of(services: Mapping[str, Service], named: Iterable[str], profiles: frozenset[str]) -> frozenset[str]:
    """The profiles active when services are named: naming a disabled service activates all its profiles."""
    disabled = set(named) - enabled(services, profiles)
    return profiles.union(*(services[name].profiles for name in disabled))


def require_known(services: Mapping[str, Service], named: Iterable[str]) -> None:
    """
    Raises:
        StackupError: a named service does not exist.
    """
    for name in named:
        if name not in services:
            near = difflib.get_close_matches(name, sorted(services), n=1)
            known = f"the services are: {', '.join(sorted(services))}" if services else "the stack has no services"
            raise StackupError(f"no such service: {name}", f"did you mean {near[0]!r}?" if near else known)


def closure(services: Mapping[str, Service], roots: Iterable[str], available: frozenset[str]) -> tuple[str, ...]:
    """`roots` and everything available that they depend on, sorted."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found and name in available:
            found.add(name)
            waiting += services[name].depends_on
    return tuple(sorted(found))


def select(services: Mapping[str, Service], named: Sequence[str], profiles: frozenset[str]) -> tuple[str, ...]:
    """The services to run, sorted: the named ones, or else all enabled ones, with their dependencies.

    Raises:
        StackupError: a named service does not exist.
    """
    require_known(services, named)
    available = enabled(services, with_profiles_of(services, named, profiles))
    return closure(services, named or available, available)
