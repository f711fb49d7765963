"""develop.watch: what a saved file does."""

from __future__ import annotations

from tests.support import TestStack, eventually

RESTART = """
services:
  web:
    command: ["sh", "-c", "cat src/app.txt; exec sleep MARK"]
    develop: {watch: [{path: src, action: restart, ignore: ["*.log"]}]}
  other:
    command: sleep MARK
"""


def test_a_save_restarts_only_its_service_and_once(stack: TestStack) -> None:
    source = stack.directory / "src"
    source.mkdir()
    (source / "app.txt").write_text("first\n")
    stack.write(RESTART)
    stack.run("up", "-d")
    eventually(lambda: "first" in stack.logs("web"))
    before = stack.pids()
    _watching(stack)
    (source / "app.txt").write_text("second\n")
    eventually(lambda: "second" in stack.logs("web"))
    after = eventually(lambda: (now := stack.pids()).get("web-1") not in (None, before["web-1"]) and now)
    assert after["other-1"] == before["other-1"]
    assert stack.container("web")["Restarts"] == 1
    (source / "debug.log").write_text("noise\n")
    temporary = source / "app.txt.new"
    temporary.write_text("third\n")
    temporary.rename(source / "app.txt")
    eventually(lambda: "third" in stack.logs("web"))
    eventually(lambda: stack.container("web")["State"] == "running")
    assert stack.container("web")["Restarts"] == 2


def test_sync_copies_what_is_new_and_removes_what_is_gone(stack: TestStack) -> None:
    source = stack.directory / "src"
    source.mkdir()
    stack.write(
        """
services:
  web:
    command: sleep MARK
    develop: {watch: [{path: src, action: sync, target: /tmp/app}]}
"""
    )
    stack.run("up", "-d")
    before = stack.pids()
    _watching(stack)
    (source / "page.html").write_text("hello\n")

    def content() -> str:
        return stack.run("exec", "-T", "web", "cat", "/tmp/app/page.html", check=False).stdout

    eventually(lambda: content() == "hello\n")
    (source / "page.html").write_text("bye\n")
    eventually(lambda: content() == "bye\n")
    (source / "page.html").unlink()
    eventually(lambda: content() == "")
    assert stack.pids() == before


def _watching(stack: TestStack) -> None:
    """Wait until the supervisor has its inotify watches: an edit before that is not seen."""
    from pathlib import Path

    def ready() -> bool:
        for pid in stack.supervisor_pids():
            for info in Path(f"/proc/{pid}/fdinfo").iterdir():
                try:
                    if "inotify wd" in info.read_text():
                        return True
                except OSError:
                    continue
        return False

    eventually(ready)
