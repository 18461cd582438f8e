"""Runs in a catalog. Made for an access: nothing here reads without one."""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple, TypeGuard, TypeVar

import structlog
from django.conf import settings
from pymongo.command_cursor import CommandCursor
from pymongo.cursor import Cursor
from pymongo.errors import OperationFailure

from headers.catalogs import Catalog
from headers.mongo import (
    CatalogUnavailable,
    Doc,
    asking,
    database,
    metadata,
    query_milliseconds,
)
from headers.queries import DESCRIPTORS, STOP, mentions
from headers.selection import Selection, holds_words, search_words, starting_with
from headers.streams import outside_fields, stream_name
from policies.rule.access import Access
from policies.rule.conditions import NOTHING, Filter, conjunction

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

INDEXES_SECONDS = 60.0
SEARCH_SHARE = 0.7
"""the part of the time limit of a query in which documents are searched one by one"""
SEARCHED_PART = 10_000
FACET_VALUES = 1000
JOIN_STOP = {
    "$lookup": {"from": "run_stop", "localField": "uid", "foreignField": "run_start", "as": STOP}
}
JOIN_DESCRIPTORS = {
    "$lookup": {
        "from": "event_descriptor",
        "localField": "uid",
        "foreignField": "run_start",
        "as": DESCRIPTORS,
    }
}
ONE_NUMBER = {"$not": {"$type": ["array", "decimal"]}}
"""for `time` beside its bounds, which a list satisfies by any of its items"""
ANY_NUMBER_OF_RUNS: Doc = {"$limit": 2**40}
"""a barrier: no server moves a condition that stands behind a limit to before it"""
TOO_LARGE_CODES = {10334, 17419, 4568, 13548, 4031700}
"""how MongoDB answers when joined documents exceed its 16 MB together"""


NO_TEXT_INDEX = 27
"""how MongoDB answers `$text` where there is no text index, or none that is finished"""


class Position(NamedTuple):
    """A place in the order of runs by (time, _id)."""

    time: Any
    """epoch seconds; of a malformed run, whatever it has"""
    id: Any = None
    ties: bool = True
    """without an id: are runs of this very time still to come?"""


class Found(NamedTuple):
    """Runs in the order asked for."""

    runs: list["Run"]
    searched_to: Position | None = None
    """where the search stopped because its time was over; None if it went as far as was asked"""


@dataclass
class Run:
    """One run that the caller may read. What belongs to a run is reached through it."""

    catalog: Catalog
    start: Doc
    stop: Doc | None
    proposal: str | None
    position: Position
    descriptors: list[Doc] = field(default_factory=list)
    """by time; empty in a page that did not ask for them"""
    access: Access = field(default_factory=Access, repr=False)
    """of who got the run; by default of somebody who may read nothing else"""

    def admits_file_of(self, proposal: str) -> bool:
        """May its reader be served a file that belongs to this proposal?"""
        return self.access.allows_proposal(self.catalog, proposal)

    @property
    def uid(self) -> str | None:
        """None for a malformed document, which can be listed but not be asked for."""
        uid = self.start.get("uid")
        # Not isinstance, here and below: JavaScript code is a text that cannot be hashed.
        return uid if type(uid) is str else None

    @property
    def key(self) -> str | None:
        """The uid where it can stand in an address, as a part of a path; else None."""
        return self.uid if self.uid and "/" not in self.uid else None


