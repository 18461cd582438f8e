"""The query grammar: a JSON object from a caller, checked and compiled to MongoDB filters.

    query     = { clause, … }                       all clauses must hold
    clause    = path: scalar | path: { operator: value, … }
              | "$and": [query, …] | "$or": [query, …] | "$not": query
    path      = dotted path into the start document, or into the stop document
                ("stop.…") or any descriptor ("descriptor.…")

What is sent to MongoDB is built anew from what was recognised; nothing of the
caller's JSON is passed through.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headers.patterns import UnsafePattern, safe_pattern
from policies.rule.conditions import Filter, conjunction
from policies.rule.proposal_paths import INT64

MAX_QUERY = 65_536
MAX_LEVELS = 8
MAX_CLAUSES = 64
MAX_ITEMS = 100
MAX_PATH = 256
MAX_PATH_NAMES = 16
UNSAFE_NAME = re.compile(r"[$\x00-\x1f\ud800-\udfff]|^_|__")

STOP = "_broker_stop"
DESCRIPTORS = "_broker_descriptors"
JOINED = {"stop": STOP, "descriptor": DESCRIPTORS}
"""first name of a path → field that holds the joined documents"""


class QueryError(ValueError):
    """The query is refused. `path` is the place in the query, like `$or[1].plan_name`."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path or 'query'}: {reason}")
        self.path = path


@dataclass(frozen=True)
class Query:
    """A checked query: what the start document must satisfy, and what the joined documents must."""

    start: Filter = field(default_factory=dict)
    joined: Filter = field(default_factory=dict)
    """conditions on STOP or DESCRIPTORS, possibly mixed with some on the start document"""


def parse_query(text: str) -> Query:
    """The Query that a caller's JSON text stands for, or QueryError."""
    if len(text) > MAX_QUERY:
        raise QueryError("", f"is longer than {MAX_QUERY} characters")
    try:
        tree = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise QueryError("", f"is nested deeper than {MAX_LEVELS} levels") from None
    except QueryError:
        raise
    except ValueError as error:  # also what an integer of thousands of digits raises
        raise QueryError("", f"is not valid JSON: {error}") from None
    return compile_query(tree)


def compile_query(tree: Any) -> Query:
    """The same for parsed JSON."""
    compiler = _Compiler()
    filters = compiler.clauses(tree, "", 1)
    start = [item for item in filters if not _joins(item)]
    joined = [item for item in filters if _joins(item)]
    return Query(conjunction(*start), conjunction(*joined))


def field_path(name: str, where: str = "") -> str:
    """A dotted path that is safe in field position, or QueryError."""
    if len(name) > MAX_PATH:
        raise QueryError(where, f"the path is longer than {MAX_PATH} characters")
    names = name.split(".")
    if len(names) > MAX_PATH_NAMES:
        raise QueryError(where, f"the path has more than {MAX_PATH_NAMES} names")
    if not all(names) or any(UNSAFE_NAME.search(part) for part in names):
        raise QueryError(
            where or name, "is not a path of field names (no '$', no leading or double '_')"
        )
    return name


class _Compiler:
    """Counts clauses over the whole query while it compiles its parts."""

    def __init__(self) -> None:
        self.count = 0

    def query(self, tree: Any, where: str, level: int) -> Filter:
        return conjunction(*self.clauses(tree, where, level))

    def add(self, clauses: int, where: str) -> None:
        self.count += clauses
        if self.count > MAX_CLAUSES:
            raise QueryError(where, f"has more than {MAX_CLAUSES} clauses")

    def clauses(self, tree: Any, where: str, level: int) -> list[Filter]:
        if not isinstance(tree, dict):
            raise QueryError(where, "must be a JSON object")
        if level > MAX_LEVELS:
            raise QueryError(where, f"is nested deeper than {MAX_LEVELS} levels")
        return [self.clause(key, value, where, level) for key, value in tree.items()]

    def clause(self, key: str, value: Any, where: str, level: int) -> Filter:
        self.add(1, where)
        here = f"{where}.{key[:MAX_PATH]}" if where else key[:MAX_PATH]
        if key == "$not":
            return {"$nor": [self.query(value, here, level + 1)]}
        if key in ("$and", "$or"):
            return self.combination(key, value, here, level)
        if key.startswith("$"):
            raise QueryError(here, "is not an operator here; combine with $and, $or, $not")
        path = _stored_path(key, here)
        condition = {path: self.condition(value, here)}
        return _of_stop(path, condition) if path.startswith(f"{STOP}.") else condition

    def combination(self, key: str, value: Any, here: str, level: int) -> Filter:
        if not isinstance(value, list) or not value:
            raise QueryError(here, "needs a list of one or more queries")
        if len(value) > MAX_ITEMS:
            raise QueryError(here, f"has more than {MAX_ITEMS} items")
        parts = [self.query(item, f"{here}[{at}]", level + 1) for at, item in enumerate(value)]
        return {"$or": parts} if key == "$or" else conjunction(*parts)

    def condition(self, value: Any, here: str) -> Any:
        if not isinstance(value, dict):
            return {"$eq": _scalar(value, here)}
        if not value:
            raise QueryError(here, "needs at least one operator")
        if unknown := [key for key in value if key not in OPERATORS]:
            raise QueryError(
                f"{here}.{unknown[0][:MAX_PATH]}",
                f"is not an operator; use one of {' '.join(OPERATORS)}",
            )
        self.add(len(value) - 1, here)
        return {key: OPERATORS[key](item, f"{here}.{key}") for key, item in value.items()}


