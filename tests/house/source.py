"""Reads the package's own source: modules, and what each imports and where."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support import REPOSITORY

PACKAGE = REPOSITORY / "stackup"


@dataclass(frozen=True)
class Module:
    """`name` is without the package's own: `host.linux`, `errors`; the package's file is `__init__`."""

    name: str
    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    @property
    def tree(self) -> ast.Module:
        return _parse(self.path)

    @property
    def layer(self) -> str:
        return self.name.split(".")[0]


@dataclass(frozen=True)
class Import:
    """`target` is absolute: `stackup.host.linux`, `yaml`, `os.path`. `lazy` ones run only when a function is called."""

    target: str
    line: int
    lazy: bool


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def modules() -> tuple[Module, ...]:
    """Every module of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        found.append(Module(".".join(parts), path))
    return tuple(found)


@cache
def imports(module: Module) -> tuple[Import, ...]:
    """Everything that a module imports at run time; what only the type checker sees is left out."""
    return tuple(_imports(module.tree, lazy=False))


def _imports(node: ast.AST, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(other, lazy=lazy)
        elif isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, lazy)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: relative import"
            base = child.module or ""
            for alias in child.names:
                yield Import(_module_of(base, alias.name), child.lineno, lazy)
        else:
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from _imports(child, lazy=lazy or inside)


def _module_of(base: str, name: str) -> str:
    """What `from base import name` loads: a module of ours called that, or `base` itself."""
    if base.split(".")[0] == "stackup":
        place = PACKAGE.joinpath(*base.split(".")[1:], name)
        if place.is_dir() or place.with_suffix(".py").is_file():
            return f"{base}.{name}"
    return base


def is_standard(target: str) -> bool:
    return target.split(".")[0] in sys.stdlib_module_names


def called_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Dotted names of everything that is called, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text