class Runs:
    """The runs of one catalog that an access allows."""

    def __init__(self, catalog: Catalog, access: Access) -> None:
        self.catalog = catalog
        self.access = access
        self.searched_to: Position | None = None
        """how far the last search came, where its time was over before its end"""
        self._readable = access.filter(catalog)
        self._database = metadata(catalog)

    @property
    def any_readable(self) -> bool:
        """False where the access allows no run whatever it is, so that asking is needless."""
        return self._readable != NOTHING

    # -- one run ---------------------------------------------------------------------------

    def get(self, uid: str) -> Run | None:
        """The run with this uid, with its descriptors; one command."""
        pipeline: list[Doc] = [
            {"$match": self._where({"uid": uid})},
            {"$limit": 1},
            JOIN_STOP,
            JOIN_DESCRIPTORS,
        ]
        with asking(self.catalog):
            try:
                found = list(self._aggregate(pipeline))
            except OperationFailure as error:
                if error.code not in TOO_LARGE_CODES:
                    raise
                return self._get_in_parts(uid)
        return next(iter(self._runs(found)), None)

    def starting_with(self, prefix: str) -> list[str]:
        """At most two uids that start with the prefix."""
        cursor = self._database.run_start.find(
            self._where({"uid": starting_with(prefix)}), {"uid": 1}
        )
        with asking(self.catalog):
            found = list(cursor.limit(2).max_time_ms(query_milliseconds()))
        return [document["uid"] for document in found if type(document["uid"]) is str]

    def newest(self, count: int) -> list[tuple[Position, str]]:
        """Position and uid of the newest runs, newest first."""
        cursor = self._database.run_start.find(
            self._where({"time": Selection().times() | ONE_NUMBER}), {"uid": 1, "time": 1}
        )
        cursor = cursor.sort([("time", -1), ("_id", -1)]).limit(count).batch_size(count)
        with asking(self.catalog):
            found = list(cursor.max_time_ms(query_milliseconds()))
        return [
            (Position(document["time"], document["_id"]), document["uid"])
            for document in found
            if type(document.get("uid")) is str
        ]

    def of_descriptor(self, uid: str) -> tuple[Run, Doc] | None:
        """A descriptor and its run."""
        with asking(self.catalog):
            found = self._database.event_descriptor.find_one(
                {"uid": uid}, {"run_start": 1}, max_time_ms=query_milliseconds()
            )
        # Asked even when there is no such descriptor, so that a hidden one takes as long.
        run = self.get(str((found or {}).get("run_start")))
        if run is None:
            return None
        own = (descriptor for descriptor in run.descriptors if descriptor.get("uid") == uid)
        return next(((run, descriptor) for descriptor in own), None)

    def _get_in_parts(self, uid: str) -> Run | None:
        pipeline: list[Doc] = [
            {"$match": self._where({"uid": uid})},
            {"$limit": 1},
            JOIN_STOP,
            {"$project": {DESCRIPTORS: 0}},
        ]
        runs = self._runs(self._aggregate(pipeline))
        self._add_descriptors(runs)
        return next(iter(runs), None)

    # -- many runs -------------------------------------------------------------------------

    def page(
        self,
        selection: Selection,
        limit: int,
        *,
        newest_first: bool = True,
        after: Position | None = None,
        descriptors: bool = False,
    ) -> Found:
        """At most `limit` runs in order, those behind `after` in the direction of the order.

        Two commands, three with descriptors, however many runs there are.
        """
        order = -1 if newest_first else 1
        sort = {"time": order, "_id": order}
        bounds = _keyset(selection.times(), after, newest_first)
        with asking(self.catalog):
            # The first page of all needs no bounds, which are not free, unless there are
            # malformed runs: without a number as time, a run has no place in the order.
            unbounded = after is None and selection.any_time
            where = {} if unbounded else bounds
            runs = self._searching(lambda: self._page(selection, where, sort, limit))
            if not all(_is_number(run.position.time) for run in runs):
                log.warning("runs without a number as time skipped", catalog=self.catalog.name)
                numbers = conjunction(bounds, {"time": ONE_NUMBER})
                runs = self._searching(lambda: self._page(selection, numbers, sort, limit))
            if descriptors:
                self._add_descriptors(runs)
        return Found(runs, self.searched_to)

    def count(self, selection: Selection) -> int:
        """How many runs are selected."""
        with asking(self.catalog):
            rows = self._parts(selection, [{"$count": "count"}])
        return sum(int(row["count"]) for row in rows)

    def facet(self, selection: Selection, path: str) -> list[tuple[Any, int]]:
        """The values at a dotted path of the start documents and how many runs have each.

        A list counts for each of its items. At most the 1,000 most frequent values.
        """
        stages: list[Doc] = [
            {"$unwind": f"${path}"},
            {"$group": {"_id": f"${path}", "count": {"$sum": 1}}},
            {"$sort": {"count": -1}},
            {"$limit": FACET_VALUES},
        ]
        with asking(self.catalog):
            rows = self._parts(selection, stages)
        counts: dict[tuple[type, Any], int] = defaultdict(int)
        for row in rows:
            # Values that differ by type only are different values; some cannot be hashed.
            if isinstance(row["_id"], Hashable):
                counts[type(row["_id"]), row["_id"]] += row["count"]
        return [(value, count) for (_, value), count in counts.items()]

    def proposals_facet(self, selection: Selection) -> list[tuple[str, int]]:
        """How many of the selected runs each proposal has, overrides included."""
        paths = [place.path for place in self.catalog.proposal.places]
        moved = self.access.overrides.get(self.catalog.name, {})
        group: Doc = {f"p{at}": f"${path}" for at, path in enumerate(paths)}
        group["uid"] = {"$cond": [{"$in": ["$uid", {"$literal": list(moved)}]}, "$uid", None]}
        stages: list[Doc] = [{"$group": {"_id": group, "count": {"$sum": 1}}}]
        with asking(self.catalog):
            rows = self._parts(selection, stages)
        counts: dict[str, int] = defaultdict(int)
        for row in rows:
            start = _nested({path: row["_id"].get(f"p{at}") for at, path in enumerate(paths)})
            proposal = moved.get(row["_id"].get("uid")) or self.catalog.proposal.proposal(start)
            if proposal:
                counts[proposal] += row["count"]
        return list(counts.items())

    # -- how -------------------------------------------------------------------------------

    def _where(self, *filters: Filter) -> Filter:
        """The one place where the access rule goes into a query."""
        return conjunction(*filters, self._readable)

    def _matching(
        self,
        selection: Selection,
        bounds: Filter,
        *,
        sort: Mapping[str, int] | None = None,
        text: Filter,
    ) -> list[Doc]:
        """The stages that select runs: first those that may be read, then, behind a barrier,
        those of them that satisfy the caller's conditions.

        So a condition is never judged on a run that is hidden, where how long it takes would tell
        of what the run contains. Only `$text` has to come first, in the same stage as the rule.
        """
        where = self._where(bounds, selection.exact, text)
        stages: list[Doc] = [{"$match": where}] if where else []
        if sort is not None:
            stages.append({"$sort": dict(sort)})
        if not selection.start and not selection.joined:
            return stages
        stages.append(ANY_NUMBER_OF_RUNS)
        if selection.start:
            stages.append({"$match": selection.start})
        return stages + _join(selection.joined)

    def _aggregate(
        self, pipeline: Sequence[Mapping[str, Any]], batch: int = 0
    ) -> CommandCursor[Doc]:
        options: Doc = {"batchSize": batch} if batch else {}
        return self._database.run_start.aggregate(
            pipeline, maxTimeMS=query_milliseconds(), allowDiskUse=True, **options
        )

    def _page(
        self, selection: Selection, bounds: Filter, sort: dict[str, int], limit: int
    ) -> list[Run]:
        starts = list(islice(self._starts(selection, bounds, sort, limit), limit))
        stops = self._by_run("run_stop", [start.get("uid") for start in starts])
        for start in starts:
            uid = start.get("uid")
            start[STOP] = stops.get(uid, []) if type(uid) is str else []
        return self._runs(starts)

    def _starts(
        self, selection: Selection, bounds: Filter, sort: dict[str, int], limit: int = 0
    ) -> Iterator[Doc]:
        """The selected start documents, by the text index and by looking at each."""
        by_index, words = self._search(selection.search)
        if not words:
            yield from self._in_order(selection, bounds, sort, limit, by_index)
            return
        deadline = monotonic() + settings.QUERY_SECONDS * SEARCH_SHARE
        for start in self._in_order(selection, bounds, sort, 0, by_index):
            if holds_words(start, words):
                yield start
            if monotonic() > deadline:
                self.searched_to = Position(start.get("time"), start.get("_id"))
                return

    def _in_order(
        self, selection: Selection, bounds: Filter, sort: dict[str, int], limit: int, text: Filter
    ) -> Iterator[Doc]:
        """Start documents alone; at most `limit` if it is not 0."""
        if selection.start or selection.joined:
            stages = self._matching(selection, bounds, sort=sort, text=text)
            stages += [{"$limit": limit}] if limit else []
            # One more than there are: the server need not keep its cursor for the next batch.
            batch = limit + 1 if limit else 0
            documents: Cursor[Doc] | CommandCursor[Doc] = self._aggregate(stages, batch)
        else:
            where = self._where(bounds, selection.exact, text)
            documents = self._database.run_start.find(where).sort(sort).limit(limit)
            documents = documents.batch_size(limit).max_time_ms(query_milliseconds())
        with closing(documents) as found:
            for start in found:
                # Keys of the document itself could have these names, too.
                start.pop(STOP, None)
                start.pop(DESCRIPTORS, None)
                yield start

    def _searching(self, read: Callable[[], list[Answer]]) -> list[Answer]:
        """Reads, once more without the text index if that turns out not to be usable."""
        try:
            return read()
        except OperationFailure as error:
            if error.code != NO_TEXT_INDEX:
                raise
            log.warning("text index not usable", catalog=self.catalog.name)
            _text_indexes.lacks(self.catalog)
            return read()

    def _parts(self, selection: Selection, stages: list[Doc]) -> list[Doc]:
        return self._searching(lambda: list(self._each_part(selection, stages)))

    def _each_part(self, selection: Selection, stages: list[Doc]) -> Iterator[Doc]:
        """What the stages make of the selected runs; in several parts where words are looked for
        in each document.
        """
        bounds: Filter = {"time": selection.times()}
        by_index, words = self._search(selection.search)
        if not words:
            yield from self._aggregate([*self._matching(selection, bounds, text=by_index), *stages])
            return
        newest_first = {"time": -1, "_id": -1}
        found = (start["_id"] for start in self._starts(selection, bounds, newest_first))
        while ids := list(islice(found, SEARCHED_PART)):
            yield from self._aggregate([{"$match": self._where({"_id": {"$in": ids}})}, *stages])

    def _search(self, search: str) -> tuple[Filter, list[str]]:
        """The condition that a text index finds, and the words to be looked for in documents."""
        words, common = search_words(search)
        if not words or not _text_indexes.has(self.catalog):
            return {}, words + common
        # As phrases, because of bare words one would do.
        return {"$text": {"$search": " ".join(f'"{word}"' for word in words)}}, common

    def _add_descriptors(self, runs: list[Run]) -> None:
        found = self._by_run("event_descriptor", [run.uid for run in runs])
        for run in runs:
            run.descriptors = _by_time(found.get(run.uid or "", []))

    def _by_run(self, collection: str, uids: Iterable[Any]) -> dict[str, list[Doc]]:
        wanted = [uid for uid in uids if type(uid) is str]
        found: dict[str, list[Doc]] = defaultdict(list)
        if wanted:
            cursor = self._database[collection].find({"run_start": {"$in": wanted}})
            for document in cursor.batch_size(10_000).max_time_ms(query_milliseconds()):
                if type(document["run_start"]) is str:  # in a list it matches, too
                    found[document["run_start"]].append(document)
        return found

    def _runs(self, starts: Iterable[Doc]) -> list[Run]:
        return [self._run(start) for start in starts]

    def _run(self, start: Doc) -> Run:
        uid = start.get("uid")
        stops, descriptors = _own(start.pop(STOP, []), uid), _own(start.pop(DESCRIPTORS, []), uid)
        position = Position(start.get("time"), start.pop("_id"))
        proposal = self.access.proposal_of(self.catalog, start)
        stop = stops[-1] if stops else None
        return Run(self.catalog, start, stop, proposal, position, descriptors, self.access)


