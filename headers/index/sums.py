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
"""epoch seconds: what claims to be later, or before 1970, has no place among days"""
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
    runs: int = 0
    events: int = 0
    seconds: float = 0.0
    spans: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    """epoch seconds divided by the width → runs; without those at impossible times"""

    def add(self, rows: "QuerySet[IndexedRun]") -> None:
        """Adds runs, by one query."""
        known = When(time__gte=0, time__lt=LATEST, then=WholeNumber(F("time") / float(self.width)))
        grouped = (
            rows.order_by()
            .annotate(span=Case(known, default=None, output_field=IntegerField()))
            .values_list("span")
            .annotate(Count("*"), Sum(Cast("events", FloatField())), Sum("duration"))
        )
        for span, runs, events, seconds in grouped:
            self.runs += runs
            self.events += int(events or 0)
            self.seconds += seconds or 0.0
            if span is not None:
                self.spans[span] += runs


def sums_of(listing: Listing, wanted: Wanted, width: int) -> Sums:
    """Of the runs that are wanted and may be read."""
    found = Sums(width)
    for rows in listing.rows(wanted):
        found.add(rows)
    return found


def sums_among(keys: Iterable[int], width: int) -> Sums:
    """Of rows by primary key, whatever they are."""
    found, known = Sums(width), list(keys)
    for at in range(0, len(known), KEYS_AT_ONCE):
        found.add(IndexedRun.objects.filter(pk__in=known[at : at + KEYS_AT_ONCE]))
    return found
