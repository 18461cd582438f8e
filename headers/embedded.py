"""The layout of `suitcase.mongo_embedded`, read as if it were the normalized one.

A run is one document in `header`, with its start, stop, descriptors and resources as lists.
Events and datums are stored as pages: one document with a list for each key.

`EmbeddedDatabase` offers the six collections of the normalized layout as views: pipelines that
the server runs in front of a query. What the repositories ask, and with it the access rule,
stays the same, word for word. A view is read only; there is nothing here to write with.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.command_cursor import CommandCursor
from pymongo.cursor import RawBatchCursor
from pymongo.database import Database

Doc = dict[str, Any]
Stage = Mapping[str, Any]

BOUNDS = {"$eq", "$in", "$gt", "$gte", "$lt", "$lte"}
"""what holds for a list as soon as it holds for an item, so that a page is not missed"""
HEADER = "__header"
FIRST_ID = 10**9
"""of the events of a page; with as many digits for each, their order as text is theirs"""
PAGE_ID_DIGITS = 24


@dataclass(frozen=True)
class View:
    """A collection of the normalized layout, made of another one."""

    source: str
    stages: Sequence[Stage]
    narrowed_by: Mapping[str, str]
    """top-level key of the view's documents → path in the source that holds its value, too"""
    paged: bool = False
    """the first part of `_id` is that of a page"""
    joins: bool = False
    """has a HEADER, where joins find their documents"""

    def narrowed(self, where: Mapping[str, Any]) -> Doc:
        """A condition on the source that is true wherever the view's is; an index serves it."""
        found: Doc = {}
        for key, value in _conditions(where):
            if key in self.narrowed_by and (bounds := _bounds(value)):
                found.setdefault(self.narrowed_by[key], bounds)
            elif key == "_id" and self.paged and isinstance(value, str):
                page = value[:PAGE_ID_DIGITS]
                found["_id"] = ObjectId(page) if ObjectId.is_valid(page) else None
        return found

    def pipeline(self, stages: Sequence[Stage]) -> list[Stage]:
        """The stages of a query behind those that make the view."""
        first = stages[0].get("$match", {}) if stages else {}
        begin: list[Stage] = [{"$match": self.narrowed(first)}, *self.stages]
        if not self.joins:
            return [*begin, *stages]
        without: Stage = {"$project": {HEADER: 0}}
        if any("$lookup" in stage for stage in stages):
            return [*begin, *map(_join_within, stages), without]
        return [*begin, without, *stages]


