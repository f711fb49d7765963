"""Who a container runs as: `user:` and the caller turned into ids, id maps and the files that name them.

Users of the host's root are read from the host's /etc/passwd and /etc/group as text, never through NSS: a lookup must
mean the same as the container's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stackup.errors import HostError

RANGE = 65536
"""Ids in the range of a stack that root runs."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs stackup, and the ids a stack of his may use: `first_id` of a range for root, None for one id only."""

    uid: int
    gid: int
    first_id: int | None

    @property
    def one_id(self) -> bool:
        return self.first_id is None

    def stack_maps(self) -> tuple[str, str]:
        """uid_map and gid_map of the stack's user namespace (user_namespaces(7))."""
        if self.first_id is None:
            return f"0 {self.uid} 1", f"0 {self.gid} 1"
        return f"0 {self.first_id} {RANGE}", f"0 {self.first_id} {RANGE}"


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids of a container's program, as seen inside, and the maps of the container's own user namespace."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str
    uid_map: str
    gid_map: str


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


class Accounts:
    """The host's users and groups, read once."""

    def __init__(self, passwd: str, group: str) -> None:
        self.passwd, self.group = passwd, group
        self._users = [
            _User(parts[0], int(parts[2]), int(parts[3]), parts[5])
            for parts in (line.split(":") for line in passwd.splitlines())
            if len(parts) >= 7 and parts[2].isdigit() and parts[3].isdigit()
        ]
        self._groups = [
            (parts[0], int(parts[2]), parts[3].split(","))
            for parts in (line.split(":") for line in group.splitlines())
            if len(parts) >= 4 and parts[2].isdigit()
        ]

    @classmethod
    def of_host(cls) -> Accounts:
        """Read /etc/passwd and /etc/group; a system without them has no names."""
        texts = []
        for path in (Path("/etc/passwd"), Path("/etc/group")):
            try:
                texts.append(path.read_text(errors="replace"))
            except FileNotFoundError:
                texts.append("")
        return cls(*texts)

    def human_homes(self) -> tuple[str, ...]:
        """Home directories of people (uid 1000 to 59999) and of root."""
        homes = {user.home for user in self._users if user.uid == 0 or 1000 <= user.uid < 60000}
        return tuple(sorted(home for home in homes if home.startswith("/") and home != "/"))

    def resolve(self, user: str | None, caller: Caller) -> Identity:
        """Turn a service's `user:` (`NAME|UID[:GROUP|GID]`) into ids.

        Without one the program is root in a range of ids, and the caller himself where there is only one.

        Raises:
            HostError: an unknown name, or an id outside the range.
        """
        if user is None:
            uid, gid = (caller.uid, caller.gid) if caller.one_id else (0, 0)
            found = self._by_uid(uid)
        else:
            name, _, group = user.partition(":")
            found = self._by_uid(int(name)) if name.isdigit() else self._by_name(name)
            if found is None and not name.isdigit():
                raise HostError("resolve user", user, "/etc/passwd has no such user", hint="name a user, or a number")
            uid = int(name) if found is None else found.uid
            gid = self._group_id(group, user) if group else (found.gid if found else 0)
        limit = RANGE if not caller.one_id else 2**32 - 1
        if not (0 <= uid < limit and 0 <= gid < limit):
            raise HostError("resolve user", user or str(uid), f"ids must be below {limit}")
        name = found.name if found else str(uid)
        home = found.home if found and found.home.startswith("/") else "/"
        if caller.one_id:
            return Identity(uid, gid, (), name, home, f"{uid} 0 1", f"{gid} 0 1")
        extra = sorted({number for _, number, members in self._groups if name in members and number < RANGE} | {gid})
        return Identity(uid, gid, tuple(extra), name, home, f"0 0 {RANGE}", f"0 0 {RANGE}")

    def _by_uid(self, uid: int) -> _User | None:
        return next((user for user in self._users if user.uid == uid), None)

    def _by_name(self, name: str) -> _User | None:
        return next((user for user in self._users if user.name == name), None)

    def _group_id(self, group: str, user: str) -> int:
        if group.isdigit():
            return int(group)
        found = next((number for name, number, _ in self._groups if name == group), None)
        if found is None:
            raise HostError("resolve user", user, f"/etc/group has no group {group}")
        return found

    def files(self, identity: Identity) -> dict[str, str]:
        """/etc/passwd and /etc/group where the host's do not know the program's ids: PostgreSQL and others insist."""
        files = {}
        if self._by_uid(identity.uid) is None:
            line = f"{identity.name}:x:{identity.uid}:{identity.gid}:stackup:{identity.home}:/bin/sh\n"
            files["/etc/passwd"] = _with_line(self.passwd, line)
        if all(number != identity.gid for _, number, _ in self._groups):
            files["/etc/group"] = _with_line(self.group, f"{identity.name}:x:{identity.gid}:\n")
        return files


def _with_line(text: str, line: str) -> str:
    return text + ("" if not text or text.endswith("\n") else "\n") + line
