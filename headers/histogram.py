"""Runs over time as bars, each of which leads to the list of its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from headers.catalogs import Catalog
from headers.index.sums import DAY, HOUR, Sums
from headers.lists import moment_of

MOST_BARS = 72
WIDTH, HEIGHT = 720, 60
"""of the drawing, in its own units"""
SHORT_SECONDS = 3 * DAY
"""of which the hours are counted"""


@dataclass(frozen=True)
class Bar:
    since: str
    """as the list takes it, inclusive"""
    until: str
    """exclusive"""
    label: str
    count: int
    x: float
    width: float
    height: float

    @property
    def top(self) -> float:
        return HEIGHT - self.height


def span_seconds(given: Mapping[str, Any], catalog: Catalog) -> int:
    """How long a span is to be for these filters: an hour if they say that time is short."""
    if "since" not in given or "until" not in given:
        return DAY
    length = moment_of(catalog, given, "until") - moment_of(catalog, given, "since")
    return HOUR if length <= SHORT_SECONDS else DAY


def offset_of(zone: ZoneInfo, now: float) -> float:
    """Seconds that clocks in a zone are ahead of UTC."""
    offset = datetime.fromtimestamp(now, zone).utcoffset()
    return offset.total_seconds() if offset else 0.0


def bars_of(sums: Sums, zone: ZoneInfo) -> list[Bar]:
    """At most MOST_BARS, of equal widths, from the first run to the last one."""
    if not sums.spans:
        return []
    first, last = min(sums.spans), max(sums.spans)
    each = -(-(last - first + 1) // MOST_BARS)
    counts = [0] * (1 + (last - first) // each)
    for span, count in sums.spans.items():
        counts[(span - first) // each] += count
    begins = [_text(sums, first + each * number, zone) for number in range(len(counts) + 1)]
    return [_bar(number, counts, *ends) for number, ends in enumerate(pairwise(begins))]


def _bar(number: int, counts: Sequence[int], since: str, until: str) -> Bar:
    count, step = counts[number], WIDTH / len(counts)
    # A single run among thousands is to be seen, too.
    height = max(2.0, HEIGHT * count / max(counts)) if count else 0.0
    runs = f"{count} run{'' if count == 1 else 's'}"
    label = f"{since.replace('T', ' ')}: {runs}"
    x, width, height = (round(length, 2) for length in (number * step, step, height))
    return Bar(since, until, label, count, x, width, height)


def _text(sums: Sums, span: int, zone: ZoneInfo) -> str:
    moment = datetime.fromtimestamp(sums.begin(span), zone)
    if sums.width == HOUR:
        return f"{moment:%Y-%m-%dT%H:00}"
    # The day that begins about then: where clocks are changed, some begin an hour beside.
    return f"{datetime.fromtimestamp(sums.begin(span) + DAY / 2, zone):%Y-%m-%d}"
