"""What lists, counts and facets ask of the index, within the access rule.

Who may read is decided by columns (`headers.index.rule`); the documents of the runs found
are judged once more when they are served. SQLite, which keeps no statistics, is told with
`Unindexed` which index not to take; PostgreSQL decides by itself.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Count, Exists, F, Func, OuterRef, Q, QuerySet, Sum

from headers.catalogs import Catalog
from headers.index.counts import COUNTED_COLUMNS, OF_ALL
from headers.index.models import IndexedRun, RunCount, RunValue
from headers.index.rows import facet_paths, indexable_text
from headers.index.rule import Proposals, proposals_of, readable
from headers.index.words import MOST_READ, having, runs_with, runs_with_rare_words
from policies.rule.access import Access
from policies.rule.proposal_paths import INT64

FEW = 20_000
"""rows that are sorted rather than looked for in the order of the list"""
FEW_SOURCES = 8
TRIED_AT_ONCE, TRIES = 500, 4
COLUMNS = ("plan_name", "scan_id", "exit_status", "catalog", "proposal", "owner")
"""facets that are columns; of these only texts and whole numbers are told"""
FACET_VALUES = 100
LAST_LETTER = "\U0010ffff"
Scalar = str | float | bool
ORDERINGS = ("-time", "time", "-scan_id", "scan_id")


class Unindexed(Func):
    """A column whose index SQLite is not to use here."""

    template = "%(expressions)s"

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="+%(expressions)s", **extra)


class TooManyValues(Exception):
    """All values were asked for, and there are more than that many."""


class ValueCounts:
    """How many runs have each value. True and 1, equal in Python, are two in a document."""

    def __init__(self, every: int | None = None) -> None:
        """every: keep all, of at most so many; else the most frequent are wanted."""
        self._every = every
        self._counts: dict[tuple[bool, Any], int] = defaultdict(int)

    def add(self, found: Iterable[tuple[Any, int]]) -> None:
        for value, count in found:
            self._counts[isinstance(value, bool), value] += count
            if self._every is not None and len(self._counts) > self._every:
                raise TooManyValues(f"There are more than {self._every} values.")

    def most_frequent(self) -> list[tuple[Scalar, int]]:
        found = [(value, count) for (_, value), count in self._counts.items() if count]
        found.sort(key=lambda item: (-item[1], str(item[0])))
        return found[: self._every or FACET_VALUES]


NO_HINT = Q()
EVERY_RUN = ("", "")
COUNTED_FILTERS = ("plan_name", "exit_status")
EVERY_PROPOSAL = Proposals()


class IndexPlace(NamedTuple):
    """A place in the order of a list."""

    time: float
    catalog: str
    document: bytes
    scan_id: int | None = None


class Entry(NamedTuple):
    """A run as the index knows it; `key` is that of its row."""

    key: int
    source: int
    catalog: str
    document: bytes
    uid: str | None
    time: float
    scan_id: int | None

    @property
    def place(self) -> IndexPlace:
        return IndexPlace(self.time, self.catalog, self.document, self.scan_id)


@dataclass(frozen=True)
class Wanted:
    """The filters of a list. Every one that is given must hold."""

    proposal: str | None = None
    plan_name: str | None = None
    scan_id: int | None = None
    uid: str | None = None
    """a prefix"""
    since: Mapping[str, float] = field(default_factory=dict)
    """catalog → inclusive, epoch seconds, as catalogs have time zones"""
    until: Mapping[str, float] = field(default_factory=dict)
    """catalog → exclusive"""
    exit_status: str | None = None
    search: str = ""
    motors: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    sample: str | None = None
    """part of the name, in any case"""
    lookup: str = ""
    """what is typed to find a run: its scan id, its proposal or the beginning of its uid"""
    also: Q = NO_HINT
    """a further condition on rows"""

    def q(self) -> Q:
        """What columns of a row tell."""
        exact = {
            "proposal": self.proposal,
            "plan_name": self.plan_name,
            "scan_id": self.scan_id,
            "exit_status": self.exit_status,
        }
        found = Q(**{name: value for name, value in exact.items() if value is not None})
        if self.uid:
            found &= Q(uid__gte=self.uid, uid__lt=self.uid + LAST_LETTER)
        if self.sample:
            names = IndexedRun.objects.filter(sample__contains=self.sample.casefold())
            found &= Q(sample__in=names.order_by().values("sample").distinct())
        if self.lookup:
            found &= _looked_up(self.lookup)
        return found & self.also & _bounds("gte", self.since) & _bounds("lt", self.until)

    def values(self) -> list[tuple[str, str]]:
        """(path, value as JSON) of what many-valued fields must contain."""
        pairs = [("motors", name) for name in self.motors]
        pairs += [("detectors", name) for name in self.detectors]
        return [(path, json.dumps(name)) for path, name in pairs]


class SourceGroup(NamedTuple):
    """Sources in which the same proposals may be read."""

    proposals: Proposals
    sources: list[int]


@dataclass(frozen=True)
class Listing:
    """The runs of some sources that an access allows."""

    access: Access
    sources: Mapping[int, Catalog]
    """those to be listed, by primary key"""
    also: Mapping[int, Proposals] = field(default_factory=dict)
    """source → the proposals to be listed of those that may be read; all if it is left out"""

    # -- pages -----------------------------------------------------------------------------

    def page(
        self,
        wanted: Wanted,
        limit: int,
        *,
        ordering: str = "-time",
        after: IndexPlace | None = None,
        also: Q = NO_HINT,
    ) -> list[Entry]:
        """At most `limit` runs in order, those behind `after`, whose rows satisfy `also`.

        By scan id, runs without one are left out.
        """
        wanted = _named(replace(wanted, also=also) if also else wanted)
        if wanted.search.strip():
            return self._searched(wanted, limit, ordering, after)
        return self._next(wanted, limit, ordering, after)

    def newest(self, number: int) -> Entry | None:
        """The run that is the number-th newest, from 1, of those with a uid."""
        rows = self._ordered(Wanted(also=Q(uid__isnull=False)), "-time", None, number)
        return next(islice(rows, number - 1, number), None)

    def starting_with(self, prefix: str) -> list[str]:
        """At most two uids that start with the prefix."""
        rows = self._visible(Wanted(uid=prefix), any_time=True).order_by("uid")
        return [str(uid) for uid in rows.values_list("uid", flat=True).distinct()[:2]]

    def by_scan_id(self, scan_id: int) -> Entry | None:
        """The newest run of this scan id."""
        return next(iter(self.page(Wanted(scan_id=scan_id), 1)), None)

    # -- numbers ---------------------------------------------------------------------------

    def count(self, wanted: Wanted) -> int:
        counted = _counted(wanted)
        if counted is None:
            return sum(rows.count() for rows in self._parts_of(wanted))
        return sum(
            _totals(part, wanted, *counted).aggregate(sum=Sum("runs"))["sum"] or 0
            for part in self.parts
        )

    def facet(
        self, wanted: Wanted, path: str, every: int | None = None
    ) -> list[tuple[Scalar, int]]:
        """The most frequent values at a path that the index holds, most frequent first.

        every: give all, of which there are at most so many; TooManyValues if there are more.
        """
        counts = ValueCounts(every)
        counted = _counted(wanted)
        for part, rows in zip(self.parts, self._parts_of(wanted), strict=True):
            if counted is not None and path == "proposal":
                counts.add(_summed(_counts(part, wanted, *counted), path))
            elif counted is not None and path == "catalog":
                counts.add(_summed(_totals(part, wanted, *counted), path))
            elif counted == EVERY_RUN and path != "scan_id" and not _few_proposals(part):
                counted_at = f".{path}" if path in COUNTED_COLUMNS else path
                counts.add(_summed(_totals(part, wanted, counted_at), path))
            else:
                counts.add(_facet(rows, path))
        return counts.most_frequent()

    def facet_among(
        self, keys: Iterable[int], path: str, every: int | None = None
    ) -> list[tuple[Scalar, int]]:
        """The same of some rows, by primary key, whatever they are."""
        counts = ValueCounts(every)
        remaining = iter(keys)
        while some := list(islice(remaining, TRIED_AT_ONCE)):
            counts.add(_facet(IndexedRun.objects.filter(pk__in=some), path))
        return counts.most_frequent()

    def rows(self, wanted: Wanted) -> list["QuerySet[IndexedRun]"]:
        """Of those wanted, for other sums; each run is in one of the querysets."""
        return self._parts_of(wanted)

    # -- how -------------------------------------------------------------------------------

    @cached_property
    def parts(self) -> list[SourceGroup]:
        """The same for all questions; with thousands of proposals it takes its time."""
        found: dict[Proposals, list[int]] = defaultdict(list)
        for proposals, keys in readable(self.access, self.sources).items():
            for key in keys:
                found[proposals & self.also.get(key, EVERY_PROPOSAL)].append(key)
        return [
            SourceGroup(proposals, keys) for proposals, keys in found.items() if not proposals.empty
        ]

    def _parts_of(self, wanted: Wanted) -> list["QuerySet[IndexedRun]"]:
        others = _named(replace(wanted, search=""))
        rows = _selected(others).filter(time__isnull=False)
        parts = [_readable(rows, part, others) for part in self.parts]
        if not wanted.search.strip():
            return parts
        return [_having_words(part, wanted.search) for part in parts]

    def _visible(self, wanted: Wanted, *, any_time: bool = False) -> "QuerySet[IndexedRun]":
        """Rows found by an equality or a prefix, whatever the caller may read."""
        rows = _selected(wanted).alias(hidden=Unindexed("source"), of=Unindexed("proposal"))
        either = Q(pk__in=[])
        for part in self.parts:
            either |= part.proposals.q("of") & Q(hidden__in=part.sources)
        return rows.filter(either) if any_time else rows.filter(either, time__isnull=False)

    def _next(
        self, wanted: Wanted, limit: int, ordering: str, after: IndexPlace | None
    ) -> list[Entry]:
        return list(islice(self._ordered(wanted, ordering, after, limit), limit))

    def _searched(
        self, wanted: Wanted, limit: int, ordering: str, after: IndexPlace | None
    ) -> list[Entry]:
        """The same for words: tried on the next runs first, of which many have frequent words.

        Databases collect all runs with the words before they sort them, or go over all runs.
        """
        others, found = replace(wanted, search=""), []
        size = max(limit, TRIED_AT_ONCE)
        for _ in range(TRIES):
            entries = self._next(others, size, ordering, after)
            keys = having([entry.key for entry in entries], wanted.search)
            found += [entry for entry in entries if entry.key in keys]
            if len(found) >= limit or len(entries) < size:
                return found[:limit]
            after = entries[-1].place
        rare = runs_with_rare_words(wanted.search, FEW)
        if rare is not None:
            wanted = replace(others, also=others.also & Q(pk__among=rare))
        return found + self._next(wanted, limit - len(found), ordering, after)

    def _ordered(
        self, wanted: Wanted, ordering: str, after: IndexPlace | None, limit: int
    ) -> Iterator[Entry]:
        found: list[list[Entry]] = []
        for part in self.parts:
            for rows in self._plans(part, wanted, ordering):
                ordered = _behind(rows, ordering, after).order_by(*_order(rows, ordering))
                found.append(_entries(ordered[:limit], ordering))
        return heapq.merge(*found, key=_sort_key(ordering), reverse=ordering.startswith("-"))

    def _plans(
        self, part: SourceGroup, wanted: Wanted, ordering: str
    ) -> Iterable["QuerySet[IndexedRun]"]:
        """How to find rows of a part in order: each queryset is served by an index."""
        rows = _selected(wanted, in_order=True).filter(time__isnull=False)
        if "scan_id" in ordering:
            rows = rows.filter(scan_id__isnull=False)
        if _few_proposals(part):
            return [_sorted(rows.filter(part.proposals.q(), _of(part.sources)))]
        if wanted.proposal is not None:
            of = rows.alias(hidden=Unindexed("source"))
            return [of.filter(hidden__in=part.sources)] if wanted.proposal in part.proposals else []
        inside = rows.alias(of=Unindexed("proposal")).filter(part.proposals.q("of"))
        narrow = len(part.sources) <= FEW_SOURCES and "scan_id" not in ordering
        if narrow and wanted.q() == _times(wanted):
            return [inside.filter(source=source) for source in part.sources]
        return [inside.alias(hidden=Unindexed("source")).filter(hidden__in=part.sources)]


def _readable(
    rows: "QuerySet[IndexedRun]", part: SourceGroup, wanted: Wanted
) -> "QuerySet[IndexedRun]":
    """Rows of a part in no order, by the index that leaves the fewest."""
    rows = rows.alias(hidden=Unindexed("source"), of=Unindexed("proposal"))
    if _few_proposals(part):
        return rows.filter(part.proposals.q(), hidden__in=part.sources)
    plain = wanted.q() == _times(wanted) and len(part.sources) <= FEW_SOURCES
    return rows.filter(
        part.proposals.q("of"), **{"source__in" if plain else "hidden__in": part.sources}
    )


def _few_proposals(part: SourceGroup) -> bool:
    named = part.proposals.included is not None
    return named and _few(IndexedRun.objects.filter(part.proposals.q()))


def _looked_up(text: str) -> Q:
    found = Q(proposal=text) | Q(uid__gte=text, uid__lt=text + LAST_LETTER)
    number = int(text) if text.isascii() and text.isdecimal() else None
    return found | Q(scan_id=number) if number is not None and number in INT64 else found


def _times(wanted: Wanted) -> Q:
    return _bounds("gte", wanted.since) & _bounds("lt", wanted.until)


def _bounds(comparison: str, times: Mapping[str, float]) -> Q:
    """One bound where all catalogs have the same, else one for each."""
    by_time: dict[float, list[str]] = defaultdict(list)
    for catalog, moment in times.items():
        by_time[moment].append(catalog)
    if len(by_time) < 2:
        return Q(**{f"time__{comparison}": moment for moment in by_time})
    either = Q()
    for moment, catalogs in by_time.items():
        either |= Q(catalog__in=catalogs, **{f"time__{comparison}": moment})
    # Bounded on its own, too, for the index.
    outer = min(by_time) if comparison == "gte" else max(by_time)
    return either & Q(**{f"time__{comparison}": outer})


def _selected(wanted: Wanted, *, in_order: bool = False) -> "QuerySet[IndexedRun]":
    """Rows that satisfy the filters, all of them or the first in order."""
    rows = IndexedRun.objects.filter(wanted.q())
    for path, value in wanted.values():
        having = RunValue.objects.filter(path=path, value=value)
        if in_order and not _few(having):
            rows = rows.filter(Exists(having.filter(run=OuterRef("pk"))))
        else:
            rows = rows.filter(pk__in=having.values("run"))
    found = runs_with(wanted.search)
    if wanted.search.strip():
        rows = rows.none() if found is None else rows.filter(pk__in=found)
    return rows


def _having_words(rows: "QuerySet[IndexedRun]", search: str) -> "QuerySet[IndexedRun]":
    """Those of the rows whose runs have the words."""
    keys = list(rows.order_by().values_list("pk", flat=True)[: MOST_READ + 1])
    if len(keys) <= MOST_READ:
        return IndexedRun.objects.filter(pk__among=having(keys, search))
    rare = runs_with_rare_words(search, FEW) if connection.vendor == "sqlite" else None
    if rare is not None:
        return rows.filter(pk__among=rare)
    found = runs_with(search)
    return rows.none() if found is None else rows.filter(pk__in=found)


def _named(wanted: Wanted) -> Wanted:
    """The same with the names of samples that have the wanted part, so that an index finds them."""
    if not wanted.sample:
        return wanted
    rows = IndexedRun.objects.filter(sample__contains=wanted.sample.casefold()).order_by()
    names = list(rows.values_list("sample", flat=True).distinct()[: FEW + 1])
    if len(names) > FEW:
        return wanted
    return replace(wanted, sample=None, also=wanted.also & Q(sample__among=names))


def _few(rows: "QuerySet[Any]") -> bool:
    return rows.order_by()[: FEW + 1].count() <= FEW


def _of(sources: list[int]) -> Q:
    return Q(source__in=sources)


def _sorted(rows: "QuerySet[IndexedRun]") -> "QuerySet[IndexedRun]":
    return rows.alias(by_time=Unindexed("time"))


def _order(rows: "QuerySet[IndexedRun]", ordering: str) -> list[Any]:
    names = [ordering.lstrip("-"), "time", "catalog", "document"]
    other = {"time": "by_time"} if "by_time" in rows.query.annotations else {}
    columns = [F(other.get(name, name)) for name in dict.fromkeys(names)]
    return [column.desc() if ordering[0] == "-" else column.asc() for column in columns]


def _behind(
    rows: "QuerySet[IndexedRun]", ordering: str, after: IndexPlace | None
) -> "QuerySet[IndexedRun]":
    if after is None:
        return rows
    bound, beyond = ("lte", "lt") if ordering[0] == "-" else ("gte", "gt")
    columns = ["scan_id"] if "scan_id" in ordering else []
    columns += ["time", "catalog", "document"]
    first = columns[0]
    later = Q()
    for name in reversed(columns):
        at = getattr(after, name)
        later = Q(**{f"{name}__{beyond}": at}) | (
            Q(**{name: at}) & later if later else Q(pk__in=[])
        )
    # Bounded on its own, too, for the index.
    return rows.filter(Q(**{f"{first}__{bound}": getattr(after, first)}) & later)


def _sort_key(ordering: str) -> Any:
    if "scan_id" in ordering:
        return lambda entry: (entry.scan_id, entry.time, entry.catalog, entry.document)
    return lambda entry: (entry.time, entry.catalog, entry.document)


def _entries(rows: "QuerySet[IndexedRun]", ordering: str) -> list[Entry]:
    # Found, and sorted where they have to be, by what an index holds; only then the rows are read.
    found = IndexedRun.objects.filter(pk__in=rows.values("pk"))
    columns = ("pk", "source", "catalog", "document", "uid", "time", "scan_id")
    return sorted(
        (
            Entry(key, source, catalog, bytes(document), uid, time, scan_id)
            for key, source, catalog, document, uid, time, scan_id in found.values_list(*columns)
        ),
        key=_sort_key(ordering),
        reverse=ordering.startswith("-"),
    )


def _facet(rows: "QuerySet[IndexedRun]", path: str) -> Iterator[tuple[Any, int]]:
    if path in COLUMNS:
        return _shown(path, _grouped(rows, path, Count("*")))
    # From the rows to their values: there are fewer rows than values at the path.
    values = rows.alias(at=Unindexed("runvalue__path")).filter(at=path)
    return _shown(path, _grouped(values, "runvalue__value", Count("*")))


def _summed(counts: "QuerySet[RunCount]", path: str) -> Iterator[tuple[Any, int]]:
    if path == "catalog":
        return _grouped(counts, "source__catalog", Sum("runs"))
    if path == "proposal":
        return _shown(path, _grouped(counts, path, Sum("runs")))
    return _shown(path, _grouped(counts, "value", Sum("runs")))


def _grouped(rows: "QuerySet[Any]", column: str, number: Any) -> Iterator[tuple[Any, int]]:
    grouped = rows.order_by().values_list(column).annotate(number=number)
    # What comes piece by piece PostgreSQL plans for its first part, and for one process.
    return iter(grouped) if connection.vendor == "postgresql" else grouped.iterator()


def _shown(path: str, grouped: Iterable[tuple[Any, int]]) -> Iterator[tuple[Any, int]]:
    """The values of a facet as they are told, from those that rows hold."""
    for value, count in grouped:
        if path not in COLUMNS:
            yield json.loads(value), count
        elif value is not None and (value != "" or path not in ("proposal", "owner")):
            yield value, count


def _counted(wanted: Wanted) -> tuple[str, str] | None:
    """(path, value) of the counts that tell it, but for the proposal; None if none do."""
    given = wanted.values()
    named = ((name, getattr(wanted, name)) for name in COUNTED_FILTERS)
    given += [(f".{name}", value) for name, value in named if value is not None]
    rest = replace(wanted, proposal=None, plan_name=None, exit_status=None, motors=(), detectors=())
    if len(given) > 1 or rest != Wanted():
        return None
    return given[0] if given else EVERY_RUN


def _counts(part: SourceGroup, wanted: Wanted, *counted: str) -> "QuerySet[RunCount]":
    """The counts at a path, and of a value if it is given, of what may be read of a part."""
    proposals = part.proposals
    if wanted.proposal is not None:
        proposals &= Proposals(frozenset({wanted.proposal}))
    found = dict(zip(("path", "value"), counted, strict=False))
    return RunCount.objects.filter(proposals.q(), source__in=part.sources, **found)


def _totals(part: SourceGroup, wanted: Wanted, path: str, *value: str) -> "QuerySet[RunCount]":
    """The same, but for the proposal: where all may be read, from fewer counts."""
    if wanted.proposal is None and part.proposals == EVERY_PROPOSAL:
        path = f"{OF_ALL}{path}"
    return _counts(part, wanted, path, *value)


def holding(uid: str, catalogs: Sequence[Catalog], access: Access) -> list[Catalog]:
    """Those of the catalogs that hold a run of this uid for this access, as the index knows."""
    if indexable_text(uid) is None:
        return []
    rows = IndexedRun.objects.filter(uid=uid).values_list("catalog", "proposal")
    known = [(name, str(proposal)) for name, proposal in rows[:100]]
    return [
        catalog
        for catalog in catalogs
        if any(
            name == catalog.name and proposal in proposals_of(access.rule(catalog))
            for name, proposal in known
        )
    ]


def indexed_paths(catalogs: Iterable[Catalog]) -> frozenset[str]:
    """The paths whose facets the index holds for all of these catalogs."""
    further = [facet_paths(catalog) for catalog in catalogs]
    return frozenset(COLUMNS) | (
        frozenset.intersection(*map(frozenset, further)) if further else frozenset()
    )
