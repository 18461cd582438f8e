"""Is a catalog's database as the service needs it? Looks only, and changes nothing."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from pymongo.errors import OperationFailure

from events.files.assets import OutsideRoots, Resource, Roots, allowed, installed_handlers
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
from policies.rule.conditions import AnyOf, Filter, Not, RunIn, conjunction
from policies.rule.proposal_paths import Wins

METADATA = ("run_start", "run_stop", "event_descriptor", "event")
ASSETS = ("resource", "datum")
EMBEDDED_METADATA, EMBEDDED_ASSETS = ("header", "event"), ("datum",)
MADE_BY_SUITCASE = {"data_session"}
"""paths of the proposal that suitcase-mongo makes an index for"""
SAMPLED_SPECS = 10_000
SAMPLED_FILES = 25
SHOWN = 5
OLDEST, NEWEST = (4, 4), (8, 0)
"""versions of MongoDB that are supported"""

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
class DatabaseIndex:
    """An index that a route of the service needs."""

    uri: str
    collection: str
    keys: Keys
    needed: bool = True
    """else it only makes some questions faster"""
    unique: bool = False
    """suitcase-mongo makes it so; without it a document can be there twice"""

    def __str__(self) -> str:
        return f"{self.collection} ({', '.join(f'{name} {order}' for name, order in self.keys)})"


def check_catalog(catalog: Catalog, overrides: Iterable[str] = ()) -> list[Finding]:
    """What an operator should know of a catalog. `overrides` are uids whose proposal was set."""
    checks = (
        *(_server, _collections, _indexes, _times, _handlers, _roots, _files),
        partial(_runs, overrides=overrides),
    )
    return _checked(catalog, [partial(check, catalog) for check in checks])


def check_quickly(catalog: Catalog) -> list[Finding]:
    """What takes no look at every run: server, collections, indexes and handlers."""
    checks = (_server, _collections, _indexes, _handlers)
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


def missing_indexes(catalog: Catalog) -> list[DatabaseIndex]:
    """The indexes of `wanted_indexes` that the databases lack."""
    return [index for index, serving in _indexes_there(catalog) if not serving]


def _indexes_there(catalog: Catalog) -> Iterator[tuple[DatabaseIndex, list[Mapping[str, Any]]]]:
    """The wanted indexes, each with those of the database that serve it."""
    for index in wanted_indexes(catalog):
        with asking(catalog):
            there = database(index.uri)[index.collection].index_information().values()
        yield index, [known for known in there if _serves(known, index.keys)]


def wanted_indexes(catalog: Catalog) -> list[DatabaseIndex]:
    """Those that suitcase-mongo makes and a route uses, and one for each path of the proposal."""
    if catalog.layout == EMBEDDED:
        return _wanted_embedded(catalog)
    paths = dict.fromkeys(place.path for place in catalog.proposal.places)
    by_path = [
        DatabaseIndex(catalog.metadata, "run_start", ((path, 1),), needed=path in MADE_BY_SUITCASE)
        for path in paths
    ]
    return by_path + _always_wanted(catalog) + _wanted_for_streams(catalog)


def _wanted_embedded(catalog: Catalog) -> list[DatabaseIndex]:
    """Those that suitcase's mongo_embedded makes by itself."""
    header = [
        DatabaseIndex(catalog.metadata, "header", ((path, -1),))
        for path in ("start.uid", "start.time", "descriptors.uid")
    ]
    return [
        *header,
        DatabaseIndex(catalog.assets, "header", (("resources.uid", 1),)),
        DatabaseIndex(catalog.metadata, "event", (("uid", -1),)),
        DatabaseIndex(catalog.metadata, "event", (("descriptor", -1),)),
        DatabaseIndex(catalog.assets, "datum", (("datum_id", 1),)),
    ]


def _always_wanted(catalog: Catalog) -> list[DatabaseIndex]:
    unique = {"run_start": "uid", "run_stop": "run_start", "datum": "datum_id"}
    unique |= dict.fromkeys(("event_descriptor", "event"), "uid")
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
        DatabaseIndex(uri, collection, keys, unique=keys == ((unique.get(collection), 1),))
        for uri, wanted in ((catalog.metadata, metadata), (catalog.assets, assets))
        for collection, several in wanted.items()
        for keys in several
    ]


