"""Is a catalog's database as the service needs it? Looks only, and changes nothing."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from events.assets import OutsideRoots, Resource, Roots, allowed, installed_handlers
from headers.catalogs import EMBEDDED, Catalog
from headers.mongo import (
    CatalogUnavailable,
    Doc,
    asking,
    assets,
    database,
    metadata,
    query_milliseconds,
)
from policies.conditions import AnyOf, Filter, Not, RunIn, conjunction
from policies.proposal_paths import Wins

METADATA = ("run_start", "run_stop", "event_descriptor", "event")
ASSETS = ("resource", "datum")
EMBEDDED_METADATA, EMBEDDED_ASSETS = ("header", "event"), ("datum",)
MADE_BY_SUITCASE = {"data_session"}
"""paths of the proposal that suitcase-mongo makes an index for"""
SAMPLED_SPECS = 10_000
SAMPLED_FILES = 25
SHOWN = 5

Keys = tuple[tuple[str, int], ...]


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    level: Level
    text: str


@dataclass(frozen=True)
class Index:
    """An index that a route of the service needs."""

    uri: str
    collection: str
    keys: Keys
    needed: bool = True
    """else it only makes some questions faster"""

    def __str__(self) -> str:
        return f"{self.collection} ({', '.join(f'{name} {order}' for name, order in self.keys)})"


def check_catalog(catalog: Catalog, overrides: Iterable[str] = ()) -> list[Finding]:
    """What an operator should know of a catalog. `overrides` are uids whose proposal was set."""
    checks = (_collections, _indexes, _handlers, _files, partial(_runs, overrides=overrides))
    return _checked(catalog, [partial(check, catalog) for check in checks])


def check_quickly(catalog: Catalog) -> list[Finding]:
    """What takes no look at every run: collections, indexes and handlers."""
    checks = (_collections, _indexes, _handlers)
    return _checked(catalog, [partial(check, catalog) for check in checks])


def _checked(catalog: Catalog, checks: Iterable[Callable[[], Iterator[Finding]]]) -> list[Finding]:
    try:
        _ping(catalog)
    except CatalogUnavailable as error:
        return [Finding(Level.WRONG, f"not reachable: {error}")]
    found = [Finding(Level.OK, "reachable")]
    for check in checks:
        try:
            found.extend(check())
        except CatalogUnavailable as error:
            found.append(Finding(Level.WRONG, f"could not be checked to the end: {error}"))
    return found


def missing_indexes(catalog: Catalog) -> list[Index]:
    """The indexes of `wanted_indexes` that the databases lack."""
    missing = []
    for index in wanted_indexes(catalog):
        with asking(catalog):
            there = database(index.uri)[index.collection].index_information().values()
        if not any(_serves([tuple(key) for key in known["key"]], index.keys) for known in there):
            missing.append(index)
    return missing


def wanted_indexes(catalog: Catalog) -> list[Index]:
    """Those that suitcase-mongo makes and a route uses, and one for each path of the proposal."""
    if catalog.layout == EMBEDDED:
        return _wanted_embedded(catalog)
    paths = dict.fromkeys(place.path for place in catalog.proposal.places)
    by_path = [
        Index(catalog.metadata, "run_start", ((path, 1),), needed=path in MADE_BY_SUITCASE)
        for path in paths
    ]
    return by_path + _always_wanted(catalog)


def _wanted_embedded(catalog: Catalog) -> list[Index]:
    """Those that suitcase's mongo_embedded makes by itself."""
    header = [
        Index(catalog.metadata, "header", ((path, -1),))
        for path in ("start.uid", "start.time", "descriptors.uid")
    ]
    return [
        *header,
        Index(catalog.assets, "header", (("resources.uid", 1),)),
        Index(catalog.metadata, "event", (("uid", -1),)),
        Index(catalog.metadata, "event", (("descriptor", -1),)),
        Index(catalog.assets, "datum", (("datum_id", 1),)),
    ]


def _always_wanted(catalog: Catalog) -> list[Index]:
    metadata: dict[str, list[Keys]] = {
        "run_start": [(("uid", 1),), (("scan_id", 1),), (("time", -1), ("_id", -1))],
        "run_stop": [(("run_start", 1),)],
        "event_descriptor": [(("uid", 1),), (("run_start", 1), ("time", 1))],
        "event": [(("uid", 1),), (("descriptor", -1), ("time", 1))],
    }
    assets: dict[str, list[Keys]] = {
        "resource": [(("uid", 1),)],
        "datum": [(("datum_id", 1),), (("resource", 1),)],
    }
    return [
        Index(uri, collection, keys)
        for uri, wanted in ((catalog.metadata, metadata), (catalog.assets, assets))
        for collection, several in wanted.items()
        for keys in several
    ]


def without_proposal(catalog: Catalog, overrides: Iterable[str] = ()) -> Filter:
    """Runs whose document names no proposal, and for which none was set."""
    names_one = AnyOf(tuple(Wins(place) for place in catalog.proposal.places))
    return conjunction(Not(names_one).mongo(), Not(RunIn(frozenset(overrides))).mongo())


def _serves(there: list[tuple[str, Any]], wanted: Keys) -> bool:
    """An index also serves its own beginning, and every order turned round."""
    begins = tuple(there[: len(wanted)])
    return begins in (wanted, tuple((name, -order) for name, order in wanted))


