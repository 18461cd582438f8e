"""Which runs: keywords, texts and JSON queries as the service's parameters.

Everything is checked here that can be: a wrong keyword is refused before any request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

OPERATORS = ("gte", "gt", "lte", "lt", "ne", "in", "nin", "exists", "regex")
FOREIGN = frozenset(
    {"eq", "exact", "iexact", "contains", "icontains", "startswith", "istartswith"}
    | {"endswith", "iendswith", "isnull", "ge", "le", "regexp", "iregex", "exist"}
)
"""operators of other query languages: what they end is hardly a path"""
FILTERS = frozenset(
    {"catalog", "beamline", "proposal", "plan_name", "scan_id", "uid", "since", "until"}
    | {"exit_status", "motor", "detector", "sample", "search", "find"}
)
STATUSES = ("success", "abort", "fail", "open")
LONGEST_LIST = 100
LONGEST_PATTERN = 256
_SCALARS = (str, int, float, bool, type(None))
_TIME = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ]\d{2}(:\d{2}(:\d{2}(\.\d+)?)?)?(Z|[+-].*)?)?)?)?")


@dataclass(frozen=True)
class Selection:
    """Which runs. filters: parameters of the service. queries: all of them must hold."""

    filters: Mapping[str, Any] = field(default_factory=dict)
    queries: tuple[Mapping[str, Any], ...] = ()
    oldest_first: bool = False

    def narrowed(self, what: object, keywords: Mapping[str, Any]) -> Selection:
        """These runs, of which `what` (a text or a query) and the keywords hold too."""
        filters, queries = dict(self.filters), list(self.queries)
        if isinstance(what, str):
            filters["search"] = f"{filters.get('search', '')} {what}".strip()
        elif isinstance(what, Mapping):
            queries.append(_checked_query(what))
        elif what is not None:
            raise ValueError(f"search takes a text or a query (a dict), not {what!r}")
        for name, value in keywords.items():
            if name in FILTERS:
                _add_filter(filters, name, _filter_value(name, value))
            else:
                queries.append(condition(name, value))
        return replace(self, filters=filters, queries=tuple(queries))

    @property
    def params(self) -> dict[str, Any]:
        """As parameters of the lists, counts and facets."""
        params = dict(self.filters)
        if self.queries:
            both = self.queries[0] if len(self.queries) == 1 else {"$and": list(self.queries)}
            params["query"] = json.dumps(both, separators=(",", ":"))
        return params

    @property
    def is_all(self) -> bool:
        return not self.filters and not self.queries

    def __str__(self) -> str:
        named = [f"{name}={value!r}" for name, value in self.filters.items()]
        return ", ".join(named + [json.dumps(query) for query in self.queries])


def condition(keyword: str, value: object) -> dict[str, Any]:
    """`sample__name="LaB6"` or `num_points__gte=50` as a query."""
    parts = keyword.split("__")
    operator = parts.pop() if len(parts) > 1 and parts[-1] in OPERATORS else None
    if parts[-1] in FOREIGN and len(parts) > 1:
        raise ValueError(f"{keyword}: {parts[-1]} is no operator; there are {', '.join(OPERATORS)}")
    if not all(parts) or any("$" in part or part.startswith("_") for part in parts):
        raise ValueError(f"{keyword}: write a path with two underscores for each dot: sample__name")
    path = ".".join(parts)
    if operator is None:
        return {path: _scalar(keyword, value)}
    return {path: {f"${operator}": _operand(keyword, operator, value)}}


def _operand(keyword: str, operator: str, value: object) -> object:
    if operator == "exists":
        if not isinstance(value, bool):
            raise ValueError(f"{keyword}: takes True or False, not {value!r}")
        return value
    if operator in ("in", "nin"):
        return _listed(keyword, value)
    if operator == "regex":
        return _pattern(keyword, value)
    return _scalar(keyword, value)


def _listed(keyword: str, value: object) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise ValueError(f"{keyword}: takes a list of values, not {value!r}")
    items = [_scalar(keyword, item) for item in value]
    if len(items) > LONGEST_LIST:
        raise ValueError(f"{keyword}: takes at most {LONGEST_LIST} values, not {len(items)}")
    return items


def _pattern(keyword: str, value: object) -> str:
    text = value.pattern if isinstance(value, re.Pattern) else value
    if not isinstance(text, str) or len(text) > LONGEST_PATTERN:
        raise ValueError(f"{keyword}: takes a pattern of at most {LONGEST_PATTERN} characters")
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{keyword}: {text!r} is no pattern: {error}") from None
    return text


def _scalar(keyword: str, value: object) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    item = getattr(value, "item", None)  # of numpy
    plain = item() if callable(item) and not isinstance(value, _SCALARS) else value
    if not isinstance(plain, _SCALARS):
        raise ValueError(f"{keyword}: takes a text, a number or True or False, not {value!r}")
    return plain


def _checked_query(query: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        json.dumps(query, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the query cannot be written as JSON: {error}") from None
    for key in query:
        if not isinstance(key, str) or (key[:1] == "$" and key not in ("$and", "$or", "$not")):
            raise ValueError(f"query: {key!r} is no path; combine with $and, $or and $not")
    return query


def _add_filter(filters: dict[str, Any], name: str, value: Any) -> None:
    if filters.get(name, value) != value:
        raise ValueError(f"{name} is {filters[name]!r} already; begin anew to choose {value!r}")
    filters[name] = value


def _filter_value(name: str, value: object) -> Any:
    if name in ("since", "until"):
        return _time(name, value)
    if name == "scan_id":
        return _whole_number(name, value)
    if not isinstance(value, str):
        value = _scalar(name, value)
    if name == "exit_status" and value not in STATUSES:
        raise ValueError(f"exit_status: is one of {', '.join(STATUSES)}, not {value!r}")
    if name == "uid" and len(str(value)) < 5:
        raise ValueError("uid: give at least 5 characters")
    return str(value)


def _whole_number(name: str, value: object) -> int:
    plain = _scalar(name, value)
    if isinstance(plain, bool) or not isinstance(plain, int):
        raise ValueError(f"{name}: takes a whole number, not {value!r}")
    return plain


def _time(name: str, value: object) -> str | float:
    """A date without a zone is left to the service, which takes it in the beamline's zone."""
    if isinstance(value, datetime):
        return value.timestamp() if value.tzinfo else value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and (_TIME.fullmatch(value) or _is_number(value)):
        return value
    raise ValueError(
        f"{name}: {value!r} is no time; use 2026, 2026-07, 2026-07-04, ISO 8601, a datetime or"
        " epoch seconds"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
