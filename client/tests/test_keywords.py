"""Keywords and queries, which are checked before any request."""

import json
import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from dbservice.query import Selection, condition


@pytest.mark.parametrize(
    ("keyword", "value", "query"),
    [
        ("project", "stripes", {"project": "stripes"}),
        ("sample__name", "LaB6", {"sample.name": "LaB6"}),
        ("num_points__gte", 50, {"num_points": {"$gte": 50}}),
        ("stop__exit_status__ne", "success", {"stop.exit_status": {"$ne": "success"}}),
        ("scan_id__in", np.array([1, 2]), {"scan_id": {"$in": [1, 2]}}),
        ("plan_name__nin", ("scan",), {"plan_name": {"$nin": ["scan"]}}),
        ("sample__exists", False, {"sample": {"$exists": False}}),
        ("pi__regex", re.compile("^Sm"), {"pi": {"$regex": "^Sm"}}),
        ("hints__gridding", None, {"hints.gridding": None}),
        ("in", "air", {"in": "air"}),
        ("num_points", np.int64(5), {"num_points": 5}),
    ],
)
def test_a_keyword_is_a_path_and_perhaps_an_operator(
    keyword: str, value: object, query: dict[str, Any]
) -> None:
    assert condition(keyword, value) == query


@pytest.mark.parametrize(
    ("keyword", "value", "reason"),
    [
        ("name__contains", "x", "contains is no operator"),
        ("sample____name", "x", "two underscores"),
        ("__class__", "x", "two underscores"),
        ("a__$where", "x", "two underscores"),
        ("num_points__gt", {"$gt": 1}, "takes a text, a number"),
        ("num_points__gt", [1], "takes a text, a number"),
        ("plan_name__in", "scan", "takes a list"),
        ("plan_name__in", range(101), "at most 100"),
        ("sample__exists", "yes", "True or False"),
        ("pi__regex", "(", "is no pattern"),
        ("pi__regex", "x" * 257, "at most 256"),
        ("since", "last week", "is no time"),
        ("since", True, "is no time"),
        ("scan_id", "12", "whole number"),
        ("scan_id", 1.5, "whole number"),
        ("uid", "9ac", "at least 5"),
        ("plan_name", {"$ne": None}, "takes a text"),
    ],
)
def test_a_wrong_keyword_is_refused(keyword: str, value: object, reason: str) -> None:
    """Abuse cases 1 and 2, before they reach the service."""
    with pytest.raises(ValueError, match=re.escape(reason)):
        Selection().narrowed(None, {keyword: value})


def test_filters_of_the_service_and_queries_go_together() -> None:
    chosen = Selection().narrowed("LaB6 foil", {"plan_name": "scan", "num_points__gt": 5})
    chosen = chosen.narrowed({"$or": [{"a": 1}, {"b": 2}]}, {}).narrowed("edge", {})
    assert chosen.filters == {"search": "LaB6 foil edge", "plan_name": "scan"}
    assert json.loads(chosen.params["query"]) == {
        "$and": [{"num_points": {"$gt": 5}}, {"$or": [{"a": 1}, {"b": 2}]}]
    }


def test_a_filter_is_not_replaced_silently() -> None:
    chosen = Selection().narrowed(None, {"plan_name": "scan"})
    assert chosen.narrowed(None, {"plan_name": "scan"}) == chosen
    with pytest.raises(ValueError, match="plan_name is 'scan' already"):
        chosen.narrowed(None, {"plan_name": "count"})


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2026", "2026"),
        ("2026-07-04T12:30", "2026-07-04T12:30"),
        (1790096208.5, 1790096208.5),
        (date(2026, 7, 4), "2026-07-04"),
        (datetime(2026, 7, 4, 12), "2026-07-04T12:00:00"),
        (datetime(2026, 7, 4, tzinfo=timezone(timedelta(hours=-4))), 1783137600.0),
    ],
)
def test_times_without_a_zone_are_left_to_the_beamline(given: object, sent: object) -> None:
    assert Selection().narrowed(None, {"since": given}).filters["since"] == sent


def test_what_is_no_query_is_refused() -> None:
    for wrong in ({"$where": "1"}, {"a": object()}, {"a": float("nan")}, 5):
        with pytest.raises(ValueError, match="quer"):
            Selection().narrowed(wrong, {})
