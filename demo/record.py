"""Record the demo's runs again: ``python -m demo.record`` rewrites ``demo/recording/``.

The documents come from the real RunEngine through suitcase-mongo. Time is simulated and ids are
drawn from a seeded generator, so that a recording can be repeated and its ids stay the same.
"""
# bluesky, ophyd and suitcase are partly untyped.
# mypy: allow-subclassing-any, allow-untyped-calls

import gzip
import json
import logging
import random
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import bson
from bluesky import RunEngine
from bluesky.utils import RunEngineInterrupted
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from suitcase.mongo_normalized import Serializer

from demo.beamlines import BEAMLINES, Beamline, Shot, ShutterError
from demo.devices import Clock
from demo.embedded_mongo import embedded_mongo
from demo.layout import ASSETS, DATABASES, METADATA, RECORDING

Mongo = Database[dict[str, Any]]
FIRST_SCAN_ID = {"csx": 148_201, "hxn": 92_117}
DEVICES_CONNECTED = 1_746_000_000.0  # April 2025: the timestamp of what never changed since
# A run that is still being taken: what has been stored of it so far.
OPEN_AFTER_EVENTS = 137


class RecordingSerializer(Serializer):
    """suitcase-mongo's serializer with repeatable ``_id`` values that follow the clock."""

    def __init__(self, metadata: Mongo, assets: Mongo, clock: Clock):
        super().__init__(metadata, assets, resource_uid_unique=True)
        self._clock = clock
        self._inserted = 0

    def _insert(self, name: str, doc: dict[str, Any]) -> None:
        self._inserted += 1
        moment = int(self._clock.time()).to_bytes(4, "big")
        object_id = ObjectId(moment + b"demo\x00" + self._inserted.to_bytes(3, "big"))
        super()._insert(name, {"_id": object_id, **doc})


class Recorder:
    """Takes the runs of one beamline and stores their documents."""

    def __init__(self, beamline: Beamline, metadata: Mongo, assets: Mongo):
        self._beamline = beamline
        self._metadata = metadata
        self._store = RecordingSerializer(metadata, assets, beamline.clock)
        self._engine = RunEngine(
            {"scan_id": FIRST_SCAN_ID[beamline.name], "beamline_id": beamline.name.upper()},
            context_managers=[],
        )
        self._engine.subscribe(self._document)
        self.labelled: dict[str, str] = {}

    def record(self) -> None:
        for visit in self._beamline.visits():
            for began, shot in zip(visit.start_times(), visit.shots, strict=False):
                self._beamline.clock.now = began
                self._take(shot, visit.metadata | shot.metadata)

    def _take(self, shot: Shot, metadata: dict[str, Any]) -> None:
        self._room = OPEN_AFTER_EVENTS if shot.ending == "open" else None
        self._run(shot, {k: v for k, v in metadata.items() if v is not None})
        if shot.label:
            self.labelled[shot.label] = self._uid
        if shot.old_style:
            self._make_old(self._uid)

    def _run(self, shot: Shot, metadata: dict[str, Any]) -> None:
        try:
            self._engine(shot.plan, **metadata)
        except ShutterError:
            if shot.ending != "fail":
                raise
        except RunEngineInterrupted:
            self._engine.abort("the sample fell off")

    def _document(self, name: str, doc: dict[str, Any]) -> None:
        self._beamline.clock.advance(0.0021)
        if name == "start":
            self._uid = doc["uid"]
        if self._room == 0:
            return
        if self._room is not None and name == "event":
            self._room -= 1
        self._store(name, doc)

    def _make_old(self, run_uid: str) -> None:
        """Take away what databroker 0.x did not write yet."""
        descriptors = self._metadata["event_descriptor"]
        uids = [found["uid"] for found in descriptors.find({"run_start": run_uid})]
        descriptors.update_many({"uid": {"$in": uids}}, {"$unset": {"name": "", "hints": ""}})
        self._metadata["event"].update_many(
            {"descriptor": {"$in": uids}}, {"$unset": {"filled": ""}}
        )


@contextmanager
def repeatable(clock: Clock, seed: int) -> Iterator[None]:
    """Within it, the clock's time is everybody's time and new uids are always the same ones."""
    bits = random.Random(seed)

    def next_uid() -> uuid.UUID:
        return uuid.UUID(int=bits.getrandbits(128), version=4)

    with patch("time.time", clock.time), patch("uuid.uuid4", next_uid):
        yield


def record_all(client: MongoClient[dict[str, Any]], files: Path) -> dict[str, dict[str, str]]:
    """Record every beamline; returns the uids of the labelled runs per catalog."""
    notable = {}
    for make in BEAMLINES:
        clock = Clock()
        clock.now = DEVICES_CONNECTED
        with repeatable(clock, seed=FIRST_SCAN_ID[make.name]):
            beamline = make(clock, files)
            names = DATABASES[beamline.name]
            recorder = Recorder(beamline, client[names.metadata], client[names.assets])
            recorder.record()
        notable[beamline.name] = recorder.labelled
    return notable


def dump(client: MongoClient[dict[str, Any]], folder: Path) -> None:
    """Write every collection as one gzipped file of BSON documents in ``_id`` order."""
    for names in DATABASES.values():
        for database, collections in ((names.metadata, METADATA), (names.assets, ASSETS)):
            (folder / database).mkdir(parents=True, exist_ok=True)
            for collection in collections:
                found = client[database][collection].find().sort("_id")
                packed = gzip.compress(b"".join(map(bson.encode, found)), mtime=0)
                (folder / database / f"{collection}.bson.gz").write_bytes(packed)


def main() -> None:
    logging.getLogger("bluesky").setLevel(logging.CRITICAL)  # one run fails on purpose
    with tempfile.TemporaryDirectory() as scratch, embedded_mongo(None) as uri:
        folder = Path(scratch)
        with MongoClient[dict[str, Any]](uri) as client:
            notable = record_all(client, folder / "files")
            dump(client, folder)
        (folder / "manifest.json").write_text(json.dumps(notable, indent=1) + "\n")
        shutil.rmtree(RECORDING, ignore_errors=True)
        shutil.copytree(folder, RECORDING)


if __name__ == "__main__":
    main()
