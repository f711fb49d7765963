"""What `sync` packs, from directories that containers may change at any moment."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from stackup.core.watch import Copy
from stackup.supervisor.archive import pack


def packed(*copies: Copy) -> dict[str, bytes | str | None]:
    """The archive's members: contents of files, targets of links, None for directories."""
    memory = pack(copies)
    with open(memory, "rb") as file, tarfile.open(fileobj=file) as archive:
        found: dict[str, bytes | str | None] = {}
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            found[member.name] = content.read() if content else member.linkname or None
        return found


def test_files_directories_and_links_arrive_under_their_targets(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_text("a")
    (tmp_path / "deep" / "link").symlink_to("/etc/shadow")
    os.mkfifo(tmp_path / "deep" / "pipe")
    assert packed(Copy(str(tmp_path / "deep"), "/app/deep")) == {
        "app/deep": None,
        "app/deep/a.txt": b"a",
        "app/deep/link": "/etc/shadow",
    }


def test_what_is_gone_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    gone = [Copy(str(tmp_path / name), f"/app/{name}") for name in ("gone", "no/such/place")]
    assert packed(*gone, Copy(str(tmp_path / "here"), "/app/here")) == {"app/here": b"x"}


def test_a_directory_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("the secret")
    (tmp_path / "source").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic links"):
        pack([Copy(str(tmp_path / "source" / "key"), "/app/key")])
