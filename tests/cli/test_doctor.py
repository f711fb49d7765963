"""`doctor`: verdicts from facts, and the whole of it on this machine."""

from __future__ import annotations

import json
import os
import shlex
from typing import Any

import pytest

from stackup.cli.doctor import line
from stackup.host import probe
from stackup.host.probe import Capability, Verdict
from stackup.host.trial import attempt
from stackup.statedir import StateDir

from .conftest import Place

REFUSED = {"errno": 1, "text": "/proc/self/uid_map: Operation not permitted"}


@pytest.mark.parametrize(
    ("release", "verdict"),
    [
        ("6.1.0-18-amd64", Verdict.OK),
        ("5.15.0", Verdict.OK),
        ("5.15-rc1", Verdict.OK),
        ("5.14.21-default", Verdict.MISSING),
        ("4.19.0", Verdict.MISSING),
        ("6.18.44-fc-v595", Verdict.OK),
        ("10.0+", Verdict.OK),
    ],
)
def test_kernel_version(release: str, verdict: Verdict) -> None:
    assert probe.kernel_version(release).verdict is verdict


def sysctls(monkeypatch: pytest.MonkeyPatch, uid: int, **values: str) -> None:
    table = {name.replace("__", "."): value for name, value in values.items()}
    monkeypatch.setattr(probe, "read_sysctl", table.get)
    monkeypatch.setattr(os, "geteuid", lambda: uid)


@pytest.mark.parametrize(
    ("uid", "values", "said"),
    [
        (1000, {"kernel__apparmor_restrict_unprivileged_userns": "1"}, "apparmor_parser -r"),
        (0, {"kernel__apparmor_restrict_unprivileged_userns": "1"}, None),
        (1000, {"kernel__unprivileged_userns_clone": "0"}, "sysctl -w kernel.unprivileged_userns_clone=1"),
        (0, {"kernel__unprivileged_userns_clone": "0"}, None),
        (0, {"user__max_user_namespaces": "0"}, "sysctl -w user.max_user_namespaces=10000"),
        (1000, {"user__max_user_namespaces": "100"}, None),
    ],
)
def test_why_user_namespaces_are_refused(
    monkeypatch: pytest.MonkeyPatch, uid: int, values: dict[str, str], said: str | None
) -> None:
    sysctls(monkeypatch, uid, **values)
    reason = probe.explain_userns()
    assert reason is None if said is None else reason is not None and said in reason


def test_the_apparmor_command_is_one_shell_command() -> None:
    words = shlex.split(probe.apparmor_command())
    assert words[:3] == ["sudo", "sh", "-c"]
    assert len(words) == 4
    written = words[3].split('"')[1].encode().decode("unicode_escape")
    assert written == "abi <abi/4.0>,\nprofile stackup flags=(unconfined) {\n  userns,\n}\n"


def test_a_refused_user_namespace_is_the_only_verdict_of_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    sysctls(monkeypatch, 1000, user__max_user_namespaces="0")
    found = probe.judge_trial({"clone3": None, "user namespace": REFUSED})
    assert [(item.name, item.verdict, item.needed) for item in found] == [
        ("user namespace", Verdict.MISSING, True),
        ("clone3", Verdict.OK, True),
    ]
    assert "max_user_namespaces" in (found[0].advice or "")
    assert "Operation not permitted" in found[0].detail


@pytest.mark.parametrize("name", probe._TRIALS)
def test_everything_that_is_missing_comes_with_advice(name: str) -> None:
    (found,) = probe.judge_trial({name: REFUSED})
    assert found.verdict is Verdict.MISSING
    assert found.needed
    assert found.advice


def test_overlay_is_not_needed_yet() -> None:
    (found,) = probe.judge_trial({"overlay": REFUSED})
    assert (found.verdict, found.needed) == (Verdict.LIMITED, False)


@pytest.mark.parametrize(
    ("uid", "start", "verdict"), [(0, "1024", Verdict.OK), (1000, "0", Verdict.OK), (1000, "1024", Verdict.LIMITED)]
)
def test_low_ports(monkeypatch: pytest.MonkeyPatch, uid: int, start: str, verdict: Verdict) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    assert probe.judge_low_ports(start).verdict is verdict


def test_inotify() -> None:
    assert probe.judge_inotify("max_user_instances", "8").verdict is Verdict.LIMITED
    assert probe.judge_inotify("max_user_instances", "128").verdict is Verdict.OK
    assert probe.judge_inotify("max_user_watches", None).verdict is Verdict.OK


def test_a_state_directory_that_cannot_be_used(place: Place) -> None:
    file = place.state / "file"
    file.write_text("")
    found = probe.judge_state(StateDir(str(file)))
    assert (found.verdict, found.needed) == (Verdict.MISSING, True)
    assert probe.judge_state(StateDir(str(place.state / "new" / "one"))).verdict is Verdict.OK


def test_attempt_tells_why() -> None:
    assert attempt(lambda: os.stat("/")) is None
    failure = attempt(lambda: os.stat("/nowhere"))
    assert failure == {"errno": 2, "text": "/nowhere: No such file or directory"}


def test_a_line() -> None:
    capability = Capability("low ports", Verdict.LIMITED, "ports below 1024 cannot be published", "publish higher")
    text = "limited  low ports          ports below 1024 cannot be published  -> publish higher"
    assert line(capability, False) == text
    assert line(capability, True) == text.replace("limited ", "\x1b[33mlimited \x1b[0m", 1)


def test_doctor_on_this_machine_changes_nothing(place: Place) -> None:
    done = place.run("doctor", "--format", "json")
    found: list[dict[str, Any]] = [json.loads(text) for text in done.stdout.splitlines()]
    assert {"kernel", "user namespace", "cgroups", "state directory", "low ports"} <= {item["name"] for item in found}
    missing = [item for item in found if item["needed"] and item["verdict"] == "missing"]
    assert done.returncode == (1 if missing else 0)
    assert all(item["advice"] for item in missing)
    assert list(place.state.iterdir()) == []
    assert len(place.run("doctor").stdout.splitlines()) == len(found)
