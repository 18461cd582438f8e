"""Which regular expressions of callers may run in the database.

A backtracking matcher takes exponential time on patterns such as `(a+)+$`, and the
database server has no way to stop it everywhere. So a pattern may repeat, but not
repeat what repeats or chooses, look around, or refer back.
"""

import re
import warnings
from importlib import import_module
from typing import Any

# The standard library's own parser of patterns; it is the only exact reader of them.
sre: Any = import_module("re._constants")
sre_parser: Any = import_module("re._parser")

MAX_PATTERN = 256
MAX_REPEATS = 4
REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
PLAIN = (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.AT, sre.IN)


class UnsafePattern(ValueError):
    """The pattern is refused; the text says why."""


def safe_pattern(pattern: str) -> str:
    """The pattern itself, or UnsafePattern."""
    if len(pattern) > MAX_PATTERN:
        raise UnsafePattern(f"the pattern is longer than {MAX_PATTERN} characters")
    if "\0" in pattern or "\\u" in pattern.lower() or "\\N" in pattern:
        raise UnsafePattern(r"the pattern may not hold NUL, \u or \N")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = sre_parser.parse(pattern)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise UnsafePattern(f"the pattern is not a regular expression: {error}") from None
    if _repeats(list(tree), inside_repeat=False) > MAX_REPEATS:
        raise UnsafePattern(f"the pattern repeats more than {MAX_REPEATS} times")
    return pattern


def _repeats(items: list[Any], inside_repeat: bool) -> int:
    """How many repetitions of variable length there are."""
    return sum(_repeats_of(kind, value, inside_repeat) for kind, value in items)


def _repeats_of(kind: Any, value: Any, inside_repeat: bool) -> int:
    if kind in PLAIN:
        return 0
    if kind is sre.SUBPATTERN:
        return _repeats(list(value[3]), inside_repeat)
    if kind is sre.BRANCH and not inside_repeat:
        return sum(_repeats(list(branch), inside_repeat) for branch in value[1])
    if kind in REPEATS and not inside_repeat:
        low, high, repeated = value
        if high is not sre.MAXREPEAT and high > MAX_PATTERN:
            raise UnsafePattern(f"the pattern repeats something more than {MAX_PATTERN} times")
        return int(low != high) + _repeats(list(repeated), inside_repeat=True)
    raise UnsafePattern(
        "the pattern may not repeat what repeats or chooses, look around or refer back"
    )
