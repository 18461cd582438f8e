"""What is stored of a run that is being written, and the one place that stores documents."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any

from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from django.conf import settings
from django.utils import timezone
from pymongo import ReadPreference, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from headers.catalogs import Catalog
from headers.mongo import CatalogUnavailable, asking, database, query_milliseconds
from writing.documents import KINDS, Doc, DocumentKind, Item, made_id

DUPLICATE = 11000
INDEXES_SECONDS = 60.0
MILLISECONDS = 1000


class IndexesMissing(Exception):
    """Without unique indexes, what is sent twice would be stored twice."""

    def __init__(self, catalog: Catalog, names: Iterable[str]) -> None:
        super().__init__(
            f"The database of {catalog.name} lacks unique indexes of {', '.join(names)}: nothing is"
            " written until an operator has run 'manage.py check_catalogs --create-indexes'."
        )


@dataclass
class StoredRun:
    """What is stored of a run. None, and empty: nothing is."""

    start: Doc | None = None
    stopped: datetime | None = None
    """when its stop was stored"""
    descriptors: set[str] = field(default_factory=set)


class Store:
    """The databases of one catalog, for writing. Everything it confirms is durable."""

    def __init__(self, catalog: Catalog) -> None:
        if catalog.metadata_write is None or catalog.assets_write is None:
            raise ValueError(f"{catalog.name} is read only")
        self._catalog = catalog
        self._metadata = _durable(database(catalog.metadata_write))
        self._assets = _durable(database(catalog.assets_write))

    # -- what is known ---------------------------------------------------------------------

    def run(self, uid: str) -> StoredRun:
        """What is stored of the run with this uid."""
        limit = query_milliseconds()
        with asking(self._catalog):
            start = self._metadata.run_start.find_one({"uid": uid}, max_time_ms=limit)
            if start is None:
                return StoredRun()
            where = {"run_start": uid}
            stop = self._metadata.run_stop.find_one(where, max_time_ms=limit)
            found = self._metadata.event_descriptor.find(where, {"uid": 1}).max_time_ms(limit)
            descriptors = {str(descriptor.get("uid")) for descriptor in found}
        return StoredRun(start, _stored_at(stop) if stop else None, descriptors)

    def run_of(self, item: Item) -> str | None:
        """The uid of the run to which a document belongs by what it refers to."""
        kind = "resource" if item.kind.name == "datum" else "descriptor"
        found = self.stored(KINDS[kind], [str(item.document.get(kind))])
        run = next(iter(found.values()), {}).get("run_start")
        return run if type(run) is str else None

    def stored(self, kind: DocumentKind, keys: Iterable[str]) -> dict[str, Doc]:
        """Documents of a kind that are stored, by key."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}
        where: Doc = {kind.key: {"$in": wanted}}
        if kind.made_id and kind.name != "resource":  # which others have written, too
            where = {"_id": {"$in": [made_id(key) for key in wanted]}}
        with asking(self._catalog):
            found = self._collection(kind).find(where).batch_size(len(wanted) + 1)
            found.max_time_ms(query_milliseconds())
            return {doc[kind.key]: doc for doc in found if type(doc.get(kind.key)) is str}

    # -- what is new -----------------------------------------------------------------------

    def insert(self, kind: DocumentKind, items: Sequence[Item]) -> list[Item]:
        """Stores documents; gives those whose key is taken already."""
        documents = [RawBSONDocument(item.raw) for item in items]
        try:
            with asking(self._catalog):
                return self._insert(kind, items, documents)
        except CatalogUnavailable:
            _verified.pop(self._catalog.name, None)
            raise

    def _insert(
        self, kind: DocumentKind, items: Sequence[Item], documents: list[RawBSONDocument]
    ) -> list[Item]:
        try:
            self._collection(kind).insert_many(documents, ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            errors = details.get("writeErrors", [])
            if details.get("writeConcernErrors") or any(e["code"] != DUPLICATE for e in errors):
                raise
            return [items[e["index"]] for e in errors]
        return []

    def require_indexes(self) -> None:
        """IndexesMissing unless the database itself keeps documents from being there twice."""
        if monotonic() - _verified.get(self._catalog.name, -INDEXES_SECONDS) < INDEXES_SECONDS:
            return
        missing = []
        for kind in KINDS.values():
            if not kind.made_id and not self._is_unique(kind):
                missing.append(f"{kind.collection}.{kind.key}")
        if missing:
            raise IndexesMissing(self._catalog, missing)
        _verified[self._catalog.name] = monotonic()

    def _is_unique(self, kind: DocumentKind) -> bool:
        with asking(self._catalog):
            indexes = self._collection(kind).index_information().values()
        return any(_keeps_unique(index, kind.key) for index in indexes)

    def _collection(self, kind: DocumentKind) -> Collection[Doc]:
        return (self._assets if kind.in_assets else self._metadata)[kind.collection]


_verified: dict[str, float] = {}
"""catalog → when its indexes were looked at, and found"""


def _durable(stored: Database[Doc]) -> Database[Doc]:
    concern = WriteConcern(w="majority", j=True, wtimeout=settings.QUERY_SECONDS * MILLISECONDS)
    return stored.with_options(write_concern=concern, read_preference=ReadPreference.PRIMARY)


def _keeps_unique(index: Mapping[str, Any], key: str) -> bool:
    partly = {"partialFilterExpression", "sparse"} & set(index)
    return bool(index.get("unique")) and not partly and [name for name, _ in index["key"]] == [key]


def _stored_at(stop: Doc) -> datetime:
    """By the server's clock; of a stop with an `_id` of another kind, long ago."""
    own = stop.get("_id")
    long_ago = datetime.fromtimestamp(0, tz=timezone.get_default_timezone())
    return own.generation_time if isinstance(own, ObjectId) else long_ago
