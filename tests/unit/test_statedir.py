"""The state directory on a real file system, with real locks, sockets and processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackup import files, idranges, statedir
from stackup.errors import HostError, StateError
from stackup.statedir import StackDir, StateDir, bind_socket, connect_socket, file_stamp, process_id


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir(str(tmp_path / "state"))


@pytest.fixture
def stack(state: StateDir) -> StackDir:
    stack = state.stack("demo")
    stack.create()
    return stack


def in_child(action: Callable[[], None]) -> int:
    """Run `action` in another process and return its exit status: 0, or 1 after an exception."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- the base -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "uid", "expected"),
    [
        ({"STACKUP_STATE": "/x/y"}, 0, "/x/y"),
        ({"STACKUP_STATE": "/x/y"}, 1000, "/x/y"),
        ({"HOME": "/home/u"}, 0, "/var/lib/stackup"),
        ({"HOME": "/home/u"}, 1000, "/home/u/.local/state/stackup"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, 1000, "/s/stackup"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": "relative"}, 1000, "/home/u/.local/state/stackup"),
        ({"HOME": "/home/u", "XDG_STATE_HOME": ""}, 1000, "/home/u/.local/state/stackup"),
    ],
)
def test_the_default_base(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], uid: int, expected: str
) -> None:
    for name in ("STACKUP_STATE", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert statedir.default_base() == expected


def test_reading_makes_nothing(state: StateDir) -> None:
    assert state.stacks() == [] and state.volumes() == []
    assert state.stack("demo").read("stack") is None
    assert list(state.stack("demo").events()) == []
    assert state.recall_identity("key") is None
    assert not os.path.exists(state.path)


def test_what_is_made_is_private(stack: StackDir) -> None:
    stack.write("stack", {})
    for path in (stack.state.path, stack.path, stack.logs, stack.record_file("stack")):
        assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_base_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(StateError, match="others may write"):
        StateDir(str(tmp_path)).stacks()


def test_a_base_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StateError, match=f"belongs to uid {os.getuid()}"):
        StateDir(str(tmp_path)).stack("demo")


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_base_that_is_no_directory_is_refused(tmp_path: Path, kind: str) -> None:
    base = tmp_path / "base"
    if kind == "link":
        base.symlink_to(tmp_path)
    else:
        base.touch()
    with pytest.raises(StateError, match="not a directory"):
        StateDir(str(base)).create()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "Demo", "-x", "_x", "a b", "a\n", "é", "x" * 201])
def test_what_is_no_name_becomes_no_path(state: StateDir, name: str) -> None:
    with pytest.raises(StateError):
        state.stack(name)
    if name not in ("Demo",):
        with pytest.raises(StateError):
            state.volume(name)
        with pytest.raises(StateError):
            state.stack("demo").log_file(name if name != "_x" else "")


def test_stacks_are_listed_by_name(state: StateDir) -> None:
    for name in ("web", "db-1", "a_b"):
        state.stack(name).create()
    os.mkdir(os.path.join(state.path, "stacks", ".removed-1-2"))
    assert state.stacks() == ["a_b", "db-1", "web"]


# --- records --------------------------------------------------------------------------------------------------------


def test_a_record_comes_back(stack: StackDir) -> None:
    stack.write("desired", {"a": [1, "ü", None]})
    assert stack.read("desired") == {"a": [1, "ü", None]}
    stack.write("desired", {"b": 2})
    assert stack.read("desired") == {"b": 2}
    assert sorted(os.listdir(stack.path)) == ["desired.json", "logs"]


@pytest.mark.parametrize("content", [b"", b"\0" * 100])
def test_a_record_that_a_power_failure_emptied_is_none(stack: StackDir, content: bytes) -> None:
    Path(stack.record_file("stack")).write_bytes(content)
    assert stack.read("stack") is None


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"{}{}"])
def test_a_damaged_record_is_named(stack: StackDir, content: bytes) -> None:
    Path(stack.record_file("stack")).write_bytes(content)
    with pytest.raises(StateError, match=r"stack\.json is damaged"):
        stack.read("stack")


