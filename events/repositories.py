"""Events, and what they refer to, of a run that the caller may read.

Made from a `Run`, which only an access gives; nothing here reads without one. The one index on
events is (descriptor, time), so everything is asked for by descriptor and in the order of time.
"""

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from time import monotonic
from typing import Any, ClassVar, NamedTuple, cast

import bson
from bson import ObjectId
from pymongo.cursor import RawBatchCursor
from pymongo.errors import CursorNotFound, ExecutionTimeout

from headers.catalogs import NORMALIZED
from headers.finding import RunFinder
from headers.mongo import (
    CODEC,
    CatalogUnavailable,
    Doc,
    asking,
    assets,
    metadata,
    query_milliseconds,
)
from headers.repositories import Run, Runs
from headers.streams import uids_of
from policies.rule.conditions import Filter

BATCH_EVENTS = 2000
PATIENCE_SECONDS = 2.0
"""how long a reader may keep an open database cursor waiting"""
MERGED_DESCRIPTORS = 200
"""of how many MongoDB merges the sorted events; those of more it sorts itself"""
ID_TYPES = (int | float, str, bytes, ObjectId)
"""in the order that MongoDB sorts values of different types"""
ONE_NUMBER: Filter = {"$not": {"$type": ["array", "decimal"]}}
"""for `time` beside its bounds, which a list satisfies by any of its items"""
A_NUMBER: Filter = {"$gte": -math.inf, **ONE_NUMBER}
UNTIMED: Filter = {"$nor": [{"time": A_NUMBER}]}
LOOKUP_IDS = 2000
"""datums or resources asked for at once"""


@dataclass(frozen=True)
class Place:
    """A place in the order of events by (time, _id)."""

    time: float | None
    """None for an event without a number as time; those come last, by _id alone"""
    id: Any

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Place":
        time = event.get("time")
        return cls(time if _is_number(time) else None, event["_id"])

    @property
    def order(self) -> tuple[Any, ...]:
        """What sorts places as the database does."""
        rank = next((n for n, kind in enumerate(ID_TYPES) if isinstance(self.id, kind)), None)
        by_id = (9, bson.encode({"": self.id})) if rank is None else (rank, self.id)
        return (self.time is None, self.time or 0.0, *by_id)


class Reference(NamedTuple):
    """A datum and its resource, as they are stored."""

    datum: Doc
    resource: Doc


class _Interrupted(Exception):
    """A cursor that had begun ran out of its time, or the database forgot it."""


