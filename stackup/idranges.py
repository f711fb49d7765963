"""Which 65536 user and group ids belong to which stack (root). Pure, but for reading /etc/subuid and /etc/subgid.

The ids lie above those of systemd-nspawn and below the end of systemd's container range (systemd, "Users, Groups, UIDs
and GIDs"). Ranges that useradd(8) or an administrator gave to a user are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stackup.errors import StateError

FIRST_ID = 1879048192
LAST_ID = 2147352575
RANGE_SIZE = 65536
SUBORDINATE_FILES = ("/etc/subuid", "/etc/subgid")


def choose_range(
    taken: Mapping[str, int], idle: Iterable[str], avoid: Iterable[tuple[int, int]]
) -> tuple[int, str | None]:
    """The first id of a range for one more stack, and the stack that loses it (None: the range was free).

    `taken` maps stacks to first ids, `idle` are those of them that keep no files, `avoid` are (first, count) ranges of
    others. The lowest free range wins, then the lowest idle one. Raises StateError when there is neither.
    """
    used = set(taken.values())
    foreign = [(start, start + count) for start, count in avoid if start <= LAST_ID and start + count > FIRST_ID]

    def usable(first: int) -> bool:
        return not any(start < first + RANGE_SIZE and first < end for start, end in foreign)

    for first in range(FIRST_ID, LAST_ID, RANGE_SIZE):
        if first not in used and usable(first):
            return first, None
    for first, stack in sorted((taken[stack], stack) for stack in idle):
        if usable(first):
            return first, stack
    raise StateError(
        f"no id range is left: {len(used)} stacks hold one each",
        hint="remove stacks with `stackup down -v`",
    )


def subordinate_ranges() -> list[tuple[int, int]]:
    """All (first, count) of subuid(5) and subgid(5). Raises OSError."""
    ranges = []
    for path in SUBORDINATE_FILES:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                ranges += parse_subordinate(file.read())
        except FileNotFoundError:
            continue
    return ranges


def parse_subordinate(text: str) -> list[tuple[int, int]]:
    """The ranges of lines `owner:first:count`; other lines mean nothing, as to newuidmap(1)."""
    fields = [line.strip().split(":") for line in text.splitlines()]
    return [
        (int(line[1]), int(line[2]))
        for line in fields
        if len(line) == 3 and line[1].isdecimal() and line[2].isdecimal()
    ]
