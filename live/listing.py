"""Runs that begin and end, as they do, of those that filters select and an access allows.

Which there are, the index of runs knows; a run that is stored late, because its catalog was away or
its clock is behind, is told all the same where it is later than those told of its catalog.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker_site.cursors import purpose, read_cursor, write_cursor
from broker_site.problems import Problem
from headers.catalogs import Catalog
from headers.index.listing import Wanted
from headers.index.runs import CatalogsUnavailable, IndexedRuns
from headers.mongo import CatalogUnavailable
from headers.queries import Query
from headers.repositories import Run, Runs
from headers.views import header
from live.messages import identified, message
from live.pages import Following, Item
from live.positions import LONGEST
from policies.rule.access import Access

WATCHED = 12
"""open runs whose end is told of: the newest of those that have begun"""
RECENT = 8
LATE_SECONDS = 60.0
"""a run that begins this much before another one of its catalog, and is stored later, is told"""
NEW_RUNS = 50
"""of a page"""
Key = tuple[str, Any]
"""a run's catalog and the `_id` of its start document"""


@dataclass(frozen=True)
class LiveListing:
    """Which runs are followed."""

    access: Access
    catalogs: tuple[Catalog, ...]
    wanted: Wanted
    query: Query
    filters: str
    """what these were made of, for the ids"""

    @property
    def salt(self) -> str:
        return purpose("live", self.filters)

    def page(self, size: int, ordering: str, since: Mapping[str, float]) -> list[Run]:
        """The first runs in the order, of each catalog those that began not before a time."""
        own = self.wanted.since
        later = {name: max(at, own.get(name, -math.inf)) for name, at in since.items()}
        wanted = replace(self.wanted, since={**own, **later})
        try:
            indexed = IndexedRuns.of(self.catalogs, self.access)
            return list(indexed.page(wanted, size, query=self.query, ordering=ordering).runs)
        except CatalogsUnavailable as error:
            raise CatalogUnavailable(self.catalogs[0], str(error)) from error


@dataclass(frozen=True)
class ListMark:
    """Which runs of one catalog were told of: all before a time, and these behind it."""

    since: float = -math.inf
    recent: tuple[tuple[float, Any], ...] = ()
    """time and `_id`, in the order of time"""

    def includes(self, run: Run) -> bool:
        return run.start["time"] < self.since or _place(run) in self.recent

    def and_run(self, run: Run) -> "ListMark":
        recent = sorted([*self.recent, _place(run)], key=lambda place: place[0])
        newest = recent[-1][0]
        kept = [place for place in recent[-RECENT:] if newest - place[0] <= LATE_SECONDS]
        dropped = recent[: -len(kept)]
        since = _just_behind(dropped[-1][0]) if dropped else self.since
        return ListMark(since, tuple(kept))


@dataclass(frozen=True)
class ListPosition:
    """Which runs were told of."""

    marks: Mapping[str, ListMark] = field(default_factory=dict)
    """by catalog; of one without, `since` holds"""
    since: float = -math.inf
    """all before that time were told of"""
    open: tuple[Key, ...] = ()
    """runs that were told of when they had no end"""

    def includes(self, name: str, run: Run) -> bool:
        if name == "stop":
            return _key(run) not in self.open
        return self._mark(run).includes(run)

    def and_then(self, name: str, run: Run) -> "ListPosition":
        others = tuple(key for key in self.open if key != _key(run))
        if name == "stop":
            return replace(self, open=others)
        marks = {**self.marks, run.catalog.name: self._mark(run).and_run(run)}
        is_open = run.stop is None
        return replace(
            self, marks=marks, open=(*others, _key(run))[-WATCHED:] if is_open else others
        )

    def _mark(self, run: Run) -> ListMark:
        return self.marks.get(run.catalog.name, ListMark(self.since))

    def id(self, listing: LiveListing) -> str:
        marks = [
            [name, mark.since, [list(place) for place in mark.recent]]
            for name, mark in self.marks.items()
        ]
        content = {"m": marks, "s": self.since, "o": [list(key) for key in self.open]}
        return write_cursor(content, listing.salt)

    @classmethod
    def read(cls, text: str, listing: LiveListing) -> "ListPosition":
        """The position of an id. Problem 400 where it is none of this listing."""
        try:
            content = read_cursor(text, listing.salt, longest=LONGEST)
        except Problem:
            raise Problem(
                400, "Last-Event-ID or after: is none of these filters; begin anew without it."
            ) from None
        marks = {
            name: ListMark(since, tuple((moment, document) for moment, document in recent))
            for name, since, recent in content["m"]
        }
        open = tuple((catalog, document) for catalog, document in content["o"])
        return cls(marks, content["s"], open)


@dataclass(frozen=True, kw_only=True)
class ListPage(Following):
    """Runs that have begun, oldest first, and open ones that have ended."""

    listing: LiveListing
    before: ListPosition
    after: ListPosition

    @property
    def is_end(self) -> bool:
        return False

    def further(self) -> "ListPage":
        return _read(self.listing, self.after)

    def text(self, choice: Any) -> bytes:
        position, messages = self.before, list[bytes]()
        for name, run in self.items:
            position = position.and_then(name, run)
            content = header(run, with_descriptors=False)
            messages.append(message("run", content, position.id(self.listing)))
        return b"".join(messages)

    def opening(self) -> bytes:
        """An id, with which nothing is missed however soon the connection breaks."""
        return identified(self.after.id(self.listing))

    def end(self) -> bytes:
        return b""


def begun_now(listing: LiveListing) -> ListPage:
    """Nothing, behind which the runs come that begin from now on, or end."""
    runs = listing.page(NEW_RUNS, "-time", {})
    earlier = len(runs) == NEW_RUNS  # there may be more
    position = ListPosition(since=_just_behind(runs[-1].start["time"]) if earlier else -math.inf)
    for run in reversed(runs):
        position = position.and_then("start", run)
    return begun_behind(listing, position)


def begun_behind(listing: LiveListing, position: ListPosition) -> ListPage:
    """Nothing, behind which the runs come that were not told of."""
    return ListPage(listing=listing, before=position, items=(), after=position, is_last=False)


def _read(listing: LiveListing, position: ListPosition) -> ListPage:
    items: list[Item] = [("stop", run) for run in _ended(listing, position)]
    items += (("start", run) for run in _new(listing, position))
    after = position
    for name, run in items:
        after = after.and_then(name, run)
    return ListPage(listing=listing, before=position, items=items, after=after, is_last=True)


def _new(listing: LiveListing, position: ListPosition) -> Iterator[Run]:
    marks = position.marks
    size = NEW_RUNS + sum(len(mark.recent) for mark in marks.values())
    names = (catalog.name for catalog in listing.catalogs)
    since = {name: marks[name].since if name in marks else position.since for name in names}
    found = listing.page(size, "time", since)
    return (run for run in found if not position.includes("start", run))


def _ended(listing: LiveListing, position: ListPosition) -> Iterator[Run]:
    for catalog in listing.catalogs:
        ids = [document for name, document in position.open if name == catalog.name]
        runs = Runs(catalog, listing.access)
        if ids and runs.any_readable:
            yield from (run for run in runs.among(ids) if run.stop is not None)


def _just_behind(moment: float) -> float:
    return math.nextafter(moment, math.inf)


def _place(run: Run) -> tuple[float, Any]:
    return float(run.start["time"]), run.document


def _key(run: Run) -> Key:
    return run.catalog.name, run.document