class Events:
    """The events of one run, and the datums and resources that they refer to."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._own = set(uids_of(run.descriptors))
        self._events = metadata(run.catalog).event
        self._assets = assets(run.catalog)

    def page(
        self,
        descriptors: Sequence[str],
        limit: int,
        *,
        after: Place | None = None,
        backwards: bool = False,
        only_timed: bool = False,
    ) -> list[Doc]:
        """At most `limit` events, with `_id`, in the order of (time, _id) or against it.

        Events without a number as time come last, in the order of _id; no index finds them, and
        `only_timed` leaves them out.
        """
        where = self._of(descriptors)
        if only_timed:
            return self._timed_page(where, limit, after, backwards)
        untimed = after is not None and after.time is None
        if backwards:
            found = self._untimed_page(where, limit, after, -1) if untimed else []
            rest = None if untimed else after
            return found + self._timed_page(where, limit - len(found), rest, backwards)
        found = [] if untimed else self._timed_page(where, limit, after, backwards)
        if len(found) == limit:
            return found
        return found + self._untimed_page(where, limit - len(found), after if untimed else None, 1)

    def _untimed_page(
        self, where: Filter, limit: int, after: Place | None, order: int
    ) -> list[Doc]:
        behind = {} if after is None else {"_id": {"$gt" if order > 0 else "$lt": after.id}}
        return self._find(where | UNTIMED | behind, {"_id": order}, limit)

    def _timed_page(
        self, where: Filter, limit: int, after: Place | None, backwards: bool
    ) -> list[Doc]:
        """The index orders by time only. So does the query, which then reads no more than it
        returns; only where the page ends amid events of equal time are these asked for by _id.
        """
        if not limit:
            return []
        order = -1 if backwards else 1
        found = self._find(where | _behind(after, backwards), {"time": order}, limit)
        if len(found) == limit and found[-1]["time"] == found[-2:][0]["time"]:
            last = found[-1]["time"]
            found = [event for event in found if event["time"] != last]
            ties = _ties(last, after, backwards)
            found += self._find(where | ties, {"_id": order}, limit - len(found))
        return sorted(found, key=lambda event: Place.of(event).order, reverse=backwards)

    def stream_batches(self, descriptors: Sequence[str]) -> Generator[bytes, None, None]:
        """All events by time, as concatenated BSON documents, some thousand at once.

        Events of equal time come in the order that the index has them in, which no server
        promises.

        One database cursor serves a reader that keeps up. Of one that takes longer than
        `PATIENCE_SECONDS` over a batch the cursor is closed, and its next batches are asked
        for one by one, from where it is: behind the time of the last event, or, where some event
        has no number as time, behind as many events as it has.
        """
        where = self._of(descriptors)
        tail: _Tail | _Count = _Tail()
        slow = False
        while True:
            limit = BATCH_EVENTS if slow else 0
            begun = False
            with closing(self._open(where, tail, limit)) as cursor, suppress(_Interrupted):
                while batch := self._next(cursor, begun):
                    begun = True
                    tail = tail.and_then(batch)
                    begin = monotonic()
                    yield batch
                    slow = monotonic() - begin > PATIENCE_SECONDS
                    if slow:
                        break
                else:
                    if not (limit and begun):
                        return
            if isinstance(tail, _Tail) and tail.count and self._untimed(where):
                tail = _Count(tail.count)

    def times(self, descriptors: Sequence[str], first: int, count: int) -> list[float] | None:
        """The times of some events by their number in the order of time, from 0.

        From the index alone. None where there are not as many, or where one of them shares its
        time with another event, so that their order is not certain.
        """
        beside = min(first, 1)  # one more at each end tells whether a time is shared
        found = self._events.find(self._of(descriptors), {"_id": 0, "time": 1}, sort=[("time", 1)])
        with asking(self.run.catalog):
            limited = found.skip(first - beside).limit(beside + count + 1)
            times: list[Any] = [e.get("time") for e in limited.max_time_ms(query_milliseconds())]
        return times[beside:][:count] if len(times) >= beside + count and _rising(times) else None

    def between(self, descriptors: Sequence[str], first: float, last: float) -> bytes:
        """The events from one time to another, in order, as concatenated BSON documents."""
        where = self._of(descriptors) | {"time": {"$gte": first, "$lte": last}}
        found = self._events.find_raw_batches(where, sort=[("time", 1)])
        with asking(self.run.catalog):
            return b"".join(_bytes(found.max_time_ms(query_milliseconds())))

    def firsts(self, descriptors: Sequence[str]) -> dict[str, Doc]:
        """The first event of each descriptor that has any, by descriptor; one command."""
        pipeline: list[Doc] = [
            {"$match": self._of(descriptors)},
            {"$sort": {"descriptor": -1, "time": 1}},  # as the index has them
            {"$group": {"_id": "$descriptor", "event": {"$first": "$$ROOT"}}},
        ]
        options: Doc = {"maxTimeMS": query_milliseconds(), "allowDiskUse": True}
        with asking(self.run.catalog):
            found = self._events.aggregate(pipeline, **options)
            # Of an event that names descriptors in a list, `_id` is that list.
            return {row["_id"]: row["event"] for row in found if type(row["_id"]) is str}

    def counts(self) -> dict[str, int]:
        """How many events each descriptor has, by uid; none for a descriptor without."""
        pipeline: list[Doc] = [
            {"$match": {"descriptor": {"$in": sorted(self._own)}}},
            {"$group": {"_id": "$descriptor", "count": {"$sum": 1}}},
        ]
        with asking(self.run.catalog):
            rows = self._events.aggregate(pipeline, maxTimeMS=query_milliseconds())
            return {row["_id"]: row["count"] for row in rows if type(row["_id"]) is str}

    def references(self, datum_ids: Iterable[str]) -> dict[str, Reference]:
        """The datums of these ids that belong to this run, with their resources; by id.

        Those of another run's resource are left out, as are those that do not exist.
        """
        found = {}
        wanted = list(dict.fromkeys(datum_ids))
        for begin in range(0, len(wanted), LOOKUP_IDS):
            datums = self._by("datum", "datum_id", wanted[begin : begin + LOOKUP_IDS])
            keys = {datum_id: datum.get("resource") for datum_id, datum in datums.items()}
            resources = self._resources({k for k in keys.values() if isinstance(k, str | ObjectId)})
            for datum_id, key in keys.items():
                if isinstance(key, str | ObjectId) and key in resources:
                    found[datum_id] = Reference(datums[datum_id], resources[key])
        return found

    def stream_resources(self) -> list[Doc]:
        """The run's stream_resources.

        Only this service stores them, and only in the normalized layout.
        """
        if self.run.uid is None or self.run.catalog.layout != NORMALIZED:
            return []
        with asking(self.run.catalog):
            found = self._assets.stream_resource.find({"run_start": self.run.uid})
            return list(found.max_time_ms(query_milliseconds()))

    def stream_datums(self, resources: Sequence[str], wanted: range | None = None) -> list[Doc]:
        """The stream_datums of these stream_resources that are about events of this run.

        wanted: only those about any of these sequence numbers.
        """
        about = (
            {}
            if wanted is None
            else {
                "seq_nums.start": {"$lt": wanted.stop},
                "seq_nums.stop": {"$gt": wanted.start},
            }
        )
        found = list[Doc]()
        for begin in range(0, len(resources), LOOKUP_IDS):
            of_some = {"stream_resource": {"$in": list(resources[begin : begin + LOOKUP_IDS])}}
            with asking(self.run.catalog):
                cursor = self._assets.stream_datum.find(of_some | about)
                found += cursor.max_time_ms(query_milliseconds())
        return [datum for datum in found if self._is_own(datum.get("descriptor"))]

    def stream_datums_between(self, descriptor: str, above: int, until: float) -> list[Doc]:
        """The stream_datums of a descriptor by their first sequence number, which is
        `above` < number ≤ `until`.
        """
        self._of([descriptor])
        where = {"descriptor": descriptor, "seq_nums.start": {"$gt": above, "$lte": until}}
        with asking(self.run.catalog):
            found = self._assets.stream_datum.find(where).max_time_ms(query_milliseconds())
            return sorted(filter(_is_placed, found), key=_first_number)

    def stream_datums_behind(self, starts: Mapping[str, float], limit: int) -> list[Doc]:
        """The next stream_datums of stream_resources, by their first sequence number.

        starts: by the uid of a stream_resource, from which first sequence number on.
        """
        where = [
            {"stream_resource": uid, "seq_nums.start": {"$gte": start}}
            for uid, start in starts.items()
        ]
        if not where:
            return []
        with asking(self.run.catalog):
            found = self._assets.stream_datum.find({"$or": where} if where[1:] else where[0])
            found = found.sort("seq_nums.start", 1).limit(limit)
            documents = filter(_is_placed, found.max_time_ms(query_milliseconds()))
            return [datum for datum in documents if self._is_own(datum.get("descriptor"))]

    def newest_stream_datums(self, resource: str, limit: int) -> list[Doc]:
        """The last stream_datums of a stream_resource, by their first sequence number, rising."""
        where = {"stream_resource": resource, "seq_nums.start": {"$gte": -math.inf}}
        with asking(self.run.catalog):
            found = self._assets.stream_datum.find(where).sort("seq_nums.start", -1).limit(limit)
            documents = list(filter(_is_placed, found.max_time_ms(query_milliseconds())))
        return [d for d in reversed(documents) if self._is_own(d.get("descriptor"))]

    # -- how -------------------------------------------------------------------------------

    def _is_own(self, descriptor: Any) -> bool:
        return type(descriptor) is str and descriptor in self._own

    def _of(self, descriptors: Sequence[str]) -> Filter:
        if foreign := set(descriptors) - self._own:
            raise ValueError(f"not descriptors of this run: {', '.join(sorted(foreign))}")
        if len(descriptors) == 1:
            return {"descriptor": descriptors[0]}
        return {"descriptor": {"$in": list(descriptors)}}

    def _find(self, where: Filter, sort: Mapping[str, int], limit: int) -> list[Doc]:
        cursor = self._events.find(where).sort(sort).limit(limit).batch_size(limit)
        with asking(self.run.catalog):
            return list(cursor.max_time_ms(query_milliseconds()))

    def _open(self, where: Filter, tail: "_Tail | _Count", limit: int) -> RawBatchCursor[Doc]:
        """The events behind the tail."""
        cursor = self._events.find_raw_batches(
            where | tail.behind(), sort=[("time", 1)], skip=tail.skipped, limit=limit
        )
        if len(self._own) > MERGED_DESCRIPTORS:
            cursor.allow_disk_use(True)
        cursor.batch_size(BATCH_EVENTS).max_time_ms(query_milliseconds())
        return cursor

    def _untimed(self, where: Filter) -> bool:
        """Is there an event whose time is no number, and so has no place behind another?"""
        with asking(self.run.catalog):
            options: Doc = {"max_time_ms": query_milliseconds()}
            return self._events.find_one(where | UNTIMED, {"_id": 1}, **options) is not None

    def _next(self, cursor: RawBatchCursor[Doc], begun: bool) -> bytes | None:
        """The next batch, None at the end. _Interrupted: go on with another cursor."""
        try:
            with asking(self.run.catalog):
                return next((batch for batch in _bytes(cursor) if batch), None)
        except CatalogUnavailable as error:
            if begun and isinstance(error.__cause__, ExecutionTimeout | CursorNotFound):
                raise _Interrupted from error
            raise

    def _resources(self, keys: set[Any]) -> dict[Any, Doc]:
        """Resources by what datums call them: uid, or in old data `_id`."""
        found = self._by("resource", "uid", [key for key in keys if isinstance(key, str)])
        missing = {ObjectId(key): key for key in keys - set(found) if ObjectId.is_valid(key)}
        old = self._by("resource", "_id", list(missing))
        return found | {missing[key]: resource for key, resource in old.items()}

    def _by(self, collection: str, key: str, values: Sequence[Any]) -> dict[Any, Doc]:
        """Documents by a key that may be there several times; this run's own come first."""
        if not values:
            return {}
        found: dict[Any, Doc] = {}
        cursor = self._assets[collection].find({key: {"$in": list(values)}})
        with asking(self.run.catalog):
            for document in cursor.batch_size(LOOKUP_IDS).max_time_ms(query_milliseconds()):
                value, named = document[key], document.get("run_start")
                if not isinstance(value, str | ObjectId):
                    continue  # a list, which matches by its items
                if named == self.run.uid:
                    found[value] = document
                elif named is None:
                    found.setdefault(value, document)
        return found