def count_events(run: Run) -> dict[str, int]:
    """How many events each stream of the run has, counted in the database."""
    streams = {
        descriptor["uid"]: stream_name(descriptor)
        for descriptor in run.descriptors
        if type(descriptor.get("uid")) is str
    }
    pipeline: list[Doc] = [
        {"$match": {"descriptor": {"$in": list(streams)}}},
        {"$group": {"_id": "$descriptor", "count": {"$sum": 1}}},
    ]
    counts: dict[str, int] = defaultdict(int)
    with asking(run.catalog):
        events = metadata(run.catalog).event
        for row in events.aggregate(pipeline, maxTimeMS=query_milliseconds()):
            if type(row["_id"]) is str:  # in a list it matches, too
                counts[streams[row["_id"]]] += row["count"]
    return counts


def referenced_fields(run: Run) -> set[tuple[str, str]]:
    """Of the fields that say they were recorded elsewhere, those to whose files the first event of
    their descriptor refers all the same; by descriptor uid and name.
    """
    outside = {
        descriptor["uid"]: outside_fields(descriptor)
        for descriptor in run.descriptors
        if type(descriptor.get("uid")) is str and outside_fields(descriptor)
    }
    if not outside:
        return set()
    pipeline: list[Doc] = [
        {"$match": {"descriptor": {"$in": list(outside)}}},
        {"$sort": {"descriptor": -1, "time": 1}},  # as the index has them
        {"$group": {"_id": "$descriptor", "data": {"$first": "$data"}}},
    ]
    with asking(run.catalog):
        events = metadata(run.catalog).event
        rows = list(events.aggregate(pipeline, maxTimeMS=query_milliseconds(), allowDiskUse=True))
    return {
        (row["_id"], name)
        for row in rows
        if type(row["_id"]) is str and isinstance(row["data"], Mapping)
        for name in outside[row["_id"]]
        if isinstance(row["data"].get(name), str)
    }


