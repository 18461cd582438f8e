"""Runs of several catalogs: found in the index, fetched from the catalogs that hold them.

What the index does not hold, a caller's conditions on other paths, is judged by MongoDB
on runs that the caller may read, in order and a chunk at a time, as long as the budget
lasts. So such a list may stop early and says where; it never fails for being rare.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import structlog
from django.conf import settings

from broker_site.timing import phase
from headers.catalogs import Catalog
from headers.index.catch_up import Index, fresh_index
from headers.index.hints import hints
from headers.index.keys import id_of
from headers.index.listing import Entry, IndexPlace, Listing, ValueCounts, Wanted, indexed_paths
from headers.index.repositories import Documents
from headers.index.rule import Proposals
from headers.index.store import remove_rows
from headers.index.sums import Sums, sums_among, sums_of
from headers.mongo import CatalogUnavailable
from headers.queries import Query
from headers.repositories import ALL, Run, Runs
from headers.side_by_side import answers_of
from policies.rule.access import Access

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")
Scalar = str | float | bool

CHUNK = 1000
"""runs whose documents are judged at once"""
BUDGET_SHARE = 0.5
"""the part of the time limit of a query in which chunks are judged"""


class CatalogsUnavailable(Exception):
    """Catalogs that might hold the answer are away; `names` says which."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"no answer from {', '.join(names)}")
        self.names = list(names)


class RunPage(NamedTuple):
    """A page in the order asked for; shorter where documents are gone or the budget was over."""

    runs: list[Run]
    first: IndexPlace | None
    """of the first run; None on an empty page"""
    last: IndexPlace | None
    """where to go on; None at the end of the list"""