class RunsWithEvents(RunFinder):
    """The same runs, which also finds one of their events."""

    def of_event(self, uid: str) -> tuple[Run, Doc]:
        """An event, with `_id`, and its run."""
        found = self._first(lambda runs: _event_of(runs, uid))
        if found is None:
            raise self._nothing()
        return found


def _event_of(runs: Runs, uid: str) -> tuple[Run, Doc] | None:
    with asking(runs.catalog):
        events = metadata(runs.catalog).event
        named = events.find_one({"uid": uid}, {"descriptor": 1}, max_time_ms=query_milliseconds())
    # Asked even when there is no such event, so that a hidden one takes as long; and read only
    # when it may be.
    found = runs.of_descriptor(str((named or {}).get("descriptor")))
    if found is None or named is None:
        return None
    with asking(runs.catalog):
        event = events.find_one({"_id": named["_id"]}, max_time_ms=query_milliseconds())
    return (found[0], event) if event else None


def _bytes(cursor: RawBatchCursor[Doc]) -> Iterator[bytes]:
    # pymongo's annotations say documents; a raw cursor yields bytes.
    return cast(Iterator[bytes], cursor)


def _is_placed(stream_datum: Doc) -> bool:
    """Whether it says where it belongs; a list satisfies a bound by any of its items."""
    names = (stream_datum.get(name) for name in ("uid", "stream_resource"))
    seq_nums = stream_datum.get("seq_nums")
    start = seq_nums.get("start") if isinstance(seq_nums, Mapping) else None
    return all(type(name) is str for name in names) and isinstance(start, int)


