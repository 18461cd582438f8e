"""The filters of a search, as Tiled's clients write them, as one query and filters of the index.

`filter[NAME][condition][FIELD]=VALUE`: the i-th values of the fields of one NAME belong together,
and every condition must hold. Values are JSON where the clients write JSON.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from django.db.models import Q
from django.http import QueryDict

from broker_site.problems import Problem
from headers.catalogs import Catalog
from headers.index.listing import Wanted
from headers.lists import wanted_of
from headers.queries import MAX_ITEMS, Query, compile_query

NAME = re.compile(r"filter\[(\w+)\]\[condition\]\[(\w+)\]")
MIN_PREFIX = 5
Clause = dict[str, Any]
Condition = Mapping[str, str]


@dataclass
class Filters:
    """What the conditions ask for together."""

    clauses: list[Clause] = field(default_factory=list)
    prefix: str | None = None
    words: list[str] = field(default_factory=list)
    nothing: bool = False
    """can no run satisfy them?"""
    since: str | None = None
    until: str | None = None

    def query(self) -> Query:
        return compile_query({"$and": self.clauses} if self.clauses else {})

    def wanted(self, catalogs: Sequence[Catalog]) -> Wanted:
        """Problem (400) for a time that is none."""
        times = {"since": self.since, "until": self.until}
        given = {name: time for name, time in times.items() if time is not None}
        found = wanted_of(catalogs, given | ({"uid": self.prefix} if self.prefix else {}))
        nothing = Q(pk__in=[]) if self.nothing else Q()
        return replace(found, search=" ".join(self.words), also=nothing)


def parse_filters(given: QueryDict) -> Filters:
    """Problem (400) says what is wrong with the parameters."""
    found = Filters()
    for name, condition in _conditions(given):
        if name not in CONDITIONS:
            raise Problem(400, f"filter[{name[:50]}]: is not known here.")
        try:
            CONDITIONS[name](found, condition)
        except KeyError as error:
            raise Problem(400, f"filter[{name}]: lacks its condition {error}.") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise Problem(400, f"filter[{name}]: {error}") from None
    return found


def bound(given: QueryDict) -> list[tuple[str, list[str]]]:
    """The parameters that a cursor belongs to."""
    return sorted((name, values) for name, values in given.lists() if name.startswith("filter["))


def _conditions(given: QueryDict) -> Iterator[tuple[str, Condition]]:
    by_name: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for key, values in given.lists():
        if key.startswith("filter["):
            match = NAME.fullmatch(key)
            if match is None:
                raise Problem(400, f"{key[:100]}: write filter[NAME][condition][FIELD].")
            by_name[match[1]][match[2]] = values
    for name, fields in by_name.items():
        for at in range(max(map(len, fields.values()))):
            yield name, {key: values[at] for key, values in fields.items() if at < len(values)}


def _path(condition: Condition) -> str:
    return condition["key"].removeprefix("start.")


def _operator(operator: str | None) -> Callable[[Filters, Condition], None]:
    def add(filters: Filters, condition: Condition) -> None:
        value = json.loads(condition["value"])
        if isinstance(value, dict):
            raise ValueError("value takes no object; search by its keys")
        filters.clauses.append({_path(condition): {operator: value} if operator else value})

    return add


def _members(path: str, values: Any, *, negated: bool = False) -> Clause:
    """Membership in a list of any length, in lists as long as the query grammar takes them."""
    if not isinstance(values, list):
        raise ValueError("takes a list")
    operator, joined = ("$nin", "$and") if negated else ("$in", "$or")
    parts = [
        {path: {operator: values[at : at + MAX_ITEMS]}} for at in range(0, len(values), MAX_ITEMS)
    ]
    return {joined: parts} if len(parts) > 1 else {path: {operator: values}}


def _membership(filters: Filters, condition: Condition, *, negated: bool = False) -> None:
    values = json.loads(condition["value"])
    filters.clauses.append(_members(_path(condition), values, negated=negated))


def _comparison(filters: Filters, condition: Condition) -> None:
    operators = {"lt": "$lt", "gt": "$gt", "le": "$lte", "ge": "$gte"}
    operator = operators[condition["operator"]]
    filters.clauses.append({_path(condition): {operator: json.loads(condition["value"])}})


def _regex(filters: Filters, condition: Condition) -> None:
    sensitive = condition.get("case_sensitive", "true").lower() != "false"
    pattern = ("" if sensitive else "(?i)") + condition["pattern"]
    filters.clauses.append({_path(condition): {"$regex": pattern}})


def _like(filters: Filters, condition: Condition) -> None:
    pattern = str(json.loads(condition["pattern"]))
    path, start = _path(condition), pattern.rstrip("%")
    if path == "uid" and not re.search("[%_]", start) and len(start) >= MIN_PREFIX:
        filters.prefix = start
        return
    wild = {"%": ".*", "_": "."}
    text = "".join(wild.get(letter) or re.escape(letter) for letter in pattern.strip("%"))
    begin, end = "^" * (pattern[:1] != "%"), "$" * (pattern[-1:] != "%")
    filters.clauses.append({path: {"$regex": f"{begin}{text}{end}"}})


def _key_present(filters: Filters, condition: Condition) -> None:
    exists = condition.get("exists", "true").lower() != "false"
    filters.clauses.append({_path(condition): {"$exists": exists}})


def _full_text(filters: Filters, condition: Condition) -> None:
    filters.words.append(condition["text"])


def _lookup(filters: Filters, condition: Condition) -> None:
    filters.clauses.append({"uid": condition["key"]})


def _keys(filters: Filters, condition: Condition) -> None:
    filters.clauses.append(_members("uid", json.loads(condition["keys"])))


def _partial_uid(filters: Filters, condition: Condition) -> None:
    uids = _listed(condition["partial_uids"])
    if len(uids) != 1 or len(str(uids[0])) < MIN_PREFIX:
        raise ValueError(f"takes one beginning of a uid, {MIN_PREFIX} characters or more")
    filters.prefix = str(uids[0])


def _scan_ids(filters: Filters, condition: Condition) -> None:
    filters.clauses.append(_members("scan_id", [int(n) for n in _listed(condition["scan_ids"])]))


def _scan_id_range(filters: Filters, condition: Condition) -> None:
    low, high = int(condition["start_id"]), int(condition["end_id"])
    filters.clauses.append({"scan_id": {"$gte": low, "$lt": high}})


def _time_range(filters: Filters, condition: Condition) -> None:
    for name in ("since", "until"):
        if condition.get(name) and condition[name] != "null":
            value = str(json.loads(condition[name]))
            if not math.isfinite(float(value)):
                raise ValueError(f"{name} takes seconds since 1970")
            setattr(filters, name, value)


def _family(filters: Filters, condition: Condition) -> None:
    filters.nothing |= condition["value"].strip('"') != "container"


def _specs(filters: Filters, condition: Condition) -> None:
    included = json.loads(condition.get("include", "[]"))
    excluded = json.loads(condition.get("exclude", "[]"))
    filters.nothing |= any(name != "BlueskyRun" for name in included) or "BlueskyRun" in excluded


def _listed(text: str) -> list[Any]:
    """A list as JSON, or with commas as old clients write it."""
    if text.startswith("["):
        found = json.loads(text)
        return found if isinstance(found, list) else [found]
    return text.strip('"').split(",")


CONDITIONS: dict[str, Callable[[Filters, Condition], None]] = {
    "eq": _operator(None),
    "contains": _operator(None),
    "noteq": _operator("$ne"),
    "in": _membership,
    "notin": partial(_membership, negated=True),
    "comparison": _comparison,
    "regex": _regex,
    "like": _like,
    "keypresent": _key_present,
    "fulltext": _full_text,
    "lookup": _lookup,
    "keys_filter": _keys,
    "partial_uid": _partial_uid,
    "scan_id": _scan_ids,
    "scan_id_range": _scan_id_range,
    "time_range": _time_range,
    "structure_family": _family,
    "specs": _specs,
}
