"""Runs in a catalog. Made for an access: nothing here reads without one."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NamedTuple, TypeGuard

import structlog
from pymongo.errors import OperationFailure

from headers.catalogs import Catalog
from headers.mongo import CatalogUnavailable, Doc, asking, database, query_milliseconds
from headers.queries import DESCRIPTORS, STOP, mentions
from headers.selection import Selection, starting_with, words_filter
from headers.streams import stream_name
from policies.access import Access
from policies.conditions import NOTHING, Filter, conjunction

log = structlog.get_logger(__name__)

INDEXES_SECONDS = 60.0
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
TOO_LARGE_CODES = {10334, 17419, 4031700}
"""how MongoDB answers when joined documents exceed its 16 MB together"""


class Position(NamedTuple):
    """A place in the order of runs by (time, _id)."""

    time: Any
    """epoch seconds; of a malformed run, whatever it has"""
    id: Any = None
    ties: bool = True
    """without an id: are runs of this very time still to come?"""


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

    @property
    def uid(self) -> str | None:
        """None for a malformed document, which can be listed but not be asked for."""
        uid = self.start.get("uid")
        # Not isinstance, here and below: JavaScript code is a text that cannot be hashed.
        return uid if type(uid) is str else None


class Runs:
    """The runs of one catalog that an access allows."""

    def __init__(self, catalog: Catalog, access: Access) -> None:
        self.catalog = catalog
        self.access = access
        self._readable = access.filter(catalog)
        self._database = database(catalog.metadata)

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
                found = self._aggregate(pipeline)
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
            descriptor = self._database.event_descriptor.find_one(
                {"uid": uid}, max_time_ms=query_milliseconds()
            )
        # Asked even when there is no such descriptor, so that a hidden one takes as long.
        run = self.get(str((descriptor or {}).get("run_start")))
        return (run, _public(descriptor)) if run and descriptor else None

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
    ) -> list[Run]:
        """At most `limit` runs in order, those behind `after` in the direction of the order.

        Two commands, three with descriptors, however many runs there are.
        """
        order = -1 if newest_first else 1
        sort = {"time": order, "_id": order}
        read = self._joined_page if selection.joined else self._plain_page
        bounds = _keyset(selection.times(), after, newest_first)
        with asking(self.catalog):
            # The first page of all needs no bounds, which are not free, unless there are
            # malformed runs: without a number as time, a run has no place in the order.
            unbounded = after is None and selection.any_time
            runs = read(selection, {} if unbounded else bounds, sort, limit)
            if not all(_is_number(run.position.time) for run in runs):
                log.warning("runs without a number as time skipped", catalog=self.catalog.name)
                runs = read(selection, conjunction(bounds, {"time": ONE_NUMBER}), sort, limit)
            if descriptors:
                self._add_descriptors(runs)
        return runs

    def count(self, selection: Selection) -> int:
        """How many runs are selected."""
        pipeline = [*self._matching(selection), {"$count": "count"}]
        with asking(self.catalog):
            found = self._aggregate(pipeline)
        return int(found[0]["count"]) if found else 0

    def facet(self, selection: Selection, path: str) -> list[tuple[Any, int]]:
        """The values at a dotted path of the start documents and how many runs have each.

        A list counts for each of its items. At most the 1,000 most frequent values.
        """
        pipeline = [
            *self._matching(selection),
            {"$unwind": f"${path}"},
            {"$group": {"_id": f"${path}", "count": {"$sum": 1}}},
            {"$sort": {"count": -1}},
            {"$limit": FACET_VALUES},
        ]
        with asking(self.catalog):
            return [(row["_id"], row["count"]) for row in self._aggregate(pipeline)]

    def proposals_facet(self, selection: Selection) -> list[tuple[str, int]]:
        """How many of the selected runs each proposal has, overrides included."""
        paths = [place.path for place in self.catalog.proposal.places]
        moved = self.access.overrides.get(self.catalog.name, {})
        group: Doc = {f"p{at}": f"${path}" for at, path in enumerate(paths)}
        group["uid"] = {"$cond": [{"$in": ["$uid", {"$literal": list(moved)}]}, "$uid", None]}
        pipeline = [*self._matching(selection), {"$group": {"_id": group, "count": {"$sum": 1}}}]
        with asking(self.catalog):
            rows = self._aggregate(pipeline)
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

    def _selected(self, selection: Selection, keyset: Filter) -> Filter:
        return self._where(keyset, selection.start, self._search(selection.search))

    def _search(self, search: str) -> Filter:
        if not search:
            return {}
        if _text_indexes.has(self.catalog):
            # As phrases, because of bare words one would do.
            words = search.replace('"', " ").split()
            return {"$text": {"$search": " ".join(f'"{word}"' for word in words)}}
        return words_filter(search)

    def _matching(self, selection: Selection) -> list[Doc]:
        stages: list[Doc] = [{"$match": self._selected(selection, {"time": selection.times()})}]
        return stages + _join(selection.joined)

    def _aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> list[Doc]:
        cursor = self._database.run_start.aggregate(pipeline, maxTimeMS=query_milliseconds())
        return list(cursor)

    def _plain_page(
        self, selection: Selection, bounds: Filter, sort: dict[str, int], limit: int
    ) -> list[Run]:
        where = self._selected(selection, bounds)
        cursor = self._database.run_start.find(where).sort(sort).limit(limit).batch_size(limit)
        starts = list(cursor.max_time_ms(query_milliseconds()))
        stops = self._by_run("run_stop", [start.get("uid") for start in starts])
        for start in starts:
            uid = start.get("uid")
            start[STOP] = stops.get(uid, []) if type(uid) is str else []
            start.pop(DESCRIPTORS, None)  # a key of the document itself
        return self._runs(starts)

    def _joined_page(
        self, selection: Selection, bounds: Filter, sort: dict[str, int], limit: int
    ) -> list[Run]:
        where, joins = self._selected(selection, bounds), _join(selection.joined)
        stages: list[Doc] = [{"$match": where}, {"$sort": sort}, *joins, {"$limit": limit}]
        if JOIN_STOP not in stages:
            stages.append(JOIN_STOP)
        return self._runs(self._aggregate([*stages, {"$project": {DESCRIPTORS: 0}}]))

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
        return Run(self.catalog, start, stop, proposal, position, descriptors)


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
        events = database(run.catalog.metadata).event
        for row in events.aggregate(pipeline, maxTimeMS=query_milliseconds()):
            if type(row["_id"]) is str:  # in a list it matches, too
                counts[streams[row["_id"]]] += row["count"]
    return counts


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
                indexes = database(catalog.metadata).run_start.index_information().values()
            found = any(kind == "text" for index in indexes for _, kind in index["key"])
            self._known[catalog.metadata] = (monotonic(), found)
        return found


_text_indexes = _TextIndexes()


def ping(catalog: Catalog) -> bool:
    """Does the catalog's database answer?"""
    try:
        with asking(catalog):
            database(catalog.metadata).command("ping")
    except CatalogUnavailable:
        return False
    return True