def _ping(catalog: Catalog) -> None:
    for uri in {catalog.metadata, catalog.assets}:
        with asking(catalog):
            database(uri).command("ping")


def _collections(catalog: Catalog) -> Iterator[Finding]:
    embedded = catalog.layout == EMBEDDED
    for uri, wanted, level in (
        (catalog.metadata, EMBEDDED_METADATA if embedded else METADATA, Level.WRONG),
        # A beamline without detector files has no such collections.
        (catalog.assets, EMBEDDED_ASSETS if embedded else ASSETS, Level.NOTE),
    ):
        with asking(catalog):
            there = database(uri).list_collection_names()
        if not embedded and "header" in there and "run_start" not in there:
            yield Finding(Level.WRONG, 'of the embedded layout: set layout = "embedded"')
        elif missing := [name for name in wanted if name not in there]:
            yield Finding(level, f"collections missing: {', '.join(missing)}")
        else:
            yield Finding(Level.OK, f"collections present: {', '.join(wanted)}")


def _indexes(catalog: Catalog) -> Iterator[Finding]:
    missing = missing_indexes(catalog)
    for index in missing:
        level = Level.WRONG if index.needed else Level.NOTE
        yield Finding(level, f"index missing: {index} (--create-indexes makes it)")
    if not missing:
        yield Finding(Level.OK, "indexes present")
    with asking(catalog):
        indexes = metadata(catalog).run_start.index_information().values()
    if any(kind == "text" for index in indexes for _, kind in index["key"]):
        yield Finding(Level.OK, "text index present")
    else:
        yield Finding(Level.NOTE, "no text index: search looks into the usual fields only, slowly")


def _handlers(catalog: Catalog) -> Iterator[Finding]:
    pipeline: list[Doc] = [
        {"$sort": {"_id": -1}},
        {"$limit": SAMPLED_SPECS},
        {"$group": {"_id": "$spec", "count": {"$sum": 1}}},
        {"$sort": {"_id": 1}},
    ]
    with asking(catalog):
        resources = assets(catalog).resource
        rows = list(resources.aggregate(pipeline, maxTimeMS=query_milliseconds()))
    installed = installed_handlers()
    problems = [
        f"{row['_id']} ({row['count']} resources, {problem})"
        for row in rows
        if (problem := _handler_problem(str(row["_id"]), catalog, installed))
    ]
    if problems:
        yield Finding(Level.WRONG, f"handlers missing: {', '.join(problems)}")
    else:
        yield Finding(Level.OK, "handlers present")


def _handler_problem(spec: str, catalog: Catalog, installed: frozenset[str]) -> str:
    if spec not in installed:
        return "not installed"
    return "" if allowed(spec, catalog.handlers) else "not in `handlers` of the catalogs file"


def _files(catalog: Catalog) -> Iterator[Finding]:
    roots = Roots(catalog.root_map, catalog.allowed_roots)
    sample = _sampled_resources(catalog)
    problems = [text for document in sample if (text := _file_problem(document, roots))]
    if problems:
        shown = "; ".join(problems[:SHOWN])
        text = f"files missing: {len(problems)} of a sample of {len(sample)}: {shown}"
        yield Finding(Level.WRONG, text)
    else:
        yield Finding(Level.OK, f"files present: a sample of {len(sample)}")


def _sampled_resources(catalog: Catalog) -> list[Doc]:
    """The oldest and the newest: files that were moved away, and mounts that are lost."""
    found: dict[Any, Doc] = {}
    for order in (1, -1):
        cursor = assets(catalog).resource.find().sort("_id", order).limit(SAMPLED_FILES)
        with asking(catalog):
            documents = list(cursor.max_time_ms(query_milliseconds()))
        found |= {str(document["_id"]): document for document in documents}
    return list(found.values())


def _file_problem(document: Mapping[str, Any], roots: Roots) -> str:
    resource = Resource.from_document(document)
    try:
        path = roots.locate(resource)
    except OutsideRoots:
        return f"resource {resource.uid} lies outside of allowed_roots"
    return "" if _exists(path) else f"resource {resource.uid}: nothing at {path}"


def _exists(path: str) -> bool:
    """A file or folder of this name, or files whose names begin with it."""
    if os.path.exists(path):
        return True
    folder, beginning = os.path.split(path)
    with suppress(OSError), os.scandir(folder) as entries:
        return any(entry.name.startswith(beginning) for entry in entries)
    return False


def _runs(catalog: Catalog, overrides: Iterable[str]) -> Iterator[Finding]:
    not_a = {"time": {"$not": {"$type": "number"}}}, {"uid": {"$not": {"$type": "string"}}}
    for what, where in (
        (
            "runs without proposal, for staff and data admins only",
            without_proposal(catalog, overrides),
        ),
        (
            "runs without a number as time or without uid, which are not listed",
            {"$or": list(not_a)},
        ),
    ):
        with asking(catalog):
            runs = metadata(catalog).run_start
            count = runs.count_documents(where, maxTimeMS=query_milliseconds())
        yield Finding(Level.NOTE if count else Level.OK, f"{count} {what}")
