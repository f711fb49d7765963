"""The grammar of variables, and that of env files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stackup.stackfile.envfile import parse_env, parse_raw
from stackup.stackfile.interpolate import RequiredVariableError, TemplateError, interpolate

VALUES = {"A": "a", "B": "b", "EMPTY": "", "DOLLAR": "$A", "_x1": "u"}


def expand(text: str) -> tuple[str, list[str]]:
    unset: list[str] = []
    return interpolate(text, VALUES.get, unset.append), unset


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("$A", "a"),
        ("${A}", "a"),
        ("$A$B", "ab"),
        ("x${A}y", "xay"),
        ("$_x1.", "u."),
        ("$$A", "$A"),
        ("$${A}", "${A}"),
        ("$$$A", "$a"),
        ("$5 $} $", "$5 $} $"),
        ("^a-$", "^a-$"),
        ("a$-b", "a$-b"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${NO-d}", "d"),
        ("${A:-d}", "a"),
        ("${A:+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${NO+alt}", ""),
        ("${A:?no}", "a"),
        ("${EMPTY?no}", ""),
        ("${NO:-${B}}", "b"),
        ("${NO:-${ALSO:-x}-${B}}z", "x-bz"),
        ('${NO:-{"json":1}}', '{"json":1}'),
        ("${NO:-b?c}", "b?c"),
        ("${NO:- two  spaces }", " two  spaces "),
        ("${NO:-$$A}", "$A"),
        ("${NO:-}", ""),
        ("${A:-${NO?lazy}}", "a"),
        ("$DOLLAR", "$A"),
    ],
)
def test_forms(text, value):
    assert expand(text) == (value, [])


@pytest.mark.parametrize(
    "text", ["${}", "${ }", "${ A}", "${A }", "${A!}", "${A", "${2A}", "${:-x}", "${A:-\n}", "${NO:-${}}", "${A#x}"]
)
def test_malformed_templates(text):
    with pytest.raises(TemplateError):
        expand(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO:?say}", "required variable NO is missing a value: say"),
        ("${EMPTY:?}", "required variable EMPTY is missing a value"),
        ("${NO?x:-y}", "required variable NO is missing a value: x:-y"),
        ("${NO?$A}", "required variable NO is missing a value: a"),
    ],
)
def test_required_variables(text, message):
    with pytest.raises(RequiredVariableError) as caught:
        expand(text)
    assert str(caught.value) == message


def test_unset_variables_are_told_once_for_each_use_that_is_evaluated():
    assert expand("$NO ${ALSO} ${A:-$LAZY} ${NO+x}") == ("   a "[1:], ["NO", "ALSO"])


def test_deep_nesting_is_an_error_and_no_crash():
    with pytest.raises(TemplateError, match="nested"):
        expand("${N:-" * 3000 + "x" + "}" * 3000)


@given(st.text() | st.text(alphabet="${}A:-?+ \n", max_size=60))
def test_arbitrary_text_is_expanded_or_refused(text):
    try:
        value, _ = expand(text)
    except (TemplateError, RequiredVariableError):
        return
    if "$" not in text:
        assert value == text


@given(st.text())
def test_doubled_dollars_mean_the_text_itself(text):
    assert expand(text.replace("$", "$$")) == (text, [])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1", {"A": "1"}),
        ("A = 1\nB: 2\nexport C=3\nexport \t D=4", {"A": "1", "B": "2", "C": "3", "D": "4"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("# c\n\n  # c\n  A=1", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A= \nB=x", {"A": "", "B": "x"}),
        ("A=x # c", {"A": "x"}),
        ("A=x#c", {"A": "x#c"}),
        ("A= # c", {"A": ""}),
        ("A=#c", {"A": "#c"}),
        ("A=a'b\"c", {"A": "a'b\"c"}),
        (r"A=a\nb", {"A": r"a\nb"}),
        ("A='x$HOST' # c", {"A": "x$HOST"}),
        ("A='a\nb'", {"A": "a\nb"}),
        (r"A='it\'s'", {"A": "it's"}),
        (r'A="a\nb\t\"c\" \\ \x"', {"A": 'a\nb\t"c" \\ \\x'}),
        (r'A="\0101"', {"A": "A"}),
        (r'A="\$HOST $$HOST $HOST"', {"A": "$HOST $HOST h"}),
        ('A="a\nb"\nB=1', {"A": "a\nb", "B": "1"}),
        ("A=$HOST", {"A": "h"}),
        ("A=1\nB=${A}2", {"A": "1", "B": "12"}),
        ("HOST=mine\nB=$HOST", {"HOST": "mine", "B": "h"}),
        ("A=$BEFORE", {"A": "early"}),
        ("HOST", {"HOST": "h"}),
        ("NOBODY", {}),
        ("a.b-c[0]=1", {"a.b-c[0]": "1"}),
        ("ключ=1", {"ключ": "1"}),
        ("A=${N:-x}", {"A": "x"}),
    ],
)
def test_env_files(text, values):
    parsed = parse_env(text, {"HOST": "h"}, {"BEFORE": "early"})
    assert (parsed.values, parsed.faults) == (values, [])


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("A=1\nB C=2", 2, 1, "key cannot contain a space"),
        ("A%=2", 1, 1, 'unexpected character "%"'),
        ("A=1\nB='x\ny", 2, 3, "unterminated quoted value"),
        ('A="x', 1, 3, "unterminated quoted value"),
        ("A='x' y", 1, 6, "unexpected text after the closing quote"),
        ("A=${", 1, 3, "invalid interpolation format"),
        ("A=${N?no}", 1, 3, "required variable N is missing a value: no"),
    ],
)
def test_faulty_env_files(text, line, column, reason):
    (fault,) = parse_env(text, {}, {}).faults
    assert (fault.line, fault.column) == (line, column)
    assert reason in fault.reason


def test_a_fault_does_not_hide_the_lines_behind_it():
    parsed = parse_env("A B=1\nC=2\nD%=3\nE=4", {}, {})
    assert ([fault.line for fault in parsed.faults], parsed.values) == ([1, 3], {"C": "2", "E": "4"})


def test_the_raw_format_keeps_values_verbatim():
    parsed = parse_raw("# c\n A='x' # y \nHOST\nB=$A\nC D=1\n=x\nNONE\n", {"HOST": "h"})
    assert parsed.values == {"A": "'x' # y ", "HOST": "h", "B": "$A"}
    assert [fault.line for fault in parsed.faults] == [5, 6]


@given(st.text() | st.text(alphabet="A=:#'\"\\$ \n\t{}", max_size=60))
def test_arbitrary_env_files_are_read_or_reported(text):
    parse_env(text, {}, {})
    parse_raw(text, {})