def _wanted_for_streams(catalog: Catalog) -> list[DatabaseIndex]:
    """Of collections that only this service writes."""
    wanted: dict[str, list[Keys]] = {
        "stream_resource": [(("run_start", 1),)],
        # Who follows a run asks again and again for what is new behind a sequence number.
        "stream_datum": [
            (("descriptor", 1), ("seq_nums.start", 1)),
            (("stream_resource", 1), ("seq_nums.start", 1)),
        ],
    }
    return [
        DatabaseIndex(catalog.assets, collection, keys)
        for collection, several in wanted.items()
        for keys in several
        if catalog.assets_write
    ]


def without_proposal(catalog: Catalog, overrides: Iterable[str] = ()) -> Filter:
    """Runs whose document names no proposal, and for which none was set."""
    names_one = AnyOf(tuple(Wins(place) for place in catalog.proposal.places))
    return conjunction(Not(names_one).mongo(), Not(RunIn(frozenset(overrides))).mongo())


def _serves(there: Mapping[str, Any], wanted: Keys) -> bool:
    """An index also serves its own beginning, and every order turned round.

    One of some documents only, or of another order of texts, serves no question that is asked.
    """
    if {"partialFilterExpression", "collation"} & set(there) or there.get("hidden"):
        return False
    begins = tuple(tuple(key) for key in there["key"][: len(wanted)])
    return begins in (wanted, tuple((name, -order) for name, order in wanted))


def _is_unique(there: Mapping[str, Any], wanted: Keys) -> bool:
    return bool(there.get("unique")) and len(there["key"]) == len(wanted)


def _ping(catalog: Catalog) -> None:
    for uri in {catalog.metadata, catalog.assets}:
        with asking(catalog):
            database(uri).command("ping")


def _server(catalog: Catalog) -> Iterator[Finding]:
    for uri in dict.fromkeys((catalog.metadata, catalog.assets)):
        with asking(catalog):
            version = str(database(uri).client.server_info()["version"])
        yield _version_finding(version)


def _version_finding(version: str) -> Finding:
    number = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if number < OLDEST:
        return Finding(Level.WRONG, f"MongoDB {version}: older than 4.4, which is needed")
    if number > NEWEST:
        return Finding(Level.NOTE, f"MongoDB {version}: newer than 8.0; 4.4 to 8.0 are supported")
    return Finding(Level.OK, f"MongoDB {version}")


def _collections(catalog: Catalog) -> Iterator[Finding]:
    embedded = catalog.layout == EMBEDDED
    for uri, wanted, level in (
        (catalog.metadata, EMBEDDED_METADATA if embedded else METADATA, Level.WRONG),
        # A beamline without detector files has no such collections.
        (catalog.assets, EMBEDDED_ASSETS if embedded else ASSETS, Level.NOTE),
    ):
        with asking(catalog):
            there = {found["name"]: found for found in database(uri).list_collections()}
        if own := [name for name in wanted if _has_own_collation(there.get(name, {}))]:
            text = f"collections with a collation, which compare texts loosely: {', '.join(own)}"
            yield Finding(Level.WRONG, text)
        if not embedded and "header" in there and "run_start" not in there:
            yield Finding(Level.WRONG, 'of the embedded layout: set layout = "embedded"')
        elif missing := [name for name in wanted if name not in there]:
            yield Finding(level, f"collections missing: {', '.join(missing)}")
        else:
            yield Finding(Level.OK, f"collections present: {', '.join(wanted)}")


def _has_own_collation(collection: Mapping[str, Any]) -> bool:
    """Then `pass-1` may be found as `PASS-1`, and indexes are of that order, too."""
    collation = collection.get("options", {}).get("collation", {})
    return bool(collation.get("locale", "simple") != "simple")


def _indexes(catalog: Catalog) -> Iterator[Finding]:
    found = [
        finding
        for index, serving in _indexes_there(catalog)
        for finding in _index_findings(index, serving)
    ]
    yield from found or [Finding(Level.OK, "indexes present")]
    yield _text_index(catalog)


def _index_findings(index: DatabaseIndex, serving: list[Mapping[str, Any]]) -> Iterator[Finding]:
    if not serving:
        level = Level.WRONG if index.needed else Level.NOTE
        yield Finding(level, f"index missing: {index} (--create-indexes makes it)")
    elif index.unique and not any(_is_unique(there, index.keys) for there in serving):
        again = "look for documents that are there twice, drop it and use --create-indexes"
        yield Finding(Level.WRONG, f"index not unique: {index}: {again}")


