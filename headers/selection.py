"""Which runs a caller asks for: filter parameters turned into one MongoDB selection."""

import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from headers.queries import STOP, Query
from policies.conditions import Filter, conjunction

EXIT_STATUSES = ("success", "abort", "fail", "open")
SEARCHED_FIELDS = (
    "plan_name",
    "sample",
    "sample.name",
    "sample_name",
    "owner",
    "operator",
    "username",
    "project",
    "group",
    "purpose",
    "comment",
    "comments",
    "notes",
    "title",
    "proposal.title",
    "proposal.pi_name",
)
"""where `search` looks in a catalog without text index"""
MAX_SEARCH_WORDS = 8


@dataclass(frozen=True)
class Selection:
    """What to select in one catalog, on top of what the access allows."""

    start: Filter = field(default_factory=dict)
    since: float = -math.inf
    """inclusive, epoch seconds"""
    until: float | None = None
    """exclusive, epoch seconds"""
    joined: Filter = field(default_factory=dict)
    """conditions that need the stop document or the descriptors"""
    search: str = ""

    def times(self) -> dict[str, float]:
        """Bounds of `time`. Never empty, so that they select runs with a number as time only."""
        bounds = {"$gte": self.since}
        return bounds if self.until is None else bounds | {"$lt": self.until}

    @property
    def any_time(self) -> bool:
        return self.since == -math.inf and self.until is None


def select(
    query: Query,
    *,
    proposal: Filter | None = None,
    plan_name: str | None = None,
    scan_id: int | None = None,
    uid: str | None = None,
    since: float | None = None,
    until: float | None = None,
    exit_status: str | None = None,
    search: str = "",
) -> Selection:
    """All parameters as one Selection: every one of them must hold."""
    equal = {"plan_name": plan_name, "scan_id": scan_id}
    named = {key: value for key, value in equal.items() if value is not None}
    by_uid = {"uid": starting_with(uid)} if uid else {}
    return Selection(
        start=conjunction(query.start, named, by_uid, proposal or {}),
        since=-math.inf if since is None else since,
        until=until,
        joined=conjunction(query.joined, _exit_status(exit_status)),
        search=search,
    )


def starting_with(prefix: str) -> dict[str, str]:
    """The bounds of texts that start with a prefix; unlike a pattern, any index serves them."""
    return {"$gte": prefix, "$lt": prefix + "\U0010ffff"}


def words_filter(search: str) -> Filter:
    """Search without text index: every word stands in one of the usual fields, in any case."""
    words = [re.escape(word) for word in search.split()[:MAX_SEARCH_WORDS]]
    return conjunction(
        *(
            {"$or": [{name: {"$regex": word, "$options": "i"}} for name in SEARCHED_FIELDS]}
            for word in words
        )
    )


def moment(text: str, zone: ZoneInfo) -> float:
    """Epoch seconds of `2026`, `2026-07`, `2026-07-04`, ISO 8601 or an epoch number.

    Without an offset, a date is one of the catalog's time zone. ValueError says what is accepted.
    """
    if not re.fullmatch(r"\d{4}", text):
        try:
            number = float(text)
        except ValueError:
            return _iso(text, zone)
        if math.isfinite(number):
            return number
    return _iso(text, zone)


def _iso(text: str, zone: ZoneInfo) -> float:
    completed = {4: "-01-01", 7: "-01"}.get(len(text), "") if text.isascii() else ""
    try:
        parsed = datetime.fromisoformat(text + completed)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is not a time; use 2026, 2026-07, 2026-07-04, ISO 8601 or epoch seconds"
        ) from None


def _exit_status(status: str | None) -> dict[str, Any]:
    if status is None:
        return {}
    return {STOP: {"$size": 0}} if status == "open" else {f"{STOP}.exit_status": status}
