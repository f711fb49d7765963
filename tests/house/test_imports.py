"""Imports point one way. The tables are the house at a glance: whoever is not in a row may not be imported there."""

from __future__ import annotations

from graphlib import TopologicalSorter

import pytest

from tests.house.source import Import, Module, imports, is_standard, modules

# --- who may import whom, besides itself and the standard library ----------------------------------------------------

RECORDS = ("errors", "files", "process", "idranges", "clock", "statedir")
LOGS = ("logreader", "inotify")

HOUSE: dict[str, tuple[str, ...]] = {
    # the ground: small modules that load in a millisecond
    "errors": (),
    "clock": (),
    "process": (),
    "files": ("errors",),
    "inotify": ("errors",),
    "idranges": ("errors",),
    "statedir": ("errors", "files", "idranges", "process"),
    "logreader": ("errors", "files", "inotify"),
    # the stack's own processes: nothing of the rest
    "launcher": (),
    "helpers": ("launcher.protocol",),
    # decisions
    "core": ("errors",),
    "stackfile": ("core", "errors", "__init__"),
    # effects. Besides its protocol three more modules of the launcher serve both sides of its socket: the wrappers of
    # system calls that Python lacks, the wait for rtnetlink's answers, and how a mount's source is opened.
    "host": ("core", *RECORDS, "launcher.protocol", "launcher.rtnetlink", "launcher.sources", "launcher.syscalls"),
    "supervisor": ("host", "stackfile", "core", *RECORDS, *LOGS, "launcher.protocol", "launcher.syscalls"),
    # what people touch
    "cli": ("supervisor", "stackfile", "host", "core", *RECORDS, *LOGS, "launcher.protocol", "__init__"),
    "testing": ("core", "errors"),
    "__main__": ("cli",),
    "__init__": (),
}

LEAVES: dict[str, tuple[str, ...]] = {
    "launcher.protocol": (),
    "launcher.syscalls": (),
    "launcher.rtnetlink": (),
    "launcher.sources": ("launcher.syscalls",),
}
"""Modules that others may import without the rest of the launcher, and all that they may import themselves."""

# --- what is heavy, or foreign: where it may be imported, and whether only inside a function -------------------------

ANYWHERE, IN_FUNCTIONS = False, True

FOREIGN: dict[str, tuple[tuple[str, ...], bool]] = {
    "yaml": (("stackfile",), ANYWHERE),
    "pydantic": (("stackfile",), ANYWHERE),
    "pydantic_core": (("stackfile",), ANYWHERE),
    "typer": (("cli",), ANYWHERE),
    "dnslib": (("helpers.dns",), ANYWHERE),
    "pyroute2": (("host.network",), ANYWHERE),
    "stackup.host.network": (("host",), IN_FUNCTIONS),
    "networkx": (("core.graph",), IN_FUNCTIONS),
    "watchfiles": (("supervisor.watching",), IN_FUNCTIONS),
    "asyncio": (("supervisor",), ANYWHERE),
}

# --- what a layer may not even take from the standard library --------------------------------------------------------

PURE = ("os", "io", "time", "datetime", "random", "secrets", "logging", "socket", "subprocess", "pathlib", "threading")

BARRED: dict[str, tuple[str, ...]] = {
    # Pure decisions: no clock, no I/O, no randomness.
    "core": PURE,
    # Forks while it runs: one thread, and nothing that starts one.
    "launcher": ("threading", "concurrent", "multiprocessing", "subprocess", "asyncio", "logging"),
    "helpers": ("threading", "concurrent", "multiprocessing", "subprocess", "asyncio", "logging"),
}

# ---------------------------------------------------------------------------------------------------------------------

by_name = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


def is_within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def breach(module: Module, found: Import) -> str:
    return f"{module.path}:{found.line}: {module.name} imports {found.target}"


def test_every_layer_has_its_row() -> None:
    assert {module.layer for module in modules()} == HOUSE.keys()


@by_name
def test_imports_point_one_way(module: Module) -> None:
    allowed = LEAVES.get(module.name, (*HOUSE[module.layer], module.layer))
    for found in imports(module):
        top, _, rest = found.target.partition(".")
        if top == "stackup":
            assert is_within(rest or "__init__", allowed), breach(module, found)


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {module.name for module in modules()}
    edges = {
        module.name: {found.target.removeprefix("stackup.") for found in imports(module)} & names - {module.name}
        for module in modules()
    }
    tuple(TopologicalSorter(edges).static_order())  # raises CycleError, which names the circle


@by_name
def test_foreign_packages_are_met_in_one_place_each(module: Module) -> None:
    for found in imports(module):
        for package, (places, only_in_functions) in FOREIGN.items():
            if is_within(found.target, (package,)):
                assert is_within(module.name, places), breach(module, found)
                assert found.lazy or not only_in_functions, f"{breach(module, found)} outside a function"


@by_name
def test_nothing_unknown_is_imported(module: Module) -> None:
    for found in imports(module):
        top = found.target.split(".")[0]
        assert top in FOREIGN or top == "stackup" or is_standard(top), breach(module, found)


@by_name
def test_layers_keep_away_from_what_would_make_them_impure(module: Module) -> None:
    for found in imports(module):
        assert not is_within(found.target, BARRED.get(module.layer, ())), breach(module, found)


def test_the_foreign_packages_are_the_declared_dependencies() -> None:
    import tomllib

    from tests.house.source import PACKAGE

    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    declared = {requirement.split(">=")[0].replace("pyyaml", "yaml") for requirement in project["dependencies"]}
    foreign = {name for name in FOREIGN if not is_standard(name) and not name.startswith("stackup")}
    assert foreign - {"pydantic_core"} == declared