def _conditions(where: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in where.items():
        if key == "$and":
            for part in value:
                yield from _conditions(part)
        else:
            yield key, value


def _bounds(value: Any) -> Any:
    """The part of a condition on one key that also holds for a list with the value in it."""
    if not isinstance(value, Mapping):
        return value if isinstance(value, str | int | float | ObjectId) else None
    return {operator: bound for operator, bound in value.items() if operator in BOUNDS}


def _items(of: str) -> list[Stage]:
    return [{"$unwind": f"${of}"}, {"$replaceRoot": {"newRoot": f"${of}"}}]


def _item(path: str) -> Doc:
    return {"$arrayElemAt": [path, "$at"]}


def _row(columns: str) -> Doc:
    """{key: list} → {key: item}. What is no list, or too short a one, is left out."""
    items: Doc = {"$cond": [{"$isArray": ["$$column.v"]}, "$$column.v", []]}
    present = {
        "$filter": {
            "input": {"$objectToArray": {"$ifNull": [columns, {}]}},
            "as": "column",
            "cond": {"$gt": [{"$size": items}, "$at"]},
        }
    }
    item = {"k": "$$column.k", "v": {"$arrayElemAt": ["$$column.v", "$at"]}}
    return {"$arrayToObject": {"$map": {"input": present, "as": "column", "in": item}}}


ROW_ID: Doc = {"$concat": [{"$toString": "$_id"}, "-", {"$toString": {"$add": [FIRST_ID, "$at"]}}]}
RESOURCE: Doc = {
    "$mergeObjects": [{"_id": "$resources.uid"}, "$resources", {"run_start": "$run_id"}]
}
RUN_START = View(
    "header",
    [
        {"$match": {"start.0": {"$exists": True}}},
        {
            "$replaceRoot": {
                "newRoot": {
                    "$mergeObjects": [
                        {"$arrayElemAt": ["$start", 0]},
                        {"_id": "$_id", HEADER: {"stop": "$stop", "descriptors": "$descriptors"}},
                    ]
                }
            }
        },
    ],
    {"uid": "start.uid", "time": "start.time", "_id": "_id"},
    joins=True,
)
VIEWS = {
    "run_start": RUN_START,
    "run_stop": View("header", _items("stop"), {"run_start": "stop.run_start"}),
    "event_descriptor": View(
        "header",
        _items("descriptors"),
        {"uid": "descriptors.uid", "run_start": "descriptors.run_start"},
    ),
    "resource": View(
        "header",
        [
            {"$unwind": "$resources"},
            # It belongs to the run that it is stored in, and to no other.
            {"$replaceRoot": {"newRoot": RESOURCE}},
        ],
        {"uid": "resources.uid", "_id": "resources._id"},
    ),
    "event": View(
        "event",
        [
            {"$unwind": {"path": "$uid", "includeArrayIndex": "at"}},
            {
                "$project": {
                    "_id": ROW_ID,
                    "uid": 1,
                    "time": _item("$time"),
                    "seq_num": _item("$seq_num"),
                    "descriptor": 1,
                    "data": _row("$data"),
                    "timestamps": _row("$timestamps"),
                    "filled": _row("$filled"),
                }
            },
        ],
        {"uid": "uid", "descriptor": "descriptor", "time": "time"},
        paged=True,
    ),
    "datum": View(
        "datum",
        [
            {"$unwind": {"path": "$datum_id", "includeArrayIndex": "at"}},
            {
                "$project": {
                    "_id": ROW_ID,
                    "datum_id": 1,
                    "resource": 1,
                    "datum_kwargs": _row("$datum_kwargs"),
                }
            },
        ],
        {"datum_id": "datum_id", "resource": "resource"},
        paged=True,
    ),
}
JOINED = {"run_stop": "stop", "event_descriptor": "descriptors"}
"""collection → the part of a header that has what a join by the run's uid finds there"""


def _join_within(stage: Stage) -> Stage:
    """A join of a run's documents, which its header already has."""
    join = stage.get("$lookup")
    if join is None:
        return stage
    own = {
        "input": {"$ifNull": [f"${HEADER}.{JOINED[join['from']]}", []]},
        "as": "item",
        "cond": {"$eq": ["$$item.run_start", "$uid"]},
    }
    return {"$set": {join["as"]: {"$filter": own}}}


@dataclass
class ViewCursor:
    """What a query of a view finds; built up as pymongo's cursors are, sent when it is read."""

    collection: Collection[Doc]
    view: View
    where: Mapping[str, Any]
    projection: Mapping[str, Any] | None = None
    raw: bool = False
    stages: dict[str, Any] = field(default_factory=dict)
    options: Doc = field(default_factory=dict)
    _opened: CommandCursor[Doc] | RawBatchCursor[Doc] | None = None

    def sort(self, keys: Any, order: int | None = None) -> "ViewCursor":
        by = {keys: order} if isinstance(keys, str) else dict(keys)
        return self._with("$sort", by)

    def skip(self, count: int) -> "ViewCursor":
        return self._with("$skip", count)

    def limit(self, count: int) -> "ViewCursor":
        return self._with("$limit", count)

    def batch_size(self, count: int) -> "ViewCursor":
        self.options |= {"batchSize": count} if count else {}
        return self

    def max_time_ms(self, milliseconds: int) -> "ViewCursor":
        self.options["maxTimeMS"] = milliseconds
        return self

    def allow_disk_use(self, allowed: bool) -> "ViewCursor":
        """Always: no index serves the order of a view."""
        return self

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def __iter__(self) -> "ViewCursor":
        return self

    def __next__(self) -> Any:
        if self._opened is None:
            read = self.collection.aggregate_raw_batches if self.raw else self.collection.aggregate
            self._opened = read(self._pipeline(), allowDiskUse=True, **self.options)
        return next(self._opened)

    def _with(self, stage: str, value: Any) -> "ViewCursor":
        if value:
            self.stages[stage] = value
        return self

    def _pipeline(self) -> list[Stage]:
        # A dictionary keeps one of each, and the server wants them in this order.
        stages: list[Stage] = [{"$match": self.where}]
        order = ("$sort", "$skip", "$limit")
        stages += [{name: self.stages[name]} for name in order if name in self.stages]
        if self.projection:
            stages.append({"$project": dict(self.projection)})
        return self.view.pipeline(stages)


@dataclass(frozen=True)
class ViewCollection:
    """The part of pymongo's Collection that reading repositories use."""

    collection: Collection[Doc]
    view: View

    def find(
        self,
        where: Mapping[str, Any] | None = None,
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Iterable[tuple[str, int]] = (),
    ) -> ViewCursor:
        return ViewCursor(self.collection, self.view, where or {}, projection).sort(sort)

    def find_one(
        self,
        where: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        max_time_ms: int,
    ) -> Doc | None:
        found = self.find(where, projection).limit(1).max_time_ms(max_time_ms)
        return next(found, None)

    def find_raw_batches(
        self,
        where: Mapping[str, Any],
        *,
        sort: Iterable[tuple[str, int]] = (),
        skip: int = 0,
        limit: int = 0,
    ) -> ViewCursor:
        cursor = ViewCursor(self.collection, self.view, where, raw=True)
        return cursor.sort(sort).skip(skip).limit(limit)

    def aggregate(self, pipeline: Sequence[Stage], **options: Any) -> CommandCursor[Doc]:
        return self.collection.aggregate(self.view.pipeline(pipeline), **options)

    def count_documents(self, where: Mapping[str, Any], **options: Any) -> int:
        stages: list[Stage] = [{"$match": where}, {"$count": "count"}]
        return sum(row["count"] for row in self.aggregate(stages, **options))

    def index_information(self) -> dict[str, Any]:
        """None: a view has no index of its own, so no text index that a search could use."""
        return {}


class EmbeddedDatabase:
    """The collections of the normalized layout, by their names, over an embedded database."""

    def __init__(self, database: Database[Doc]) -> None:
        self._database = database

    def __getitem__(self, name: str) -> ViewCollection:
        view = VIEWS[name]
        return ViewCollection(self._database[view.source], view)

    def __getattr__(self, name: str) -> ViewCollection:
        if name not in VIEWS:
            raise AttributeError(name)
        return self[name]
