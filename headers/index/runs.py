"""Runs of several catalogs: found in the index, fetched from the catalogs that hold them.

What the index does not hold, a caller's conditions on other paths, is judged by MongoDB
on runs that the caller may read, in order and a chunk at a time, as long as the budget
lasts. So such a list may stop early and says where; it never fails for being rare.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple, TypeVar

import structlog
from django.conf import settings

from headers.catalogs import Catalog
from headers.index.catch_up import Index
from headers.index.keys import id_of
from headers.index.listing import Entry, IndexPlace, Listing, Wanted
from headers.index.repositories import Documents
from headers.index.store import remove_rows
from headers.mongo import CatalogUnavailable
from headers.repositories import Run, Runs
from headers.selection import Selection
from policies.rule.access import Access

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

CHUNK = 1000
"""runs whose documents are judged at once"""
BUDGET_SHARE = 0.5
"""the part of the time limit of a query in which chunks are judged"""
Conditions = Mapping[str, Selection]
"""by catalog, what the index does not hold: `start` and `joined` of a selection"""
NO_CONDITIONS: Conditions = {}
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="runs")


class RunPage(NamedTuple):
    """A page in the order asked for."""

    runs: list[Run]
    last: IndexPlace | None
    """where to go on; None at the end of the list"""
    stopped: bool
    """the budget was over before the page was full"""


class Total(NamedTuple):
    """A count, or the counts of values."""

    value: Any
    searched_to: IndexPlace | None
    """where the budget was over; None if all was looked at"""


@dataclass
class IndexedRuns:
    """The runs of the index's catalogs that an access allows."""

    index: Index
    access: Access
    unavailable: set[str] = field(default_factory=set)
    """catalogs whose documents could not be fetched, or that could not be caught up"""

    def __post_init__(self) -> None:
        self.unavailable |= set(self.index.unavailable)
        self.listing = Listing(self.access, self.index.catalogs)

    def page(
        self,
        wanted: Wanted,
        limit: int,
        *,
        conditions: Conditions = NO_CONDITIONS,
        ordering: str = "-time",
        after: IndexPlace | None = None,
        descriptors: bool = False,
    ) -> RunPage:
        """At most `limit` runs behind a place.

        Shorter where documents are gone or away meanwhile, or where the budget was over.
        """
        found: list[Run] = []
        deadline = monotonic() + settings.QUERY_SECONDS * BUDGET_SHARE
        size = CHUNK if conditions else limit
        while True:
            entries = self.listing.page(wanted, size, ordering=ordering, after=after)
            runs = self._fetched(entries, conditions, descriptors)
            here = [(entry, runs[entry.key]) for entry in entries if entry.key in runs]
            if conditions and len(found) + len(here) > limit:
                here = here[: limit - len(found)]
                return RunPage([*found, *(run for _, run in here)], here[-1][0].place, False)
            found += [run for _, run in here]
            if len(entries) < size:
                return RunPage(found, None, False)
            after = entries[-1].place
            stopped = len(found) < limit and monotonic() > deadline
            if len(found) == limit or not conditions or stopped:
                return RunPage(found, after, stopped)

    def fetch(self, entry: Entry, *, descriptors: bool = True) -> Run | None:
        """One run found by a key; None if it is not there any more, or not to be read."""
        return self._fetched([entry], NO_CONDITIONS, descriptors).get(entry.key)

    def count(self, wanted: Wanted, conditions: Conditions = NO_CONDITIONS) -> Total:
        if not conditions:
            return Total(self.listing.count(wanted), None)
        total = 0

        def add(name: str, number: int) -> None:
            nonlocal total
            total += number

        return Total(*self._over_chunks(wanted, conditions, Runs.count, add, lambda: total))

    def facet(self, wanted: Wanted, path: str, conditions: Conditions = NO_CONDITIONS) -> Total:
        """Counts of the values at a path that the index does not hold, by (type, value)."""
        counts: dict[tuple[type, Any], int] = defaultdict(int)

        def add(name: str, values: list[tuple[Any, int]]) -> None:
            for value, number in values:
                counts[type(value), value] += number

        def ask(runs: Runs, selection: Selection) -> list[tuple[Any, int]]:
            return runs.facet(selection, path)

        return Total(*self._over_chunks(wanted, conditions, ask, add, lambda: dict(counts)))

    # -- how -------------------------------------------------------------------------------

    def _over_chunks(
        self,
        wanted: Wanted,
        conditions: Conditions,
        ask: Callable[[Runs, Selection], Answer],
        add: Callable[[str, Answer], None],
        result: Callable[[], Any],
    ) -> tuple[Any, IndexPlace | None]:
        deadline = monotonic() + settings.QUERY_SECONDS * BUDGET_SHARE
        walk = self.listing.walk(wanted, CHUNK)
        while entries := list(islice(walk, CHUNK)):
            asked = {
                catalog.name: _among(conditions.get(catalog.name, Selection()), some)
                for catalog, some in self._by_catalog(entries)
            }
            for name, answer in self._ask(asked, ask).items():
                add(name, answer)
            if len(entries) == CHUNK and monotonic() > deadline:
                return result(), entries[-1].place
        return result(), None

    def _by_catalog(self, entries: Sequence[Entry]) -> Iterator[tuple[Catalog, list[Entry]]]:
        found: dict[int, list[Entry]] = defaultdict(list)
        for entry in entries:
            found[entry.source].append(entry)
        for source, some in found.items():
            yield self.index.catalogs[source], some

    def _fetched(
        self, entries: Sequence[Entry], conditions: Conditions, descriptors: bool
    ) -> dict[int, Run]:
        """The runs of these entries that are there, satisfy the conditions and may be read."""
        held = {catalog.name: (catalog, some) for catalog, some in self._by_catalog(entries)}
        asked = {
            name: _among(conditions.get(name, Selection()), some)
            for name, (_, some) in held.items()
        }

        def ask(runs: Runs, selection: Selection) -> list[Run]:
            return runs.page(selection, CHUNK + 1, descriptors=descriptors).runs

        found: dict[int, Run] = {}
        for name, runs in self._ask(asked, ask).items():
            catalog, some = held[name]
            by_id = {_hashable(run.position.id): run for run in runs}
            for entry in some:
                run = by_id.get(_hashable(id_of(entry.document)))
                if run is not None and self.access.allows(catalog, run.start):
                    found[entry.key] = run
            if name not in conditions:
                self._forget(catalog, [entry for entry in some if entry.key not in found])
        return found

    def _forget(self, catalog: Catalog, missing: Sequence[Entry]) -> None:
        """Takes rows out of the index whose documents have been removed."""
        if not missing:
            return
        try:
            present = Documents(catalog).present([entry.document for entry in missing])
        except CatalogUnavailable:
            return
        remove_rows([entry.key for entry in missing if entry.document not in present])

    def _ask(
        self, asked: Mapping[str, Selection], ask: Callable[[Runs, Selection], Answer]
    ) -> dict[str, Answer]:
        """The answers of the catalogs that answer; the others are noted as unavailable."""
        catalogs = {catalog.name: catalog for catalog in self.index.catalogs.values()}

        def outcome(name: str) -> tuple[str, Answer] | None:
            try:
                return name, ask(Runs(catalogs[name], self.access), asked[name])
            except CatalogUnavailable as error:
                log.warning("catalog unavailable", catalog=name, reason=str(error))
                return None

        # A thread for a lone catalog would cost more than it saves.
        mapped = map if len(asked) < 2 else _threads.map
        answers = dict(item for item in mapped(outcome, asked) if item is not None)
        self.unavailable |= set(asked) - set(answers)
        return answers


def _among(selection: Selection, entries: Sequence[Entry]) -> Selection:
    """The selection within runs that the index knows to be readable."""
    ids = [id_of(entry.document) for entry in entries]
    return replace(selection, exact={"_id": {"$in": ids}})


def _hashable(document_id: Any) -> Any:
    return repr(document_id) if isinstance(document_id, dict | list) else document_id
