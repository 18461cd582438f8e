"""How fast data come in: the data-rate study, from the documents that are stored.

Runs per day are counted over the newest `MAX_RUNS` runs of the period; days without a run do not
count. Everything else is told of at most `SAMPLE_RUNS` of them, drawn evenly and the same at each
call. Of a run and stream:

    events      the stop document's `num_events`, else counted
    rate        events / (time of stop - time of start), Hz; complete runs only
    inline      bytes of an event that are in the database: shape x dtype of its data keys
    external    bytes of an event that are in files, likewise
    bytes/s     rate x (inline + external)
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from django.conf import settings

from events.arrays.datums import datum_ids, external_fields
from events.data_keys import bytes_per_event
from events.repositories import Events
from events.sources import ChosenSource, choose
from headers.catalogs import Catalog
from headers.descriptors import Descriptor, Doc
from headers.index.catch_up import fresh_index
from headers.index.keys import id_of
from headers.index.listing import Listing, Wanted
from headers.repositories import Run, Runs
from headers.streams import recorded_counts, stream_name
from policies.rule.access import Access

MAX_RUNS = 100_000
SAMPLE_RUNS = 2_000
RUNS_AT_ONCE = 200


@dataclass(frozen=True)
class Spread:
    """How a quantity is distributed; all None where nothing is known of it."""

    count: int = 0
    median: float | None = None
    p95: float | None = None
    max: float | None = None
    deciles: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        known = np.array([value for value in values if math.isfinite(value)])
        if not len(known):
            return cls()
        median, p95, top = (float(value) for value in np.percentile(known, (50, 95, 100)))
        deciles = np.percentile(known, range(0, 101, 10))
        return cls(len(known), median, p95, top, tuple(map(float, deciles)))


@dataclass(frozen=True)
class FieldSource:
    """The event source that fields call for, at the rate their stream has."""

    source: str
    route: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class StreamRates:
    """A stream, as the sampled runs that have it recorded it."""

    name: str
    runs: int
    events_per_run: Spread
    event_rate: Spread
    """Hz, while a run is on"""
    inline_bytes_per_event: Spread
    external_bytes_per_event: Spread
    bytes_per_second: Spread
    event_sources: tuple[FieldSource, ...]
    advice: str


@dataclass(frozen=True)
class CatalogRates:
    """The study of one catalog."""

    catalog: str
    title: str
    since: float | None
    runs: int
    sampled: int
    truncated: bool
    """there are more runs than were looked at"""
    days: Mapping[str, int]
    """runs by day of the catalog's time zone; only days with runs"""
    runs_per_day: Spread
    streams: tuple[StreamRates, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Use:
    """What one stream of the sampled runs was used for, a value a run."""

    events: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    inline: list[float] = field(default_factory=list)
    external: list[float] = field(default_factory=list)
    seconds_bytes: list[float] = field(default_factory=list)
    latest: dict[str, tuple[Run, Doc]] = field(default_factory=dict)
    """of each field, the newest run that has it, and the descriptor"""

    def add(self, run: Run, descriptor: Doc, events: int) -> None:
        inline, external = inline_bytes(descriptor), external_bytes(descriptor)
        self.events.append(events)
        self.inline.append(inline)
        self.external.append(external)
        if seconds := duration(run):
            self.rates.append(events / seconds)
            self.seconds_bytes.append(events / seconds * (inline + external))
        for name in Descriptor(descriptor).data_keys:
            known = self.latest.get(name)
            if known is None or run.start["time"] >= known[0].start["time"]:
                self.latest[name] = run, descriptor


def study(
    catalog: Catalog,
    access: Access,
    *,
    since: float = -math.inf,
    max_runs: int = MAX_RUNS,
    sample: int = SAMPLE_RUNS,
) -> CatalogRates:
    """The data rates of a catalog, as far as the access lets its runs be seen.

    since: epoch seconds. Raises headers.mongo.CatalogUnavailable.
    """
    runs = Runs(catalog, access)
    wanted = Wanted(since={catalog.name: since}) if since > -math.inf else Wanted()
    index = fresh_index([catalog], settings.CATALOGS)
    found = Listing(access, index.catalogs).page(wanted, max_runs)
    chosen = _drawn([id_of(entry.document) for entry in found], sample)
    uses: dict[str, _Use] = defaultdict(_Use)
    for begin in range(0, len(chosen), RUNS_AT_ONCE):
        for run in runs.among(chosen[begin : begin + RUNS_AT_ONCE], descriptors=True):
            _add(uses, run)
    days = Counter(_day(entry.time, catalog.timezone) for entry in found)
    return CatalogRates(
        catalog=catalog.name,
        title=catalog.title,
        since=since if math.isfinite(since) else None,
        runs=len(found),
        sampled=len(chosen),
        truncated=len(found) == max_runs,
        days=dict(sorted(days.items())),
        runs_per_day=Spread.of(days.values()),
        streams=tuple(_stream(name, use) for name, use in sorted(uses.items())),
    )


def _day(moment: float, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(moment, zone).date().isoformat()


def duration(run: Run) -> float | None:
    """Seconds from the start to the stop document; None without a stop or with odd times."""
    begin, end = run.start.get("time"), (run.stop or {}).get("time")
    if not isinstance(begin, int | float) or not isinstance(end, int | float) or end <= begin:
        return None
    return float(end - begin)


def external_bytes(descriptor: Doc) -> int:
    """Bytes in files of one event, as the data keys declare them."""
    keys = Descriptor(descriptor).data_keys.values()
    return sum(bytes_per_event(key) for key in keys if key.get("external"))


def inline_bytes(descriptor: Doc) -> int:
    """Bytes of an event's values that are in the event document, as declared."""
    keys = Descriptor(descriptor).data_keys.values()
    return sum(bytes_per_event(key) for key in keys if not key.get("external"))


def _drawn(uids: Sequence[str], count: int) -> list[str]:
    if len(uids) <= count:
        return list(uids)
    return random.Random(0).sample(uids, count)  # noqa: S311  (statistics, not secrets)


def _add(uses: dict[str, _Use], run: Run) -> None:
    latest = {stream_name(doc): doc for doc in run.descriptors}
    counts = recorded_counts(run.stop, latest)
    if counts is None:
        counts = Counter()
        by_descriptor = Events(run).counts()
        for doc in run.descriptors:
            counts[stream_name(doc)] += by_descriptor.get(str(doc.get("uid")), 0)
    for name, descriptor in latest.items():
        uses[name].add(run, descriptor, counts[name])


def _stream(name: str, use: _Use) -> StreamRates:
    events, external = Spread.of(use.events), Spread.of(use.external)
    choices = _choices(use.latest, int(events.p95 or 0))
    bytes_per_second = Spread.of(use.seconds_bytes)
    return StreamRates(
        name=name,
        runs=len(use.events),
        events_per_run=events,
        event_rate=Spread.of(use.rates),
        inline_bytes_per_event=Spread.of(use.inline),
        external_bytes_per_event=external,
        bytes_per_second=bytes_per_second,
        event_sources=_grouped(choices),
        advice=_advice(choices, events),
    )


def _choices(latest: Mapping[str, tuple[Run, Doc]], events: int) -> dict[str, ChosenSource]:
    """The event source of each field, for runs of so many events."""
    newest = {str(doc.get("uid")): (run, doc) for run, doc in latest.values()}
    specs = {uid: _specs(run, doc) for uid, (run, doc) in newest.items()}
    return {
        name: choose(
            Descriptor(descriptor).data_keys[name],
            spec=specs[str(descriptor.get("uid"))].get(name),
            handlers=run.catalog.handlers,
            events=events,
        )
        for name, (run, descriptor) in latest.items()
    }


def _specs(run: Run, descriptor: Doc) -> dict[str, str]:
    """Of the external fields, the spec of the resource that the first event refers to."""
    uid = descriptor.get("uid")
    externals = external_fields([descriptor])
    if type(uid) is not str or not externals[uid]:
        return {}
    events = Events(run)
    ids = {}
    for event in events.page([uid], 1):
        ids = datum_ids(event, externals)
    references = events.references(ids.values())
    return {
        name: str(references[datum_id].resource.get("spec"))
        for name, datum_id in ids.items()
        if datum_id in references
    }


def _grouped(choices: Mapping[str, ChosenSource]) -> tuple[FieldSource, ...]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, choice in choices.items():
        groups[choice.source.value, choice.route.value].append(name)
    return tuple(FieldSource(*kind, tuple(names)) for kind, names in sorted(groups.items()))


ROUTE_ADVICE = {
    "inline": "events/ carries the values",
    "table": "streams/…/table/ as Arrow carries the scalars",
    "array": "streams/…/data/FIELD/ as binary carries the arrays, in slices",
    "none": "not served from here: recorded elsewhere, or no handler is enabled",
}


def _advice(choices: Mapping[str, ChosenSource], events: Spread) -> str:
    """In words, which routes serve a stream that has so many events in a run."""
    routes = dict.fromkeys(sorted(choice.route.value for choice in choices.values()))
    many = f" (p95 {events.p95:,.0f} events a run)" if "table" in routes else ""
    return "; ".join(ROUTE_ADVICE[route] for route in routes) + many
