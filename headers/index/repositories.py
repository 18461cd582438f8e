"""What the run index reads of a catalog: new documents, behind the last one seen."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from bson import ObjectId

from headers.catalogs import EMBEDDED, Catalog
from headers.index.keys import OBJECT_ID, Key, behind, id_of, key_of
from headers.index.models import Source
from headers.index.rows import Ending, Row, ending, row_of
from headers.mongo import Doc, asking, metadata, query_milliseconds

BATCH = 1000
MOST_AT_ONCE = 200_000
"""documents of one catch-up, of which the `_id` is read; the next one goes on behind them"""
ENDING_FIELDS = {"run_start": 1, "exit_status": 1, "time": 1, "num_events": 1}


@dataclass(frozen=True)
class News:
    """What has come to a catalog."""

    starts: list[bytes] = field(default_factory=list)
    """keys of start documents, which the index may have already"""
    ended: list[str] = field(default_factory=list)
    """uids of runs that a stop document names"""
    newest_start: bytes | None = None
    newest_stop: bytes | None = None


class Documents:
    """The documents of a catalog, for the index. It holds all runs: who reads it, asks the rule."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._database = metadata(catalog)

    def newest(self) -> News:
        """The newest documents, behind which a catch-up is to begin."""
        with asking(self.catalog):
            starts, stops = (self._newest_id(name) for name in ("run_start", "run_stop"))
        return News(newest_start=starts, newest_stop=stops)

    def news(self, source: Source, now: float, still_open: Sequence[str] = ()) -> News:
        """What came behind what was seen last, and a little before it.

        `still_open` are runs whose stops cannot be found by their age, in the embedded layout.
        """
        with asking(self.catalog):
            since = {"_id": {"$gt": behind(source.newest_start, now)}}
            starts = [key_of(found) for found in self._ids("run_start", since, 1, MOST_AT_ONCE)]
            stops = self._new_stops(source, now, still_open)
        keys = [key for key in starts if key is not None]
        stop_keys = [key for stop in stops if (key := key_of(stop.get("_id"))) is not None]
        return News(
            keys,
            [stop["run_start"] for stop in stops if type(stop["run_start"]) is str],
            _newest(keys, source.newest_start),
            _newest(stop_keys, source.newest_stop),
        )

    def rows(self, keys: Sequence[bytes]) -> list[tuple[Row, Ending]]:
        """The rows of these start documents, of those that are there."""
        found: list[tuple[Row, Ending]] = []
        with asking(self.catalog):
            for at in range(0, len(keys), BATCH):
                ids = [id_of(key) for key in keys[at : at + BATCH]]
                cursor = self._database.run_start.find({"_id": {"$in": ids}})
                found += self._rows(cursor.max_time_ms(query_milliseconds()))
        return found

    def endings(self, times: dict[str, float | None]) -> dict[str, Ending]:
        """How the runs of these uids ended, given the times of their starts."""
        with asking(self.catalog):
            stops = self._stops(times)
        return {uid: ending(time, stops.get(uid, [])) for uid, time in times.items()}

    def batches(
        self, below: Key | None, milliseconds: int | None = None
    ) -> Iterator[list[tuple[Row, Ending]]]:
        """All runs behind a key in the order of newest first, then those with other `_id`s.

        `milliseconds` bounds the server's work on them; by default it may take all day.
        """
        upper = ObjectId(b"\xff" * 12) if below is None else id_of(below)
        if isinstance(upper, ObjectId):
            comparison = "$lte" if below is None else "$lt"
            yield from self._sorted({"_id": {comparison: upper}}, milliseconds)
        yield from self._sorted({"_id": {"$not": {"$type": "objectId"}}}, milliseconds)

    def present(self, keys: Sequence[bytes]) -> set[bytes]:
        """Those of these start documents that are there."""
        with asking(self.catalog):
            ids = [id_of(key) for key in keys]
            found = self._ids("run_start", {"_id": {"$in": ids}}, 1, len(ids))
        return {key for item in found if (key := key_of(item)) is not None}

    # -- how -------------------------------------------------------------------------------

    def _ids(self, collection: str, where: Doc, order: int, limit: int) -> list[Any]:
        cursor = self._database[collection].find(where, {"_id": 1}).sort([("_id", order)])
        cursor = cursor.limit(limit).max_time_ms(query_milliseconds())
        return [found["_id"] for found in cursor]

    def _newest_id(self, collection: str) -> bytes:
        nothing = ObjectId(bytes(12))
        if collection == "run_stop" and self.catalog.layout == EMBEDDED:
            return OBJECT_ID + nothing.binary
        found = self._ids(collection, {"_id": {"$gte": nothing}}, -1, 1)
        return OBJECT_ID + (found[0] if found else nothing).binary

    def _new_stops(self, source: Source, now: float, still_open: Sequence[str]) -> list[Doc]:
        if self.catalog.layout == EMBEDDED:
            return [{"run_start": uid} for uid in self._stops(still_open)]
        where: Doc = {"_id": {"$gt": behind(source.newest_stop, now)}}
        cursor = self._database.run_stop.find(where, {"run_start": 1}).sort([("_id", 1)])
        found = list(cursor.limit(MOST_AT_ONCE).max_time_ms(query_milliseconds()))
        return [stop for stop in found if "run_start" in stop]

    def _stops(self, uids: Iterable[str]) -> dict[str, list[Doc]]:
        found: dict[str, list[Doc]] = defaultdict(list)
        wanted = list(uids)
        for at in range(0, len(wanted), BATCH):
            where = {"run_start": {"$in": wanted[at : at + BATCH]}}
            cursor = self._database.run_stop.find(where, ENDING_FIELDS)
            for stop in cursor.max_time_ms(query_milliseconds()):
                if type(stop["run_start"]) is str:  # in a list it matches, too
                    found[stop["run_start"]].append(stop)
        return found

    def _rows(self, starts: Iterable[Doc]) -> list[tuple[Row, Ending]]:
        rows = [row for start in starts if (row := row_of(self.catalog, start)) is not None]
        stops = self._stops(row.uid for row in rows if row.uid is not None)
        return [(row, ending(row.time, stops.get(row.uid or "", []))) for row in rows]

    def _sorted(self, where: Doc, milliseconds: int | None) -> Iterator[list[tuple[Row, Ending]]]:
        with asking(self.catalog):
            cursor = self._database.run_start.find(where).sort([("_id", -1)]).batch_size(BATCH)
            cursor = cursor.max_time_ms(milliseconds)
            with closing(cursor):
                while starts := list(islice(cursor, BATCH)):
                    yield self._rows(starts)


def _newest(keys: Sequence[bytes], before: Key | None) -> bytes | None:
    known = [key for key in keys if key[:1] == OBJECT_ID]
    return max([*known, *([] if before is None else [bytes(before)])], default=None)
