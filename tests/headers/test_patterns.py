"""Regular expressions of callers: the harmless run, the dangerous are refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headers.patterns import MAX_PATTERN, UnsafePattern, safe_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "scan",
        "^rel_.*scan$",
        "[a-z]+_[0-9]{1,3}",
        "(gold|silver) foil",
        "(?i)gold",
        "(?P<kind>Fe|Co)",
        r"\d{1,9}\.\d+",
        "a{3}b{2,5}",
        "a?.*b{1,3}c?",
        "x" * MAX_PATTERN,
    ],
)
def test_accepts_what_runs_in_bounded_time(pattern: str) -> None:
    assert safe_pattern(pattern) == pattern


@pytest.mark.parametrize(
    ("pattern", "shorter"),
    [
        (".*scan.*", "scan"),
        (".*?scan.*?", "scan"),
        ("(?i).*scan.*", "(?i)scan"),
        (".*a.*b", "a.*b"),
        (".*.*", ""),
        ("^.*a", "^.*a"),
        (r"a\.*", r"a\.*"),
        (r"a\\.*", r"a\\"),
        (".*a|b.*", "a|b"),
    ],
)
def test_what_says_nothing_at_the_ends_does_not_count(pattern: str, shorter: str) -> None:
    """People write it out of habit, and it would be a repetition too many."""
    assert safe_pattern(pattern) == shorter
    for text in ("", "a", "b", "xscanx", "SCAN", "a.b", "a..", "a\\x", "ab\ncd"):
        assert bool(re.search(pattern, text)) == bool(re.search(shorter, text)), text


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$",
        "(a*)*b",
        "(a|aa)+$",
        "(?:ab|b)*c",
        "((a+)b)*",
        "(a{1,9}){1,9}$",
        "(?=a+)b",
        "(?<!a)b",
        r"(a)\1",
        r"(?P<x>a)(?P=x)",
        "(?>a+)b",
        "(a)?(?(1)b|c)",
        "a.*b.*c.*d.*e.*f",
        r"\d+\.\d+",
        "^.*a.*b",
        ".*+a.*b+",
        "a{1,99}b*",
        "(?:a*|b)(?:c|d+)",
        "a?b?c?d?e?",
        "a{1,100000}",
        "x" * (MAX_PATTERN + 1),
        "(" * 200,
        "[",
        "*",
        "a\0b",
        r"\u0041",
        r"\p{L}",
        r"(?R)",
        "(*ACCEPT)",
        "[[:alpha:]]",
    ],
)
def test_refuses_what_could_take_for_ever_or_is_read_differently_elsewhere(pattern: str) -> None:
    """ABUSE-CASES 4."""
    with pytest.raises(UnsafePattern):
        safe_pattern(pattern)


@given(st.text(alphabet="ab(|)*+?{}[]\\^$.,:=!<>P1-9", max_size=14))
def test_any_text_is_a_pattern_that_compiles_or_is_refused(pattern: str) -> None:
    """ABUSE-CASES 4."""
    try:
        safe_pattern(pattern)
    except UnsafePattern:
        return
    re.compile(pattern)
