"""Runs in a catalog. Made for an access: nothing here reads without one."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeGuard, TypeVar

import structlog
from pymongo.command_cursor import CommandCursor
from pymongo.cursor import Cursor
from pymongo.errors import OperationFailure

from headers.catalogs import NORMALIZED, Catalog
from headers.descriptors import Descriptor
from headers.mongo import (
    CatalogUnavailable,
    Doc,
    asking,
    assets,
    database,
    metadata,
    query_milliseconds,
)
from headers.queries import DESCRIPTORS, STOP, Query, mentions
from headers.selection import starting_with
from headers.streams import uids_of
from policies.rule.access import Access
from policies.rule.conditions import NOTHING, Filter, conjunction

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

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
ALL = Query()
ANY_NUMBER_OF_RUNS: Doc = {"$limit": 2**40}
"""a barrier: no server moves a condition that stands behind a limit to before it"""
TOO_LARGE_CODES = {10334, 17419, 4568, 13548, 4031700}
"""how MongoDB answers when joined documents exceed its 16 MB together"""


@dataclass
class Run:
    """One run that the caller may read. What belongs to a run is reached through it."""

    catalog: Catalog
    start: Doc
    stop: Doc | None
    proposal: str | None
    document: Any
    """`_id` of the start document"""
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
        self._database = metadata(catalog)

    @cached_property
    def _readable(self) -> Filter:
        return self.access.filter(self.catalog)

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

    def among(
        self, ids: Sequence[Any], query: Query = ALL, *, descriptors: bool = False
    ) -> list[Run]:
        """Of the runs with these `_id`s those that satisfy the query, in no order.

        Two commands, three with descriptors, however many runs there are.
        """
        with asking(self.catalog):
            starts = list(self._starts(ids, query))
            stops = self._by_run("run_stop", [start.get("uid") for start in starts])
            for start in starts:
                uid = start.get("uid")
                start[STOP] = stops.get(uid, []) if type(uid) is str else []
            runs = self._runs(starts)
            if descriptors:
                self._add_descriptors(runs)
        return runs

    def matching(self, ids: Sequence[Any], query: Query) -> list[Any]:
        """Those of these `_id`s whose runs satisfy the query."""
        with asking(self.catalog):
            rows = self._aggregate([*self._matching(ids, query), {"$project": {"_id": 1}}])
            return [row["_id"] for row in rows]

    def facet(self, ids: Sequence[Any], query: Query, path: str) -> list[tuple[Any, int]]:
        """The values at a dotted path of these runs' start documents and how many have each.

        A list counts for each of its items.
        """
        stages: list[Doc] = [
            {"$unwind": f"${path}"},
            {"$group": {"_id": f"${path}", "count": {"$sum": 1}}},
        ]
        with asking(self.catalog):
            rows = list(self._aggregate([*self._matching(ids, query), *stages]))
        return [(row["_id"], int(row["count"])) for row in rows]

    # -- how -------------------------------------------------------------------------------

    def _where(self, *filters: Filter) -> Filter:
        """The one place where the access rule goes into a query."""
        return conjunction(*filters, self._readable)

    def _matching(self, ids: Sequence[Any], query: Query) -> list[Doc]:
        """The stages that select runs: first those that may be read, then, behind a barrier,
        those of them that satisfy the caller's conditions.

        So a condition is never judged on a run that is hidden, where how long it takes would tell
        of what the run contains.
        """
        stages: list[Doc] = [{"$match": self._where({"_id": {"$in": list(ids)}})}]
        if query == ALL:
            return stages
        stages.append(ANY_NUMBER_OF_RUNS)
        if query.start:
            stages.append({"$match": query.start})
        return stages + _join(query.joined)

    def _aggregate(self, pipeline: Sequence[Mapping[str, Any]]) -> CommandCursor[Doc]:
        return self._database.run_start.aggregate(
            pipeline, maxTimeMS=query_milliseconds(), allowDiskUse=True
        )

    def _starts(self, ids: Sequence[Any], query: Query) -> Iterator[Doc]:
        """Start documents alone."""
        if query == ALL:
            # The rule names thousands of proposals where the caller has so many. They are not
            # sent for documents by `_id`, which are judged when they have come.
            cursor = self._database.run_start.find({"_id": {"$in": list(ids)}})
            documents: Cursor[Doc] | CommandCursor[Doc] = cursor.batch_size(
                len(ids) + 1
            ).max_time_ms(query_milliseconds())
        else:
            documents = self._aggregate(self._matching(ids, query))
        with closing(documents) as found:
            for start in found:
                if not self.access.allows(self.catalog, start):
                    continue
                # Keys of the document itself could have these names, too.
                start.pop(STOP, None)
                start.pop(DESCRIPTORS, None)
                yield start

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
        document = start.pop("_id")
        proposal = self.access.proposal_of(self.catalog, start)
        stop = stops[-1] if stops else None
        return Run(self.catalog, start, stop, proposal, document, descriptors, self.access)


def renewed(run: Run) -> Run:
    """An open run as it is now: with the descriptors that have come, and the stop."""
    if run.stop is not None:
        return run
    with asking(run.catalog):
        # The stop is asked for first: what was stored before it is then seen by who reads on.
        stops = _stored_for(run, "run_stop")
        descriptors = _stored_for(run, "event_descriptor")
    return replace(run, stop=stops[-1] if stops else None, descriptors=descriptors)


def start_now(run: Run) -> Doc | None:
    """The start document as it is now; None if the run was removed."""
    with asking(run.catalog):
        found = metadata(run.catalog).run_start.find({"uid": run.uid}, {"_id": 0})
        starts = list(found.max_time_ms(query_milliseconds()))
    own = {key: value for key, value in run.start.items() if key != "_id"}
    # Old databases may have several runs of one uid.
    return own if own in starts else next(iter(starts), None)


def _stored_for(run: Run, collection: str) -> list[Doc]:
    cursor = metadata(run.catalog)[collection].find({"run_start": run.uid})
    return _own(list(cursor.max_time_ms(query_milliseconds())), run.uid)


def count_events(run: Run) -> dict[str, int]:
    """How many events each stream of the run has, counted in the database."""
    streams = {
        descriptor.uid: descriptor.name
        for descriptor in map(Descriptor, run.descriptors)
        if descriptor.uid is not None
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
    return {**streamed_counts(run), **counts}


def streamed_counts(run: Run) -> dict[str, int]:
    """By stream, up to which sequence number stream_datums say where values are.

    A stream may have these in the place of event documents. No command where none may have.
    """
    streams = {d.uid: d.name for d in map(Descriptor, run.descriptors) if d.outside and d.uid}
    if not streams or run.catalog.layout != NORMALIZED:
        return {}
    pipeline: list[Doc] = [
        {"$match": {"descriptor": {"$in": list(streams)}}},
        {"$group": {"_id": "$descriptor", "stop": {"$max": "$seq_nums.stop"}}},
    ]
    counts: dict[str, int] = {}
    with asking(run.catalog):
        datums = assets(run.catalog).stream_datum
        for row in datums.aggregate(pipeline, maxTimeMS=query_milliseconds()):
            if row["_id"] in streams and isinstance(row["stop"], int):
                name = streams[row["_id"]]
                counts[name] = max(counts.get(name, 0), int(row["stop"]) - 1)
    return counts


def referenced_fields(run: Run) -> set[tuple[str, str]]:
    """Of the fields that say they were recorded elsewhere, those to whose files the first event of
    their descriptor refers all the same; by descriptor uid and name.
    """
    outside = {
        descriptor.uid: descriptor.outside
        for descriptor in map(Descriptor, run.descriptors)
        if descriptor.uid is not None and descriptor.outside
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
    named = {
        (row["_id"], name)
        for row in rows
        if type(row["_id"]) is str and isinstance(row["data"], Mapping)
        for name in outside[row["_id"]]
        if isinstance(row["data"].get(name), str)
    }
    others = {(uid, name) for uid, names in outside.items() for name in names} - named
    streamed = _streamed_fields(run) if others else frozenset()
    return named | {(uid, name) for uid, name in others if name in streamed}


def _streamed_fields(run: Run) -> frozenset[str]:
    """The fields to whose files stream_resources refer; only the normalized layout has any."""
    if run.catalog.layout != NORMALIZED:
        return frozenset()
    with asking(run.catalog):
        found = assets(run.catalog).stream_resource.find({"run_start": run.uid}, {"data_key": 1})
        documents = list(found.max_time_ms(query_milliseconds()))
    return frozenset(str(document.get("data_key")) for document in documents)


def newest_event_time(run: Run) -> float | None:
    """When the newest event of the run was, epoch seconds; None if there is none yet."""
    newest = []
    with asking(run.catalog):
        for uid in uids_of(run.descriptors):
            where: Filter = {"descriptor": uid, "time": {"$gte": -math.inf}}
            found = metadata(run.catalog).event.find(where, {"_id": 0, "time": 1})
            found = found.sort([("time", -1)]).limit(1).max_time_ms(query_milliseconds())
            newest += [event["time"] for event in found if _is_number(event["time"])]
    return max(newest, default=None)


def any_event(run: Run, descriptors: Iterable[str]) -> Doc:
    """An event of one of these descriptors of the run, {} if there is none."""
    where: Filter = {"descriptor": {"$in": list(descriptors)}}
    with asking(run.catalog):
        found = metadata(run.catalog).event.find(where).limit(1).max_time_ms(query_milliseconds())
        # In a list a descriptor matches, too.
        return next((event for event in found if type(event["descriptor"]) is str), {})


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


def ping(catalog: Catalog) -> bool:
    """Does the catalog's database answer?"""
    try:
        with asking(catalog):
            database(catalog.metadata).command("ping")
    except CatalogUnavailable:
        return False
    return True