def _first_number(stream_datum: Doc) -> int:
    return int(stream_datum["seq_nums"]["start"])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _rising(times: Sequence[Any]) -> bool:
    """Whether all are numbers, each larger than the one before."""
    numbers = all(isinstance(time, int | float) for time in times)
    return numbers and all(a < b for a, b in pairwise(times))


def _behind(after: Place | None, backwards: bool) -> Filter:
    if after is None:
        return {"time": A_NUMBER}
    bound, strict = ("$lte", "$lt") if backwards else ("$gte", "$gt")
    # `time` is bounded on its own, for the index.
    ties = [{"time": {strict: after.time}}, {"_id": {strict: after.id}}]
    return {"time": {bound: after.time, **ONE_NUMBER}, "$or": ties}


def _ties(time: Any, after: Place | None, backwards: bool) -> Filter:
    """Events of just this time, those behind a place."""
    if after is None or after.time != time:
        return {"time": {"$eq": time, **ONE_NUMBER}}
    return {"time": {"$eq": time, **ONE_NUMBER}, "_id": {"$lt" if backwards else "$gt": after.id}}


@dataclass(frozen=True)
class _Tail:
    """Where a stream is: the time of its last event, and the ids of all its events of that time."""

    time: Any = None
    ids: tuple[Any, ...] = ()
    count: int = 0
    """of all events so far"""
    skipped: ClassVar[int] = 0

    def behind(self) -> Filter:
        if not self.ids:
            return {}
        return {"time": {"$gte": self.time}, "_id": {"$nin": list(self.ids)}}

    def and_then(self, batch: bytes) -> "_Tail":
        time, ids = None, list[Any]()
        starts = _starts(batch)
        count = self.count + len(starts)
        for document in _from_the_end(batch, starts):
            if ids and document.get("time") != time:
                return _Tail(time, tuple(ids), count)
            time = document.get("time")
            ids.append(document.get("_id"))
        earlier = self.ids if time == self.time else ()
        return _Tail(time, (*earlier, *ids), count)


@dataclass(frozen=True)
class _Count:
    """Where a stream of events without usable times is: how many of them there were."""

    skipped: int

    def behind(self) -> Filter:
        return {}

    def and_then(self, batch: bytes) -> "_Count":
        return _Count(self.skipped + len(_starts(batch)))


def _starts(batch: bytes) -> list[int]:
    """Where the documents of a batch begin."""
    starts, at = [], 0
    while at < len(batch):
        starts.append(at)
        at += int.from_bytes(batch[at : at + 4], "little")
    return starts


def _from_the_end(batch: bytes, starts: list[int]) -> Iterator[Doc]:
    """The documents of a batch, decoded one by one, the last one first."""
    for start, end in zip(reversed(starts), [len(batch), *reversed(starts)], strict=False):
        yield bson.decode(batch[start:end], CODEC)