def test_a_write_that_fails_leaves_the_old_record_and_nothing_else(
    stack: StackDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    stack.write("stack", {"old": True})

    def fill() -> None:
        # RLIMIT_FSIZE stands for the full disk: it fails after some bytes are written, for root as well.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            stack.write("stack", {"new": "x" * 10_000})
        except HostError as error:
            if error.errno is not None and stack.record_file("stack") in str(error):
                return
        raise AssertionError

    assert in_child(fill) == 0
    assert stack.read("stack") == {"old": True}
    assert sorted(os.listdir(stack.path)) == ["logs", "stack.json"]


def test_a_missing_directory_is_a_host_error(state: StateDir) -> None:
    with pytest.raises(HostError, match="No such file"):
        state.stack("gone").write("stack", {})


# --- the lock -------------------------------------------------------------------------------------------------------


def test_the_lock_keeps_others_out_and_names_its_holder(stack: StackDir) -> None:
    with stack.acquire_lock(0):
        other = StateDir(stack.state.path).stack("demo")
        with pytest.raises(StateError, match=rf"pid {os.getpid()}\)"):
            other.acquire_lock(0.02)
    stack.acquire_lock(0).release()


def test_the_lock_of_a_dead_process_is_free(stack: StackDir) -> None:
    def die() -> None:
        stack.acquire_lock()
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    stack.acquire_lock(0).release()


@pytest.mark.parametrize("timeout", [None, 20.0])
def test_whoever_waits_gets_a_lock_that_counts_when_the_holder_removes_the_directory(
    stack: StackDir, timeout: float | None
) -> None:
    lock = stack.acquire_lock(0)
    waiting_read, waiting_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        lock.release()  # this copy; flock(2) locks belong to the open file, which the parent still has
        os.write(waiting_write, b"x")
        try:
            with stack.acquire_lock(timeout):
                stack.write("stack", {"by": "the next"})
        except BaseException:
            os._exit(1)
        os._exit(0)
    os.read(waiting_read, 1)
    os.close(waiting_read)
    os.close(waiting_write)
    stack.remove()
    lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert stack.read("stack") == {"by": "the next"}


def test_many_at_once_lose_no_update(stack: StackDir) -> None:
    stack.write("stack", {"count": 0})
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                for _ in range(10):
                    with stack.acquire_lock():
                        record = stack.read("stack") or {}
                        stack.write("stack", {"count": record["count"] + 1})
            except BaseException:
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    assert stack.read("stack") == {"count": 80}


# --- removal --------------------------------------------------------------------------------------------------------


def test_remove_is_safe_to_repeat_and_finishes_what_was_begun(stack: StackDir) -> None:
    leftover = Path(stack.state.path, "stacks", ".removed-1-2", "logs")
    leftover.mkdir(parents=True)
    (leftover / "x").touch()
    Path(stack.logs, "web-1.log").write_text("x")
    stack.remove()
    stack.remove()
    assert os.listdir(os.path.join(stack.state.path, "stacks")) == []


def test_a_volume_of_any_shape_is_removed_and_nothing_outside(state: StateDir, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    volume = state.volume("demo_data")
    volume.create()
    data = Path(volume.data)
    (data / "link").symlink_to(outside)
    (data / "dangling").symlink_to("nowhere")
    os.mkfifo(data / "fifo")
    locked = data / "locked" / "inner"
    locked.mkdir(parents=True)
    (locked / "file").touch()
    locked.chmod(0)
    (data / "locked").chmod(0o500)
    deep = os.open(data, os.O_RDONLY)
    for _ in range(3000):  # deeper than any path or recursion may be
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    volume.remove()
    assert state.volumes() == []
    assert os.listdir(os.path.join(state.path, "volumes")) == []
    assert (outside / "precious").exists()


def test_two_removals_at_once_both_succeed(state: StateDir) -> None:
    volume = state.volume("v")
    volume.create()
    for number in range(200):
        os.makedirs(f"{volume.data}/{number % 20}/{number}/x")
    pids = [os.fork() for _ in range(1)]
    if pids[0] == 0:
        try:
            volume.remove()
        except BaseException:
            os._exit(1)
        os._exit(0)
    volume.remove()
    assert os.waitpid(pids[0], 0)[1] == 0
    volume.remove()
    assert os.listdir(os.path.join(state.path, "volumes")) == []


def test_a_volume_exists_once_its_record_is_written(state: StateDir) -> None:
    volume = state.volume("Demo_data.1")
    volume.create()
    assert not volume.exists()
    volume.write({"stack": "demo"})
    assert volume.exists() and volume.read() == {"stack": "demo"}
    assert state.volumes() == ["Demo_data.1"]


# --- id ranges ------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_subordinates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "subuid"
    monkeypatch.setattr(idranges, "SUBORDINATE_FILES", (str(path), str(tmp_path / "missing")))
    return path


def test_a_stack_keeps_its_range_and_shares_it_with_nobody(state: StateDir, no_subordinates: Path) -> None:
    first, second = state.allocate_range("one"), state.allocate_range("two")
    assert first == idranges.FIRST_ID and second == first + 65536
    assert StateDir(state.path).allocate_range("one") == first


def test_two_at_once_get_different_ranges(state: StateDir, no_subordinates: Path) -> None:
    state.create()
    pids = []
    for number in range(10):
        pid = os.fork()
        if pid == 0:
            try:
                state.allocate_range(f"s{number}")
            except BaseException:
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    ranges = json.loads(Path(state.path, "ranges.json").read_text())
    assert len(set(ranges.values())) == 10


def test_ranges_of_users_are_left_alone(state: StateDir, no_subordinates: Path) -> None:
    start = idranges.FIRST_ID
    no_subordinates.write_text(f"# comment\nuser:100000:65536\nvm:{start + 65535}:2\nbroken:x:y\n")
    assert state.allocate_range("one") == start + 2 * 65536


def test_when_all_are_taken_only_a_stack_without_files_loses_its_range(state: StateDir, no_subordinates: Path) -> None:
    state.create()
    firsts = range(idranges.FIRST_ID, idranges.LAST_ID, idranges.RANGE_SIZE)
    ranges = {f"s{number}": first for number, first in enumerate(firsts)}
    Path(state.path, "ranges.json").write_text(json.dumps(ranges))
    state.stack("s0").create()
    for name, owner in (("s1_data", None), ("shared", "s2")):
        state.volume(name).create()
        state.volume(name).write({"stack": owner})
    assert state.allocate_range("new") == ranges["s3"]
    assert state.allocate_range("s1") == ranges["s1"]


@given(
    taken=st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 20), max_size=15),
    avoid=st.lists(st.tuples(st.integers(0, 25 * 65536), st.integers(0, 200_000)), max_size=5),
)
def test_a_chosen_range_overlaps_nothing(taken: dict[str, int], avoid: list[tuple[int, int]]) -> None:
    ranges = {name: idranges.FIRST_ID + number * 65536 for name, number in taken.items()}
    foreign = [(idranges.FIRST_ID + start, count) for start, count in avoid]
    first, forgotten = idranges.choose_range(ranges, [], foreign)
    assert forgotten is None
    assert first >= idranges.FIRST_ID and first + 65535 <= idranges.LAST_ID
    assert first not in ranges.values()
    assert all(start + count <= first or start >= first + 65536 for start, count in foreign if count)