@dataclass
class IndexedRuns:
    """The runs of the index's catalogs that an access allows."""

    index: Index
    access: Access
    proposals: Mapping[int, Proposals] = field(default_factory=dict)
    """source → only these of the proposals that may be read; all if it is left out"""
    unavailable: set[str] = field(default_factory=set)
    """catalogs whose documents could not be fetched, or that could not be caught up"""
    searched_to: IndexPlace | None = None
    """where conditions were judged no further, because the budget was over"""

    @classmethod
    def of(cls, catalogs: Sequence[Catalog], access: Access) -> "IndexedRuns":
        """Over the index as fresh as it can be. CatalogsUnavailable if none of them answers."""
        with phase("index"):
            runs = cls(fresh_index(catalogs, settings.CATALOGS), access)
        runs._require_any()
        return runs

    def __post_init__(self) -> None:
        self.listing = Listing(self.access, self.index.catalogs, self.proposals)
        readable = {
            self.index.catalogs[key].name for part in self.listing.parts for key in part.sources
        }
        self.unavailable |= readable & set(self.index.unavailable)
        self._readable = readable

    def narrowed(self, catalog: Catalog, proposals: Proposals) -> "IndexedRuns":
        """Those runs of one catalog that are of these proposals."""
        found = {key: known for key, known in self.index.catalogs.items() if known == catalog}
        sources = {key: self.index.sources[key] for key in found}
        return IndexedRuns(Index(sources, found), self.access, dict.fromkeys(found, proposals))

    @property
    def incomplete(self) -> dict[str, float]:
        """catalog → epoch seconds of the oldest run that was looked at, where there may be more."""
        unfilled = self.index.incomplete
        seen = self._readable - self.unavailable
        found = {name: moment for name, moment in unfilled.items() if name in seen}
        if self.searched_to is not None:
            found |= dict.fromkeys(seen, self.searched_to.time)
        return found

    def page(
        self,
        wanted: Wanted,
        limit: int,
        *,
        query: Query = ALL,
        ordering: str = "-time",
        after: IndexPlace | None = None,
        descriptors: bool = False,
    ) -> RunPage:
        """At most `limit` runs behind a place."""
        if query == ALL:
            return self._page(wanted, limit, ordering, after, descriptors)
        found: list[tuple[Entry, Run]] = []
        for entries in self._chunks(wanted, query, ordering, after, limit + 1):
            found += self._with_runs(entries, query, descriptors)
            if len(found) > limit:
                return _page(found[:limit], found[limit - 1][0].place)
        return _page(found, self.searched_to)

    def fetch(self, entry: Entry, *, descriptors: bool = True) -> Run | None:
        """One run found by a key; None if it is not there any more, or not to be read."""
        return self._fetched([entry], ALL, descriptors).get(entry.key)

    def count(self, wanted: Wanted, query: Query = ALL) -> int:
        """How many runs there are; of those looked at, where the budget was over."""
        if query == ALL:
            with phase("index"):
                return self.listing.count(wanted)
        return sum(len(entries) for entries in self._matching(wanted, query))

    def facet(
        self, wanted: Wanted, path: str, query: Query = ALL, every: int | None = None
    ) -> list[tuple[Scalar, int]]:
        """The 100 most frequent scalar values of a field, most frequent first.

        `catalog`, `beamline` and `proposal` are what the service says of a run;
        anything else is a dotted path into the start document.
        every: give all, of which there are at most so many; TooManyValues if there are more.
        """
        if path == "beamline":
            beamlines = {c.name: c.beamline for c in self.index.catalogs.values()}
            counts = ValueCounts(every)
            counts.add(
                (beamlines[str(name)], number)
                for name, number in self.facet(wanted, "catalog", query, every)
            )
            return counts.most_frequent()
        if path not in indexed_paths(self.index.catalogs.values()):
            return self._facet_of_documents(wanted, path, query, every)
        if query == ALL:
            with phase("index"):
                return self.listing.facet(wanted, path, every)
        matching = (entry.key for entries in self._matching(wanted, query) for entry in entries)
        return self.listing.facet_among(matching, path, every)

    def sums(self, wanted: Wanted, query: Query, sums: Sums) -> Sums:
        """How many runs, events and seconds, and how many runs in each span, added to `sums`."""
        if query == ALL:
            with phase("index"):
                return sums_of(self.listing, wanted, sums)
        return sums_among(
            (entry.key for entries in self._matching(wanted, query) for entry in entries), sums
        )

    # -- how -------------------------------------------------------------------------------

    def _require_any(self) -> None:
        if self._readable and self._readable <= self.unavailable:
            raise CatalogsUnavailable(sorted(self.unavailable))

    def _page(
        self,
        wanted: Wanted,
        limit: int,
        ordering: str,
        after: IndexPlace | None,
        descriptors: bool,
    ) -> RunPage:
        """One that the index alone decides."""
        with phase("index"):
            # One more tells whether there is a further page.
            entries = self.listing.page(wanted, limit + 1, ordering=ordering, after=after)
        last = entries[limit - 1].place if len(entries) > limit else None
        return _page(self._with_runs(entries[:limit], ALL, descriptors), last)

    def _with_runs(
        self, entries: Sequence[Entry], query: Query, descriptors: bool
    ) -> list[tuple[Entry, Run]]:
        runs = self._fetched(entries, query, descriptors)
        return [(entry, runs[entry.key]) for entry in entries if entry.key in runs]

    def _chunks(
        self, wanted: Wanted, query: Query, ordering: str, after: IndexPlace | None, size: int
    ) -> Iterator[list[Entry]]:
        """What may satisfy the conditions, in order, in parts that grow while time is left."""
        deadline = monotonic() + settings.QUERY_SECONDS * BUDGET_SHARE
        also = hints(query)
        while True:
            with phase("index"):
                entries = self.listing.page(wanted, size, ordering=ordering, after=after, also=also)
            if entries:
                yield entries
            if len(entries) < size:
                return
            after = entries[-1].place
            if monotonic() > deadline:
                self.searched_to = after
                return
            size = max(size, min(2 * size, CHUNK))

    def _matching(self, wanted: Wanted, query: Query) -> Iterator[list[Entry]]:
        """The entries that satisfy the conditions, in chunks, as far as the budget lasts."""
        for entries in self._chunks(wanted, query, "-time", None, CHUNK):
            found = self._ask(entries, lambda runs, ids: runs.matching(ids, query))
            matching = {name: set(map(_hashable, ids)) for name, ids in found.items()}
            yield [
                entry
                for entry in entries
                if _hashable(id_of(entry.document)) in matching.get(entry.catalog, ())
            ]

    def _facet_of_documents(
        self, wanted: Wanted, path: str, query: Query, every: int | None
    ) -> list[tuple[Scalar, int]]:
        counts = ValueCounts(every)
        for entries in self._chunks(wanted, query, "-time", None, CHUNK):
            for values in self._ask(
                entries, lambda runs, ids: runs.facet(ids, query, path)
            ).values():
                counts.add(
                    (value, number)
                    for value, number in values
                    if isinstance(value, str | int | float) and isinstance(value, Hashable)
                )
        return counts.most_frequent()

    def _fetched(self, entries: Sequence[Entry], query: Query, descriptors: bool) -> dict[int, Run]:
        """The runs of these entries that are there, satisfy the conditions and may be read."""
        found: dict[int, Run] = {}
        answers = self._ask(
            entries, lambda runs, ids: runs.among(ids, query, descriptors=descriptors)
        )
        for catalog, some in self._by_catalog(entries):
            if catalog.name not in answers:
                continue
            by_id = {_hashable(run.document): run for run in answers[catalog.name]}
            for entry in some:
                run = by_id.get(_hashable(id_of(entry.document)))
                if run is not None:
                    found[entry.key] = run
            if query == ALL:
                self._forget(catalog, [entry for entry in some if entry.key not in found])
        return found

    def _by_catalog(self, entries: Sequence[Entry]) -> Iterator[tuple[Catalog, list[Entry]]]:
        found: dict[int, list[Entry]] = defaultdict(list)
        for entry in entries:
            found[entry.source].append(entry)
        for source, some in found.items():
            yield self.index.catalogs[source], some

    def _forget(self, catalog: Catalog, missing: Sequence[Entry]) -> None:
        """Takes rows out of the index whose documents have been removed."""
        if not missing:
            return
        try:
            present = Documents(catalog).present([entry.document for entry in missing])
        except CatalogUnavailable as error:
            log.warning("catalog unavailable", catalog=catalog.name, reason=str(error))
            return
        remove_rows([entry.key for entry in missing if entry.document not in present])

    def _ask(
        self, entries: Sequence[Entry], question: Callable[[Runs, list[Any]], Answer]
    ) -> dict[str, Answer]:
        """What the catalogs that hold these entries answer about their documents' `_id`s.

        Those that do not answer are noted as unavailable; CatalogsUnavailable if all are.
        """
        held = {
            catalog.name: (Runs(catalog, self.access), [id_of(entry.document) for entry in some])
            for catalog, some in self._by_catalog(entries)
        }
        answers = answers_of(
            [runs for runs, _ in held.values()],
            lambda runs: question(runs, held[runs.catalog.name][1]),
        )
        self.unavailable |= set(held) - set(answers)
        self._require_any()
        return answers


def _page(found: Sequence[tuple[Entry, Run]], last: IndexPlace | None) -> RunPage:
    return RunPage([run for _, run in found], found[0][0].place if found else None, last)


def _hashable(document_id: Any) -> Any:
    return repr(document_id) if isinstance(document_id, dict | list) else document_id
