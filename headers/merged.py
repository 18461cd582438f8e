"""Runs of several catalogs as one: asked side by side, merged in order."""

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import structlog

from broker_site.timing import phase
from headers.catalogs import Catalog
from headers.mongo import CatalogUnavailable, Doc
from headers.repositories import Found, Position, Run, Runs
from headers.selection import Selection
from policies.rule.access import Access

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

MIN_PREFIX = 5
MAX_NEWEST = 10_000
FACET_VALUES = 100
_threads = ThreadPoolExecutor(max_workers=16, thread_name_prefix="catalog")


class RunNotFound(Exception):
    """There is no such run that the caller may read."""


class AmbiguousKey(Exception):
    """More than one run that the caller may read starts with this prefix."""


class CatalogsUnavailable(Exception):
    """Catalogs that might hold the answer are away; `names` says which."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"no answer from {', '.join(names)}")
        self.names = list(names)


@dataclass(frozen=True)
class Place:
    """A place in the merged order: a run's catalog and its position there."""

    catalog: str
    position: Position

    @classmethod
    def of(cls, run: Run) -> "Place":
        return cls(run.catalog.name, run.position)

    def reaches(self, run: Run, newest_first: bool) -> bool:
        """Does the run stand before this place, or at it?"""
        sign = -1 if newest_first else 1
        here, there = sign * self.position.time, sign * run.position.time
        if run.catalog.name == self.catalog or here != there:
            return bool(there <= here)
        return (run.catalog.name < self.catalog) == newest_first


class MergedPage(NamedTuple):
    runs: list[Run]
    stopped: Place | None
    """where the search stopped because its time was over; None if it did not"""


