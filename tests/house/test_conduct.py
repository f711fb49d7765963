"""Who may print and exit, how long a module may be, what must not be written, and that what is named exists."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.house.source import Module, called_names, docstrings, modules
from tests.support import REPOSITORY

LINES = 500

PROGRAMS: dict[str, str] = {
    # module: why it may write to its streams and end its process
    "cli": "the only place that talks to people",
    "__main__": "the program itself",
    "supervisor.__main__": "the program itself",
    "host.trial": "a program of its own, whose output is its result",
    "launcher": "a tree of forks: every child must end without unwinding into its parent's code",
}

by_name = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


def tracked_files() -> list[Path]:
    """The project's own text files, also those that are new."""
    command = [
        "git",
        "-c",
        f"safe.directory={REPOSITORY}",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    try:
        listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):  # a copy without its history
        return [
            path
            for path in REPOSITORY.rglob("*")
            if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in path.parts)
        ]
    paths = (REPOSITORY / name for name in listed.split("\0") if name)
    return [path for path in paths if path.is_file()]


@by_name
def test_only_programs_print_and_exit(module: Module) -> None:
    if any(module.name == program or module.name.startswith(program + ".") for program in PROGRAMS):
        return
    forbidden = {"print", "exit", "quit", "sys.exit", "os._exit", "os.abort", "sys.stdout.write", "sys.stderr.write"}
    for name, line in called_names(module.tree):
        assert name not in forbidden, f"{module.path}:{line}: {name}() outside of {', '.join(PROGRAMS)}"
    assert "SystemExit" not in module.text, module.path


@by_name
def test_modules_are_small_and_say_what_they_own(module: Module) -> None:
    lines = module.text.splitlines()
    assert len(lines) <= LINES, f"{module.path} has {len(lines)} lines"
    if not lines:
        return
    texts = list(docstrings(module.tree))
    assert module.text.startswith('"""'), f"{module.path} does not say what it owns"
    assert len(texts[0].splitlines()) <= 12, f"{module.path}: its docstring is an essay"


@pytest.mark.parametrize("path", sorted((REPOSITORY / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_test_modules_are_small_too(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600, path


def test_nothing_is_left_for_later() -> None:
    later = re.compile("|".join(("TODO", "FIXME", "XXX", "NotImplementedError", "pragma: no cover")))
    for module in modules():
        for number, line in enumerate(module.text.splitlines(), 1):
            assert not later.search(line), f"{module.path}:{number}: {line.strip()}"


def test_nothing_names_the_place_it_was_written_in() -> None:
    place = f"{REPOSITORY}/"
    for path in tracked_files():
        try:
            assert place not in path.read_text(), f"{path} names {place}"
        except UnicodeDecodeError:
            continue


def test_documents_and_headings_that_docstrings_name_exist() -> None:
    named = re.compile(r"\b((?:docs/[\w./-]+|README|CONTRIBUTING|CHANGELOG)\.md)`?(?:, \"([^\"]+)\")?")
    for module in modules():
        for match in named.finditer(" ".join(module.text.split())):
            document, heading = REPOSITORY / match.group(1), match.group(2)
            assert document.is_file(), f"{module.path} names {match.group(1)}, which does not exist"
            if heading:
                headings = [line.lstrip("# ") for line in document.read_text().splitlines() if line.startswith("#")]
                assert heading in headings, f"{module.path} names {heading!r} of {match.group(1)}"


def test_modules_that_texts_name_exist() -> None:
    """`host/orders.py` in a docstring or a comment is a promise to the reader."""
    known = {str(module.path.relative_to(REPOSITORY / "stackup")) for module in modules()}
    names = {Path(name).name for name in known}
    named = re.compile(r"(?<![\w/.-])((?:stackup/)?(?:[a-z]+/)?[a-z_]+\.py)\b")
    for module in modules():
        for text in [*docstrings(module.tree), *re.findall(r"#.*", module.text)]:
            for name in named.findall(text):
                inside = name.removeprefix("stackup/")
                exists = inside in known or ("/" not in inside and inside in names)
                assert exists, f"{module.path} names {name}, which does not exist"