def test_no_range_is_left() -> None:
    with pytest.raises(StateError, match="no id range is left"):
        idranges.choose_range({}, [], [(0, 2**32)])


# --- identities -----------------------------------------------------------------------------------------------------


def test_an_identity_is_recalled_while_its_files_stay_the_same(state: StateDir, tmp_path: Path) -> None:
    present, missing = tmp_path / "compose.yaml", tmp_path / "stack.yaml"
    present.write_text("name: demo\n")
    stamps = [file_stamp(str(present)), file_stamp(str(missing))]
    state.remember_identity("key", stamps, "demo")
    assert state.recall_identity("key") == "demo"
    assert state.recall_identity("another key") is None
    missing.write_text("name: other\n")
    assert state.recall_identity("key") is None
    missing.unlink()
    assert state.recall_identity("key") == "demo"
    present.write_text("name: demo2\n")
    assert state.recall_identity("key") is None
    present.unlink()
    assert state.recall_identity("key") is None


def test_old_identities_are_forgotten(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statedir, "IDENTITIES_LIMIT", 10)
    for number in range(25):
        state.remember_identity(f"key {number}", [], f"s{number}")
    assert len(os.listdir(os.path.join(state.path, "names"))) <= 10
    assert state.recall_identity("key 24") == "s24"


# --- events ---------------------------------------------------------------------------------------------------------


def test_events_come_back_in_order_without_torn_lines(stack: StackDir) -> None:
    stack.append_event({"n": 1})
    with open(stack.events_file, "ab") as file:
        file.write(b'{"n": "torn')
    stack.append_event({"n": 2})
    with open(stack.events_file, "ab") as file:
        file.write(b'{"n": "torn again')
    assert list(stack.events()) == [{"n": 1}, {"n": 2}]


def test_the_event_log_is_bounded(stack: StackDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statedir, "EVENTS_LIMIT", 1000)
    for number in range(200):
        stack.append_event({"n": number})
    kept = [event["n"] for event in stack.events()]
    assert kept == list(range(kept[0], 200)) and len(kept) > 50
    assert sum(os.path.getsize(path) for path in (stack.events_file + ".1",)) < 1100


# --- processes ------------------------------------------------------------------------------------------------------


def test_a_process_is_itself_until_it_ends() -> None:
    own = process_id(os.getpid())
    assert own is not None and own.alive()
    assert type(own).from_plain(json.loads(json.dumps(own.to_plain()))) == own
    assert not replace(own, start_time=own.start_time + 1).alive()
    assert not replace(own, boot_id="another boot").alive()


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        identity = process_id(process.pid)
        assert identity is not None and identity.alive()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_id(process.pid) is None
        assert not identity.alive()


# --- sockets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
@pytest.mark.parametrize("depth", [0, 4])
def test_sockets_work_at_paths_of_any_length(tmp_path: Path, kind: int, depth: int) -> None:
    directory = tmp_path.joinpath(*["d" * 60] * depth)
    directory.mkdir(parents=True, exist_ok=True)
    path = str(directory / "control.sock")
    with bind_socket(path, kind) as server, connect_socket(path, kind) as client:
        accepted, _ = server.accept()
        with accepted:
            client.send(b"hello")
            assert accepted.recv(10) == b"hello"
    assert os.listdir(directory) == ["control.sock"]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with pytest.raises(ConnectionRefusedError):
        connect_socket(path, kind)
    with bind_socket(path, kind), connect_socket(path, kind):
        pass


def test_a_missing_socket_and_a_missing_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        connect_socket(str(tmp_path / "no.sock"))
    with pytest.raises(HostError, match="listen on"):
        bind_socket(str(tmp_path / "missing" / "no.sock"))


def test_a_lock_file_keeps_one_holder(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    lock = files.take_lock(path)
    assert files.lock_holder(path) == str(os.getpid())
    with pytest.raises(TimeoutError):
        files.take_lock(path, 0)
    lock.release()
    lock.release()
    files.take_lock(path, 0).release()
