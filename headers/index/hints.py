"""What the index can tell of a caller's query: rows that cannot satisfy it need not be judged.

A hint leaves too many rows, never too few. MongoDB judges those that are left. For example
`{"scan_id": {"$gte": 5}, "x": 1}` leaves the rows with a scan id of 5 or more, and those whose
scan id the index does not hold, because it is a list or missing.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.db.models import Q

from headers.index.rows import indexable_text
from headers.queries import Query

TEXTS = ("uid", "plan_name")
NUMBERS = ("scan_id", "time")
LOOKUPS = {"$gt": "gte", "$gte": "gte", "$lt": "lte", "$lte": "lte"}
"""bounds are taken in, because 64-bit integers and floats compare differently in SQL"""
EXACT = 2**53
"""whole numbers beyond it are no floats"""


def hints(query: Query) -> Q:
    """A necessary condition on rows of the index; empty where it can tell nothing."""
    found = Q()
    for path, condition in _conditions(query.start):
        if path in TEXTS + NUMBERS:
            for operator, value in condition.items():
                found &= _hint(path, operator, value)
    return found


def _conditions(filter_: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The conditions that must all hold."""
    for path, condition in filter_.items():
        if path == "$and":
            for part in condition:
                yield from _conditions(part)
        elif not path.startswith("$"):
            yield path, condition


def _hint(path: str, operator: str, value: Any) -> Q:
    known: Callable[[Any], bool] = _is_text if path in TEXTS else _is_number
    if operator == "$in":
        values, lookup = value, "in"
        if not all(map(known, values)):
            return Q()
    elif operator == "$eq" and known(value):
        values, lookup = [value], "in"
    elif operator in LOOKUPS and path in NUMBERS and known(value):
        return _or_unknown(path, Q(**{f"{path}__{LOOKUPS[operator]}": value}))
    else:
        return Q()
    return _or_unknown(path, Q(**{f"{path}__{lookup}": values}))


def _or_unknown(path: str, condition: Q) -> Q:
    # Runs without a number as time are not listed at all.
    return condition if path == "time" else condition | Q(**{f"{path}__isnull": True})


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and indexable_text(value) is not None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) < EXACT
