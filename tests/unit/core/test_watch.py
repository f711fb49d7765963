"""Watch rules and .dockerignore patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackup.core.types import WatchAction, WatchRule
from stackup.core.watch import Copy, Reaction, matches, matches_patterns, react, watched_paths

from .stacks import service


@pytest.mark.parametrize(
    ("patterns", "path", "selected"),
    [
        (["node_modules"], "node_modules", True),
        (["node_modules"], "node_modules/a/b.js", True),
        (["node_modules"], "src/node_modules/a.js", False),
        (["**/node_modules"], "src/node_modules/a.js", True),
        (["**/node_modules"], "node_modules/a.js", True),
        (["/dist/"], "dist/x", True),
        (["./dist"], "dist/x", True),
        (["*.py"], "a.py", True),
        (["*.py"], "pkg/a.py", False),
        (["**/*.py"], "a.py", True),
        (["**/*.py"], "pkg/sub/a.py", True),
        (["pkg/**"], "pkg/sub/a.py", True),
        (["pkg/**"], "pkg2/a.py", False),
        (["pkg/**/a.py"], "pkg/a.py", True),
        (["**"], "anything/at/all", True),
        (["*"], "top/below", True),
        (["a?c"], "abc", True),
        (["a?c"], "a/c", False),
        (["[ab].txt"], "b.txt", True),
        (["[^ab].txt"], "b.txt", False),
        (["[^ab].txt"], "c.txt", True),
        (["[.txt"], "[.txt", True),
        (["[a-c]x"], "bx", True),
        (["[a-c]x"], "dx", False),
        (["[c-a]x"], "bx", False),
        (["[^a]x"], "/x", False),
        ([r"[\]]x"], "]x", False),
        (["[a-"], "[a-", True),
        ([r"\*.txt"], "*.txt", True),
        ([r"\*.txt"], "a.txt", False),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README.md"], "OTHER.md", True),
        (["!README.md", "*.md"], "README.md", True),
        (["docs", "!docs/keep", "docs/keep/not"], "docs/keep/x", False),
        (["docs", "!docs/keep", "docs/keep/not"], "docs/keep/not/x", True),
        (["a+b(c)"], "a+b(c)/x", True),
        ([""], "x", False),
        (["."], "x", False),
        ([], "x", False),
    ],
)
def test_patterns(patterns: list[str], path: str, selected: bool) -> None:
    assert matches_patterns(patterns, path) is selected


PATTERNS = st.text("[]^-az\\\\*?/!.&|~(", max_size=12)


@given(st.lists(PATTERNS | st.text(max_size=12), max_size=4), st.text(min_size=1, max_size=12))
def test_no_pattern_is_an_error(patterns: list[str], path: str) -> None:
    assert matches_patterns(patterns, path) in (True, False)


@pytest.mark.parametrize(
    "name",
    [".git/index", "a/.git/HEAD", "x.swp", ".x.py.swp", "x.py~", "4913", ".#x", "#x#", ".idea/w.xml",
     "p/__pycache__/m.cpython-311.pyc"],
)  # fmt: skip
def test_temporary_files_are_never_a_change(name: str) -> None:
    rule = WatchRule("/src", WatchAction.RESTART)
    assert not matches(rule, f"/src/{name}")


def test_a_rule_is_about_what_is_below_its_path() -> None:
    rule = WatchRule("/src", WatchAction.RESTART, ignore=("tests", "!tests/data"), include=("**/*.py", "tests"))
    assert matches(rule, "/src")
    assert matches(rule, "/src/a/b.py")
    assert not matches(rule, "/src/a/b.txt")
    assert not matches(rule, "/src/tests/test_a.py")
    assert matches(rule, "/src/tests/data/x")
    assert not matches(rule, "/source/a.py")
    assert matches(WatchRule("/", WatchAction.RESTART), "/etc/hosts")


def test_a_batch_becomes_one_reaction_for_each_service() -> None:
    specs = [
        *service("api", replicas=2, watch=(
            WatchRule("/app/src", WatchAction.SYNC, "/srv/src"),
            WatchRule("/app/api.toml", WatchAction.SYNC_RESTART, "/etc/api.toml"),
        )),
        *service("web", watch=(WatchRule("/app", WatchAction.RESTART, ignore=("*.toml",)),)),
        *service("db"),
    ]  # fmt: skip
    assert react(specs, ["/app/src/b.py", "/app/src/a.py", "/app/src/a.py", "/else"]) == (
        Reaction(
            "api",
            ("/app/src/a.py", "/app/src/b.py"),
            copies=(Copy("/app/src/a.py", "/srv/src/a.py"), Copy("/app/src/b.py", "/srv/src/b.py")),
        ),
        Reaction("web", ("/app/src/a.py", "/app/src/b.py"), restart=True),
    )
    assert react(specs, ["/app/api.toml"]) == (
        Reaction("api", ("/app/api.toml",), restart=True, copies=(Copy("/app/api.toml", "/etc/api.toml"),)),
    )
    assert react(specs, ["/app/x.swp"]) == ()


def test_paths_below_another_watched_path_need_no_watch_of_their_own() -> None:
    paths = ("/app", "/app/src", "/app-x", "/lib/", "/app/src/deep")
    rules = tuple(WatchRule(path, WatchAction.RESTART) for path in paths)
    assert watched_paths(service("web", watch=rules)) == ("/app", "/app-x", "/lib")
