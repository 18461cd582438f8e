"""Put the recorded demo runs into a MongoDB and their detector files into a folder."""

import filecmp
import gzip
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import ASCENDING, DESCENDING, TEXT, MongoClient
from pymongo.database import Database

from demo.layout import ASSETS, DATABASES, METADATA, RECORDING

MARKER = "demo_recording"
_UNIQUE: dict[str, Any] = {"unique": True}
_TIME_UP, _TIME_DOWN = ("time", ASCENDING), ("time", DESCENDING)
# What suitcase-mongo's create_indexes() makes, without its text indexes, and those on the
# places where the demo's catalogs find a run's proposal.
INDEXES: dict[str, tuple[tuple[list[tuple[str, int]], dict[str, Any]], ...]] = {
    "run_start": (
        ([("uid", ASCENDING)], _UNIQUE),
        ([("scan_id", ASCENDING)], {}),
        ([("scan_id", DESCENDING), ("_id", DESCENDING)], _UNIQUE),
        ([_TIME_UP, ("_id", DESCENDING)], _UNIQUE),
        ([_TIME_DOWN, ("_id", DESCENDING)], _UNIQUE),
        ([_TIME_DOWN, ("scan_id", DESCENDING)], {}),
        ([("data_session", ASCENDING)], {}),
        ([("data_groups", ASCENDING)], {}),
        ([("proposal.proposal_id", ASCENDING)], {}),
        ([("proposal", ASCENDING)], {}),
        ([("proposal_id", ASCENDING)], {}),
    ),
    "run_stop": (
        ([("run_start", ASCENDING)], _UNIQUE),
        ([("uid", ASCENDING)], _UNIQUE),
        ([_TIME_DOWN], {}),
    ),
    "event_descriptor": (
        ([("uid", ASCENDING)], _UNIQUE),
        ([("run_start", DESCENDING), _TIME_DOWN], {}),
        ([_TIME_DOWN], {}),
    ),
    "event": (
        ([("uid", ASCENDING)], _UNIQUE),
        ([("descriptor", DESCENDING), _TIME_UP], {}),
    ),
    "resource": (([("uid", ASCENDING)], {}), ([("resource_id", ASCENDING)], {})),
    "datum": (([("datum_id", ASCENDING)], _UNIQUE), ([("resource", ASCENDING)], {})),
}
TEXT_INDEXED = ("run_start", "run_stop", "event_descriptor")

Mongo = Database[Any]
_RAW = CodecOptions(document_class=RawBSONDocument)


def manifest() -> dict[str, dict[str, str]]:
    """Per catalog, the uids of the runs that have a name: ``open``, ``failed``, ``public``, …"""
    found: dict[str, dict[str, str]] = json.loads((RECORDING / "manifest.json").read_text())
    return found


# Its data_session names bob's proposal 310001; it was measured for alice's.
MISTAGGED_RUN_UID = manifest()["csx"]["mistagged"]
MISTAGGED_CATALOG = "csx"
MISTAGGED_RIGHT_PROPOSAL = "310000"


def load(mongo_uri: str, data_dir: Path) -> None:
    """Restore the recorded databases, with suitcase-mongo's indexes, and the detector files.

    What is there already is left alone; what an interrupted call left behind is made anew.
    Raises RuntimeError, before anything is changed, if a database of one of the names holds
    runs that did not come from here.
    """
    version = _version()
    with MongoClient[Any](mongo_uri) as client:
        stale = [
            client[folder.name]
            for folder in sorted(RECORDING.iterdir())
            if folder.name in _database_names() and not _is_loaded(client[folder.name], version)
        ]
        for database in stale:
            _restore(database, version)
    _copy_files(RECORDING / "files", data_dir)


def catalogs_toml(mongo_uri: str, data_dir: Path) -> str:
    """The catalogs file of the demo: both beamlines, with the files below ``data_dir``."""
    base = mongo_uri.rstrip("/")
    folder = json.dumps(str(data_dir.resolve()))  # a JSON string is a TOML string
    shared = f"""\
root_map = {{ "/facility/data" = {folder} }}
allowed_roots = [{folder}]
handlers = ["AD_HDF5", "AD_TIFF", "NPY_SEQ"]
timezone = "America/New_York"
"""
    return f"""\
[catalogs.csx]
title = "CSX 23-ID-1"
beamline = "csx"
metadata = "{base}/{DATABASES["csx"].metadata}"
assets = "{base}/{DATABASES["csx"].assets}"
proposal = [
  {{ path = "data_session", pattern = '^pass-(\\d+)$' }},
  {{ path = "proposal.proposal_id" }},
]
{shared}
[catalogs.hxn]
title = "HXN 3-ID"
beamline = "hxn"
metadata = "{base}/{DATABASES["hxn"].metadata}"
assets = "{base}/{DATABASES["hxn"].assets}"
proposal = [
  {{ path = "proposal.proposal_id" }},
  {{ path = "proposal" }},
  {{ path = "proposal_id" }},
]
{shared}"""


def _database_names() -> set[str]:
    return {name for pair in DATABASES.values() for name in (pair.metadata, pair.assets)}


def _version() -> str:
    """A digest of the recorded documents: another recording is loaded anew."""
    digest = hashlib.sha256()
    for path in sorted(RECORDING.glob("*/*.bson.gz")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_loaded(database: Mongo, version: str) -> bool:
    marker = database[MARKER].find_one({"_id": MARKER})
    if marker is None and any(database[name].find_one() for name in METADATA + ASSETS):
        raise RuntimeError(
            f"The database {database.name} holds runs that are not the demo's; "
            "load the demo into another MongoDB"
        )
    return marker is not None and marker["loaded"] == version


def _restore(database: Mongo, version: str) -> None:
    marker = {"_id": MARKER, "loaded": None}
    database[MARKER].replace_one({"_id": MARKER}, marker, upsert=True)
    for path in sorted((RECORDING / database.name).glob("*.bson.gz")):
        collection = database[path.name.removesuffix(".bson.gz")]
        collection.drop()
        for keys, options in INDEXES[collection.name]:
            collection.create_index(keys, **options)
        if collection.name in TEXT_INDEXED and _has_text_search(database):
            collection.create_index([("$**", TEXT)])
        documents = bson.decode_all(gzip.decompress(path.read_bytes()), _RAW)
        collection.insert_many(documents, ordered=False)
    database[MARKER].replace_one({"_id": MARKER}, marker | {"loaded": version})


def _has_text_search(database: Mongo) -> bool:
    """The embedded server has none, and says who it is."""
    return "secantusVersion" not in database.client.server_info()


def _copy_files(source: Path, target: Path) -> None:
    for original in sorted(source.rglob("*.h5")):
        copy = target / original.relative_to(source)
        if copy.exists() and filecmp.cmp(original, copy, shallow=False):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_suffix(".part")
        shutil.copyfile(original, part)
        part.replace(copy)  # never half a file under the name a reader knows