def _text_index(catalog: Catalog) -> Finding:
    with asking(catalog):
        indexes = metadata(catalog).run_start.index_information().values()
    if any(kind == "text" for index in indexes for _, kind in index["key"]):
        return Finding(Level.OK, "text index present")
    return Finding(Level.OK, "no text index: none is needed, search asks the index of runs")


# Where documents are listed by time: the collection, its index, the time and the uid.
TIMES: tuple[tuple[str, Keys, str, str], ...] = (
    ("run_start", (("time", -1), ("_id", -1)), "time", "uid"),
    ("event_descriptor", (("run_start", 1), ("time", 1)), "time", "uid"),
    ("event", (("descriptor", -1), ("time", 1)), "time", "uid"),
)
EMBEDDED_TIMES: tuple[tuple[str, Keys, str, str], ...] = (
    # Pages of events hold lists as they should, and their index is of the descriptor alone.
    ("header", (("start.time", -1),), "start.time", "start.uid"),
)


def _times(catalog: Catalog) -> Iterator[Finding]:
    """One list as a time, and each page that the index served becomes a sort of everything."""
    findings: list[Finding] = []
    for collection, keys, path, uid in EMBEDDED_TIMES if catalog.layout == EMBEDDED else TIMES:
        multikey = _is_multikey(catalog, collection, keys)
        if multikey is not False:  # else nothing is to be counted, in whatever many documents
            findings += _lists_as_time(catalog, collection, path, uid, multikey=bool(multikey))
    yield from findings or [Finding(Level.OK, "times are no lists")]


def _is_multikey(catalog: Catalog, collection: str, keys: Keys) -> bool | None:
    """Whether an index holds a list. None: there is no such index, or the server does not say."""
    stored = database(catalog.metadata)
    with asking(catalog):
        known = stored[collection].index_information()
    name = next((name for name, there in known.items() if _serves(there, keys)), None)
    if name is None:
        return None
    try:
        find = {"find": collection, "filter": {}, "hint": name}
        plan = stored.command("explain", find, verbosity="queryPlanner")
    except OperationFailure:
        return None
    return _multikey_of(plan["queryPlanner"]["winningPlan"])


def _multikey_of(plan: Mapping[str, Any]) -> bool | None:
    """Of the scan of an index, wherever in a plan it is."""
    while "isMultiKey" not in plan:
        inner = plan.get("queryPlan") or plan.get("inputStage")
        if not isinstance(inner, Mapping):
            return None
        plan = inner
    return bool(plan["isMultiKey"])


def _lists_as_time(
    catalog: Catalog, collection: str, path: str, uid: str, *, multikey: bool
) -> Iterator[Finding]:
    pipeline: list[Doc] = [
        {"$match": {path: {"$type": "array"}}},
        {"$group": {"_id": None, "count": {"$sum": 1}, "uid": {"$first": f"${uid}"}}},
    ]
    with asking(catalog):
        stored = database(catalog.metadata)[collection]
        rows = list(stored.aggregate(pipeline, maxTimeMS=query_milliseconds()))
    if rows:
        text = f"{rows[0]['count']} documents with a list as time, such as {rows[0]['uid']!r}"
        yield Finding(Level.WRONG, f"{collection}: {text}; no index serves its pages until changed")
    elif multikey:
        text = "its index by time has held a list, and serves no pages: drop it and make it anew"
        yield Finding(Level.NOTE, f"{collection}: {text}")


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


def _roots(catalog: Catalog) -> Iterator[Finding]:
    if missing := [root for root in catalog.allowed_roots if not os.path.isdir(root)]:
        yield Finding(Level.WRONG, f"allowed_roots that do not exist: {', '.join(missing)}")


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
    if catalog.file_proposal is not None:
        yield from _file_proposals(catalog.file_proposal, sample, roots)


def _file_proposals(pattern: str, sample: list[Doc], roots: Roots) -> Iterator[Finding]:
    """A pattern that matches nothing protects nothing, and shows it by nothing."""
    paths = []
    for document in sample:
        with suppress(OutsideRoots):
            paths.append(roots.locate(Resource.from_document(document)))
    matching = sum(bool(re.search(pattern, path)) for path in paths)
    if paths and not matching:
        text = f"file_proposal matches none of {len(paths)} files, such as {paths[0]}"
        yield Finding(Level.WRONG, text)
    else:
        yield Finding(Level.OK, f"file_proposal matches {matching} of {len(paths)} files")


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