@dataclass
class MergedRuns:
    """The runs of these catalogs that an access allows.

    A catalog that does not answer is left out and named in `unavailable`; when none
    answers, CatalogsUnavailable is raised.
    """

    catalogs: Sequence[Catalog]
    access: Access
    unavailable: list[str] = field(default_factory=list)
    searched_to: dict[str, Position] = field(default_factory=dict)
    """catalogs whose search stopped before its end, because its time was over, and where"""

    def find(self, key: str) -> Run:
        """The run with a uid, a unique uid prefix, or -1, -2, … for the newest ones."""
        if re.fullmatch(r"-[0-9]{1,9}", key):
            return self._newest(int(key[1:]))
        run = self._first(lambda runs: runs.get(key))
        if run is None and len(key) >= MIN_PREFIX:
            run = self._with_prefix(key)
        if run is None:
            raise self._nothing()
        return run

    def of_descriptor(self, uid: str) -> tuple[Run, Doc]:
        """A descriptor and its run."""
        found = self._first(lambda runs: runs.of_descriptor(uid))
        if found is None:
            raise self._nothing()
        return found

    def page(
        self,
        selections: Mapping[str, Selection],
        limit: int,
        *,
        newest_first: bool = True,
        after: Place | None = None,
        descriptors: bool = False,
    ) -> "MergedPage":
        """At most `limit` runs in order of time, then catalog, then _id."""

        def ask(runs: Runs) -> Found:
            name = runs.catalog.name
            return runs.page(
                selections[name],
                limit,
                newest_first=newest_first,
                after=_after(after, name, newest_first),
                descriptors=descriptors,
            )

        pages = self._ask(ask)
        ordered = [pages[name].runs for name in sorted(pages, reverse=not newest_first)]
        sign = -1 if newest_first else 1
        merged = heapq.merge(*ordered, key=lambda run: sign * run.position.time)
        stopped = self._stopped(newest_first)
        searched = (run for run in merged if stopped is None or stopped.reaches(run, newest_first))
        runs = list(islice(searched, limit))
        return MergedPage(runs, stopped)

    def _stopped(self, newest_first: bool) -> Place | None:
        """The first place in the order at which a search stopped: behind it runs may be missing."""
        sign = -1 if newest_first else 1
        places = [Place(name, position) for name, position in self.searched_to.items()]
        return min(places, key=lambda place: sign * place.position.time, default=None)

    def count(self, selections: Mapping[str, Selection]) -> int:
        return sum(self._ask(lambda runs: runs.count(selections[runs.catalog.name])).values())

    def facet(
        self, selections: Mapping[str, Selection], path: str
    ) -> list[tuple[str | float | bool, int]]:
        """The 100 most frequent scalar values of a field, most frequent first.

        `catalog`, `beamline` and `proposal` are what the service says of a run;
        anything else is a dotted path into the start document.
        """

        def ask(runs: Runs) -> list[tuple[Any, int]]:
            selection = selections[runs.catalog.name]
            if path == "proposal":
                return runs.proposals_facet(selection)
            if path in ("catalog", "beamline"):
                name = runs.catalog.name if path == "catalog" else runs.catalog.beamline
                return [(name, runs.count(selection))]
            return runs.facet(selection, path)

        counts: dict[tuple[bool, Any], int] = defaultdict(int)
        for values in self._ask(ask).values():
            for value, count in values:
                if isinstance(value, str | int | float) and isinstance(value, Hashable) and count:
                    # In Python True == 1; in a document they are two values.
                    counts[isinstance(value, bool), value] += count
        ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0][1])))
        return [(value, count) for (_, value), count in ordered[:FACET_VALUES]]

    # -- how -------------------------------------------------------------------------------

    def _newest(self, number: int) -> Run:
        if not 1 <= number <= MAX_NEWEST:
            raise RunNotFound
        found = self._ask_all(lambda runs: runs.newest(number))
        ordered = [[(name, *item) for item in found[name]] for name in sorted(found)]
        merged = list(heapq.merge(*ordered, key=lambda item: -item[1].time))
        if len(merged) < number:
            raise self._nothing()
        name, _, uid = merged[number - 1]
        catalog = next(catalog for catalog in self.catalogs if catalog.name == name)
        run = replace(self, catalogs=[catalog])._first(lambda runs: runs.get(uid))
        if run is None:
            raise self._nothing()
        return run

    def _with_prefix(self, prefix: str) -> Run | None:
        found = self._ask_all(lambda runs: runs.starting_with(prefix))
        uids = {uid for found_here in found.values() for uid in found_here}
        if len(uids) > 1:
            raise AmbiguousKey
        return self._first(lambda runs: runs.get(next(iter(uids)))) if uids else None

    def _first(self, ask: Callable[[Runs], Answer | None]) -> Answer | None:
        """The first answer that is one."""
        answers = self._ask(ask)
        return next((answer for answer in answers.values() if answer is not None), None)

    def _nothing(self) -> Exception:
        """Not found, unless it may be in a catalog that did not answer."""
        return CatalogsUnavailable(self.unavailable) if self.unavailable else RunNotFound()

    def _ask_all(self, ask: Callable[[Runs], Answer]) -> dict[str, Answer]:
        """For what one missing catalog makes wrong: which run is the newest, or the only one."""
        answers = self._ask(ask)
        if self.unavailable:
            raise CatalogsUnavailable(self.unavailable)
        return answers

    def _ask(self, ask: Callable[[Runs], Answer]) -> dict[str, Answer]:
        """The answers of the catalogs that answer, by name, in the order of names."""
        repositories = [runs for c in self.catalogs if (runs := Runs(c, self.access)).any_readable]
        with phase("mongo"):
            # A thread for a lone catalog would cost more than it saves.
            mapped = map if len(repositories) < 2 else _threads.map
            outcomes = list(mapped(partial(_outcome, ask), repositories))
        answers = dict(outcome for outcome in outcomes if outcome is not None)
        stops = {runs.catalog.name: runs.searched_to for runs in repositories}
        self.searched_to |= {name: stop for name, stop in stops.items() if stop is not None}
        names = [runs.catalog.name for runs in repositories]
        self.unavailable = sorted({*self.unavailable, *names} - set(answers))
        if names and not answers:
            raise CatalogsUnavailable(names)
        return answers


def _outcome(ask: Callable[[Runs], Answer], runs: Runs) -> tuple[str, Answer] | None:
    try:
        return runs.catalog.name, ask(runs)
    except CatalogUnavailable as error:
        log.warning("catalog unavailable", catalog=runs.catalog.name, reason=str(error))
        return None


def _after(place: Place | None, catalog: str, newest_first: bool) -> Position | None:
    """Where to go on in one catalog, behind a place of the merged order."""
    if place is None:
        return None
    if place.catalog == catalog:
        return place.position
    # Runs of equal time are ordered by catalog: some catalogs are done with them.
    still_to_come = (catalog > place.catalog) == newest_first
    return Position(place.position.time, ties=still_to_come)