def _stored_path(key: str, here: str) -> str:
    first, dot, rest = field_path(key, here).partition(".")
    return f"{JOINED[first]}.{rest}" if dot and first in JOINED else key


def _of_stop(path: str, condition: Filter) -> Filter:
    """An open run lacks every field of a stop document, as a document that lacks it does.

    To MongoDB, an empty list of joined documents is neither: it has no null inside.
    """
    operators = condition[path]
    if _null_matches(operators):
        return {"$or": [{STOP: {"$size": 0}}, condition]}
    if {"$ne", "$nin", "$exists"} & set(operators):
        return {f"{STOP}.0": {"$exists": True}, **condition}
    return condition


def _null_matches(condition: Mapping[str, Any]) -> bool:
    """Does a missing value satisfy all of these operators?"""
    holds: dict[str, Callable[[Any], bool]] = {
        "$eq": lambda value: value is None,
        "$gte": lambda value: value is None,
        "$lte": lambda value: value is None,
        "$in": lambda values: None in values,
        "$ne": lambda value: value is not None,
        "$nin": lambda values: None not in values,
        "$exists": lambda value: not value,
    }
    never: Callable[[Any], bool] = lambda value: False  # noqa: E731
    return all(holds.get(operator, never)(value) for operator, value in condition.items())


def _scalar(value: Any, here: str) -> Any:
    if isinstance(value, dict | list):
        raise QueryError(here, "needs a text, number, true, false or null")
    if isinstance(value, int) and value not in INT64:
        raise QueryError(here, "is beyond 64 bits")
    return _text(value, here) if isinstance(value, str) else value


def _text(value: str, here: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise QueryError(here, "has half of a surrogate pair, which is no text") from None
    return value


def _items(value: Any, here: str) -> list[Any]:
    if not isinstance(value, list):
        raise QueryError(here, "needs a list")
    if len(value) > MAX_ITEMS:
        raise QueryError(here, f"has more than {MAX_ITEMS} items")
    return [_scalar(item, f"{here}[{at}]") for at, item in enumerate(value)]


def _truth(value: Any, here: str) -> bool:
    if not isinstance(value, bool):
        raise QueryError(here, "needs true or false")
    return value


def _pattern(value: Any, here: str) -> str:
    if not isinstance(value, str):
        raise QueryError(here, "needs a text")
    try:
        return safe_pattern(_text(value, here))
    except UnsafePattern as error:
        raise QueryError(here, str(error)) from None


OPERATORS: dict[str, Callable[[Any, str], Any]] = {
    "$eq": _scalar,
    "$ne": _scalar,
    "$gt": _scalar,
    "$gte": _scalar,
    "$lt": _scalar,
    "$lte": _scalar,
    "$in": _items,
    "$nin": _items,
    "$exists": _truth,
    "$regex": _pattern,
}


def _joins(item: Filter) -> bool:
    return mentions(item, STOP) or mentions(item, DESCRIPTORS)


def mentions(tree: Any, name: str) -> bool:
    """Is there a condition on this joined field anywhere in the filter?"""
    if isinstance(tree, dict):
        return any(
            key.partition(".")[0] == name or mentions(value, name) for key, value in tree.items()
        )
    return isinstance(tree, list) and any(mentions(item, name) for item in tree)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise QueryError(twice[:MAX_PATH], "stands twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise QueryError("", f"{name} is not a JSON value")