def any_event(run: Run, descriptors: Iterable[str]) -> Doc:
    """An event of one of these descriptors of the run, {} if there is none."""
    where: Filter = {"descriptor": {"$in": list(descriptors)}}
    with asking(run.catalog):
        found = metadata(run.catalog).event.find(where).limit(1).max_time_ms(query_milliseconds())
        # In a list a descriptor matches, too.
        return next((event for event in found if type(event["descriptor"]) is str), {})


def _keyset(times: dict[str, Any], after: Position | None, newest_first: bool) -> Filter:
    """Bounds for what lies behind a position. `time` is bounded on its own, for the index."""
    if after is None:
        return {"time": times}
    bound, beyond = ("$lte", "$lt") if newest_first else ("$gte", "$gt")
    if after.id is None:
        return conjunction({"time": times}, {"time": {bound if after.ties else beyond: after.time}})
    behind = [{"time": {beyond: after.time}}, {"_id": {beyond: after.id}}]
    return {"time": times | {bound: after.time}, "$or": behind}


def _join(joined: Filter) -> list[Doc]:
    """The stages that join what the conditions mention, and then apply them."""
    if not joined:
        return []
    joins = [(STOP, JOIN_STOP), (DESCRIPTORS, JOIN_DESCRIPTORS)]
    return [stage for name, stage in joins if mentions(joined, name)] + [{"$match": joined}]


