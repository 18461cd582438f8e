"""Which runs a caller asks for: filter parameters turned into one MongoDB selection."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from headers.queries import STOP, Query
from policies.rule.conditions import Filter, conjunction

_DATE = re.compile(r"\d{4}|(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
"""a year, or a day without dashes: as a number of seconds, it would be one of 1970"""
EXIT_STATUSES = ("success", "abort", "fail", "open")
STOP_WORDS = frozenset(
    re.findall(
        r"\S+",
        """
        a about above after again against all am an and any are aren't as at be because
        been before being below between both but by can't cannot could couldn't did didn't
        do does doesn't doing don't down during each few for from further had hadn't has
        hasn't have haven't having he he'd he'll he's her here here's hers herself him
        himself his how how's i i'd i'll i'm i've if in into is isn't it it's its itself
        let's me more most mustn't my myself no nor not of off on once only or other ought
        our ours ourselves out over own same shan't she she'd she'll she's should
        shouldn't so some such than that that's the their theirs them themselves then
        there there's these they they'd they'll they're they've this those through to too
        under until up very was wasn't we we'd we'll we're we've were weren't what what's
        when when's where where's which while who who's whom why why's will with won't
        would wouldn't you you'd you'll you're you've your yours yourself yourselves
        """,
    )
)
"""what an English text index leaves out, among them In, As, At, He, I, No and other elements"""


@dataclass(frozen=True)
class Selection:
    """What to select in one catalog, on top of what the access allows."""

    exact: Filter = field(default_factory=dict)
    """made by the service itself of exact values that an index finds"""
    start: Filter = field(default_factory=dict)
    """the caller's conditions on the start document"""
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
    by_scan_id = {} if scan_id is None else {"scan_id": scan_id}
    by_plan = {} if plan_name is None else {"plan_name": plan_name}
    by_uid = {"uid": starting_with(uid)} if uid else {}
    return Selection(
        exact=conjunction(by_scan_id, by_uid, proposal or {}),
        start=conjunction(query.start, by_plan),
        since=-math.inf if since is None else since,
        until=until,
        joined=conjunction(query.joined, _exit_status(exit_status)),
        search=search,
    )


def starting_with(prefix: str) -> dict[str, str]:
    """The bounds of texts that start with a prefix; unlike a pattern, any index serves them."""
    return {"$gte": prefix, "$lt": prefix + "\U0010ffff"}


def search_words(search: str) -> tuple[list[str], list[str]]:
    """The words of a search: those that a text index finds, and those that it leaves out."""
    words = search.replace('"', " ").split()
    common = [word for word in words if word.casefold() in STOP_WORDS]
    return [word for word in words if word not in common], common


def holds_words(document: Any, words: Sequence[str]) -> bool:
    """Does each word stand in some text of the document, at any depth and in any case?"""
    texts = [text.casefold() for text in texts_of(document)]
    return all(any(word.casefold() in text for text in texts) for word in words)


def texts_of(value: Any) -> Iterator[str]:
    """Every text below a value. Keys are no texts."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def moment(text: str, zone: ZoneInfo) -> float:
    """Epoch seconds of `2026`, `2026-07`, `2026-07-04`, `20260704`, ISO 8601 or an epoch number.

    Without an offset, a date is one of the catalog's time zone. ValueError says what is accepted.
    """
    if not _DATE.fullmatch(text):
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
