"""How many runs there are when, and what they are in all: for the pages, from the index alone."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Case, Count, F, FloatField, Func, IntegerField, QuerySet, Sum, When
from django.db.models.functions import Cast

from headers.index.listing import Listing, Wanted
from headers.index.models import IndexedRun

HOUR, DAY = 3600, 86_400
LATEST = 4_102_444_800.0
"""epoch seconds: what claims to be later, or of 1970's first day, has no place among days"""
KEYS_AT_ONCE = 500


class WholeNumber(Func):
    """A number of 0 or more without its fraction."""

    output_field = IntegerField()
    template = "CAST(%(expressions)s AS INTEGER)"

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        # Its cast rounds.
        template = "CAST(FLOOR(%(expressions)s) AS INTEGER)"
        return self.as_sql(compiler, connection, template=template, **extra)


@dataclass
class Sums:
    """Of some runs: how many, their events and seconds, and how many in each span of time."""

    width: int
    """seconds of a span"""
    offset: float = 0.0
    """seconds that clocks there are ahead of UTC, so that spans of a day begin at midnight"""
    runs: int = 0
    events: int = 0
    seconds: float = 0.0
    spans: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """number of the span → runs, without those at impossible times"""

    def add(self, rows: "QuerySet[IndexedRun]") -> None:
        """Adds runs, by one query."""
        known = When(time__gte=DAY, time__lt=LATEST, then=self._span())
        grouped = (
            rows.order_by()
            .annotate(span=Case(known, default=None, output_field=IntegerField()))
            .values_list("span")
            .annotate(
                runs=Count("*"),
                number=Sum(Cast("events", FloatField())),
                seconds=Sum("duration"),
            )
        )
        for span, runs, events, seconds in grouped:
            self.runs += runs
            self.events += int(events or 0)
            self.seconds += seconds or 0.0
            if span is not None:
                self.spans[span] += runs

    def begin(self, span: int) -> float:
        """Epoch seconds."""
        return span * self.width - self.offset

    def span_at(self, moment: float) -> int:
        return int((moment + self.offset) // self.width)

    def _span(self) -> WholeNumber:
        return WholeNumber((F("time") + self.offset) / float(self.width))


def sums_of(listing: Listing, wanted: Wanted, found: Sums) -> Sums:
    """Those of the runs that are wanted and may be read, added to others."""
    for rows in listing.rows(wanted):
        found.add(rows)
    return found


def sums_among(keys: Iterable[int], found: Sums) -> Sums:
    """The same of rows by primary key, whatever they are."""
    known = list(keys)
    for at in range(0, len(known), KEYS_AT_ONCE):
        found.add(IndexedRun.objects.filter(pk__in=known[at : at + KEYS_AT_ONCE]))
    return found
