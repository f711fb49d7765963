"""YAML as the Compose loader reads it: scalars, merge keys, tags; and bounds on arbitrary bytes."""

from __future__ import annotations

import datetime
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackup.stackfile.nodes import Report, plain
from stackup.stackfile.parse import parse


def read(text: str):
    report = Report()
    documents = parse(text.encode(), "f", report)
    assert not report.problems, report.problems
    return [plain(document) for document in documents]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("NO", "NO"),
        ("True", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("Null", None),
        ("", None),
        ("22:22", "22:22"),
        ("3306:33", "3306:33"),
        ("10", 10),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("0b101", 5),
        ("0o440", 288),
        ("0440", 288),
        ("089", 89.0),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("2.50", 2.5),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("1.2.3", "1.2.3"),
        ("--x", "--x"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T10:00:00Z", "2024-01-31T10:00:00Z"),
        ("'10'", "10"),
        ('"true"', "true"),
        ("!!str 10", "10"),
        ("!!int '10'", 10),
        ("!!float 1", 1.0),
        ("!custom 10", 10),
        ("! 10", "10"),
    ],
)
def test_scalars(text, value):
    (document,) = read(f"a: {text}\n")
    assert document["a"] == value
    assert type(document["a"]) is type(value)
    assert not isinstance(document["a"], datetime.date)


def test_nan():
    assert math.isnan(read("a: .NaN\n")[0]["a"])


@pytest.mark.parametrize("key", ["on", "y", "no", "22:22", "'1'", "2024-01-31"])
def test_keys_that_yaml_1_1_would_change_stay_strings(key):
    assert list(read(f"{key}: 1\n")[0]) == [key.strip("'")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}\n", {"a": 1, "b": 2}),
        ("x: &x {a: 1}\nz: &z {a: 2, b: 2}\ny: {<<: [*x, *z]}\n", {"a": 1, "b": 2}),
        ("y: {<<: {a: 1}, b: 2}\n", {"a": 1, "b": 2}),
        ("x: &x {a: 1}\ny:\n  b: 2\n  <<: *x\n", {"a": 1, "b": 2}),
        ("y: {'<<': 1}\n", {"<<": 1}),
    ],
)
def test_merge_keys(text, value):
    assert read(text)[0]["y"] == value


def test_documents_aliases_byte_order_mark_and_line_ends():
    assert read("\ufeffa: 1\r\nb: 2\r\n---\n---\nc: &x [1]\nd: *x\n") == [{"a": 1, "b": 2}, {"c": [1], "d": [1]}]


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_read_or_reported(data):
    report = Report()
    documents = parse(data, "f", report)
    assert documents is not None or report.problems
    for problem in report.problems:
        assert problem.line >= 1
        assert problem.column >= 1


@given(st.text(alphabet="ab01:-?[]{},&*!|>'\"%@#\n \t<~$.", max_size=120))
def test_arbitrary_yaml_is_read_or_reported(text):
    report = Report()
    documents = parse(text.encode(), "f", report)
    assert documents is not None or report.problems
    for document in documents or ():
        plain(document)
