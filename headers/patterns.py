"""Which regular expressions of callers may run in the database.

A backtracking matcher takes exponential time on patterns such as `(a+)+$`, and the
database server has no way to stop it everywhere. So a pattern may repeat, but not
repeat what repeats or chooses, look around, or refer back.
"""

import re
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

# The standard library's own parser of patterns; it is the only exact reader of them.
sre: Any = import_module("re._constants")
sre_parser: Any = import_module("re._parser")

MAX_PATTERN = 256
MAX_REPEATS = 4
SHORT = 16
"""up to how many times something may be repeated for the repetition to count as bounded"""
REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
ENDS = re.compile(r"\A((?:\(\?[a-z]+\))?)(?:\.\*\??)+(?![?+*{])|(?<!\\)((?:\\\\)*)(?:\.\*\??)+\Z")
"""`.*` at an end, which says nothing where a pattern is looked for anywhere in a text"""
PLAIN = (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.AT, sre.IN)


class UnsafePattern(ValueError):
    """The pattern is refused; the text says why."""


def safe_pattern(pattern: str) -> str:
    """The pattern, without `.*` at its ends, or UnsafePattern."""
    if len(pattern) > MAX_PATTERN:
        raise UnsafePattern(f"the pattern is longer than {MAX_PATTERN} characters")
    if "\0" in pattern or "\\u" in pattern.lower() or "\\N" in pattern:
        raise UnsafePattern(r"the pattern may not hold NUL, \u or \N")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            sre_parser.parse(pattern)
            shorter = ENDS.sub(r"\1\2", pattern)
            tree = sre_parser.parse(shorter)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise UnsafePattern(f"the pattern is not a regular expression: {error}") from None
    repeats = list(_repeats(list(tree), inside_repeat=False))
    if len(repeats) > MAX_REPEATS:
        raise UnsafePattern(f"the pattern repeats more than {MAX_REPEATS} times")
    if sum(repeats) > 1:
        # Of two, one gives the other back what it took, place by place: quadratic time and worse.
        raise UnsafePattern(
            f"the pattern has more than one '*', '+' or repetition of over {SHORT} times"
        )
    return shorter


def _repeats(items: list[Any], inside_repeat: bool) -> Iterator[bool]:
    """Of each repetition of variable length, whether it is long."""
    for kind, value in items:
        yield from _repeats_of(kind, value, inside_repeat)


def _repeats_of(kind: Any, value: Any, inside_repeat: bool) -> Iterator[bool]:
    if kind in PLAIN:
        return
    if kind is sre.SUBPATTERN:
        yield from _repeats(list(value[3]), inside_repeat)
    elif kind is sre.BRANCH and not inside_repeat:
        for branch in value[1]:
            yield from _repeats(list(branch), inside_repeat)
    elif kind in REPEATS and not inside_repeat:
        low, high, repeated = value
        if high is not sre.MAXREPEAT and high > MAX_PATTERN:
            raise UnsafePattern(f"the pattern repeats something more than {MAX_PATTERN} times")
        if low != high:
            yield high is sre.MAXREPEAT or high - low > SHORT
        yield from _repeats(list(repeated), inside_repeat=True)
    else:
        raise UnsafePattern(
            "the pattern may not repeat what repeats or chooses, look around or refer back"
        )