def _own(joined: list[Doc], uid: Any) -> list[Doc]:
    """Without what a join finds, too: null for a missing uid, items of a list."""
    return _by_time([d for d in joined if d["run_start"] == uid] if type(uid) is str else [])


def _by_time(documents: list[Doc]) -> list[Doc]:
    found = [_public(document) for document in documents]
    return sorted(found, key=_time) if len(found) > 1 else found


def _time(document: Doc) -> float:
    time = document.get("time")
    return time if _is_number(time) else math.inf


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _public(document: Doc) -> Doc:
    """The bluesky document, without the database's own key."""
    document.pop("_id", None)
    return document


def _nested(values: Mapping[str, Any]) -> Doc:
    """A document that has these values at these dotted paths.

    Of two paths one may lead into the other's value; sorted, the outer one comes first.
    """
    document: Doc = {}
    for path, value in sorted(values.items()):
        *parents, last = path.split(".")
        place: Any = document
        for name in parents:
            place = place.setdefault(name, {}) if isinstance(place, dict) else None
        if isinstance(place, dict) and value is not None:
            place[last] = value
    return document


class _TextIndexes:
    """Which collections have a text index, looked up once a minute."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, bool]] = {}

    def has(self, catalog: Catalog) -> bool:
        at, found = self._known.get(catalog.metadata, (-math.inf, False))
        if monotonic() - at > INDEXES_SECONDS:
            with asking(catalog):
                indexes = metadata(catalog).run_start.index_information().values()
            found = any(kind == "text" for index in indexes for _, kind in index["key"])
            self._known[catalog.metadata] = (monotonic(), found)
        return found

    def lacks(self, catalog: Catalog) -> None:
        """There is none that answers, whatever the list of indexes says: one is being built."""
        self._known[catalog.metadata] = (monotonic(), False)


_text_indexes = _TextIndexes()


def ping(catalog: Catalog) -> bool:
    """Does the catalog's database answer?"""
    try:
        with asking(catalog):
            database(catalog.metadata).command("ping")
    except CatalogUnavailable:
        return False
    return True
