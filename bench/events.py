"""Events, tables and frames: what a local script needs for the same by pymongo or h5py."""

import multiprocessing
import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database

from bench.client import Client
from bench.headers import ADMIN, PASSWORD
from bench.measuring import Row, side_by_side

EVENTS = 100_000
FRAMES, SIDE = 200, 512  # of uint16: 105 MB
SCAN, MOVIE = (f"{number}0000000-0000-4000-8000-000000000000" for number in (1, 2))
MIDDLE = 1.7e9 + EVENTS // 2 * 0.1
DATASET = "entry/data/data"
Doc = dict[str, Any]


def fill(database: Database[Doc], folder: Path) -> None:
    """Writes a run of 100,000 events of about 383 bytes, and one of 200 frames in a file."""
    path = folder / "movie.h5"
    if database.event.estimated_document_count() != EVENTS + FRAMES:
        for name in ("run_start", "run_stop", "event_descriptor", "event", "resource", "datum"):
            database[name].drop()
        _insert(database)
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        frames = np.random.default_rng(0).integers(0, 4000, (FRAMES, SIDE, SIDE), np.uint16)
        with h5py.File(path, "w") as file:
            file.create_dataset(DATASET, data=frames, chunks=(1, SIDE, SIDE))


def _insert(database: Database[Doc]) -> None:
    database.run_start.create_index("uid", unique=True)
    database.run_stop.create_index("run_start", unique=True)
    database.event_descriptor.create_index("uid", unique=True)
    database.event_descriptor.create_index([("run_start", 1), ("time", 1)])
    database.event.create_index("uid", unique=True)
    database.event.create_index([("descriptor", -1), ("time", 1)])
    database.resource.create_index("uid")
    database.datum.create_index("datum_id", unique=True)
    number = {"dtype": "number", "shape": [], "source": "SIM:x"}
    image: Doc = {"dtype": "array", "shape": [1, SIDE, SIDE], "external": "FILESTORE:"}
    image |= {"dtype_str": "<u2", "source": "SIM:x"}
    _insert_run(database, MOVIE, {"image": image})
    _insert_run(database, SCAN, dict.fromkeys(("det", "motor", "setpoint", "ring", "i0"), number))
    for begin in range(0, EVENTS, 10_000):
        numbers = range(begin, min(begin + 10_000, EVENTS))
        database.event.insert_many([_scalars(number) for number in numbers])
    resource: Doc = {"uid": "movie", "spec": "AD_HDF5", "root": "/facility/data"}
    resource |= {"resource_path": "movie.h5", "resource_kwargs": {"frame_per_point": 1}}
    database.resource.insert_one(resource)
    database.datum.insert_many([_datum(number) for number in range(FRAMES)])
    database.event.insert_many([_event(MOVIE, n, image=f"movie/{n}") for n in range(FRAMES)])


def _insert_run(database: Database[Doc], uid: str, keys: Doc) -> None:
    start: Doc = {"uid": uid, "time": 1.7e9, "scan_id": 1, "plan_name": "scan"}
    database.run_start.insert_one(start | {"data_session": "pass-310000"})
    count = FRAMES if uid == MOVIE else EVENTS
    stop: Doc = {"uid": f"stop-{uid}", "run_start": uid, "time": 1.8e9, "exit_status": "success"}
    database.run_stop.insert_one(stop | {"num_events": {"primary": count}})
    descriptor: Doc = {"uid": _descriptor(uid), "run_start": uid, "time": 1.7e9, "name": "primary"}
    descriptor |= {"hints": {}, "configuration": {}, "object_keys": {key: [key] for key in keys}}
    database.event_descriptor.insert_one(descriptor | {"data_keys": keys})


def _descriptor(run: str) -> str:
    return run.replace("-4000-", "-4001-")


def _scalars(number: int) -> Doc:
    value = number * 0.001
    return _event(SCAN, number, det=value, motor=value, setpoint=value, ring=400.0, i0=value)


def _event(run: str, number: int, **data: Any) -> Doc:
    time = 1.7e9 + number * 0.1
    return {
        "_id": ObjectId(),
        "uid": f"{run[:8]}-0000-4000-8000-{number:012x}",
        "descriptor": _descriptor(run),
        "seq_num": number + 1,
        "time": time,
        "data": data,
        "timestamps": dict.fromkeys(data, time),
        "filled": {"det": True, "image": False},
    }


def _datum(number: int) -> Doc:
    kwargs = {"point_number": number}
    return {"datum_id": f"movie/{number}", "resource": "movie", "datum_kwargs": kwargs}


@dataclass(frozen=True)
class Script:
    """The local script."""

    database: Database[Doc]
    path: Path

    def events(self) -> list[Doc]:
        return list(self.database.event.find({"descriptor": _descriptor(SCAN)}))

    def some_events(self) -> list[Doc]:
        behind = {"descriptor": _descriptor(SCAN), "time": {"$gte": MIDDLE}}
        return list(self.database.event.find(behind).sort([("time", 1), ("_id", 1)]).limit(100))

    def frames(self, where: int | slice) -> Any:
        with h5py.File(self.path) as file:
            return file[DATASET][where]


def rows(uri: str, port: int, folder: Path) -> list[Row]:
    """The lines of the table about events and frames."""
    database: Database[Doc] = MongoClient[Doc](uri).get_default_database()
    script, client = Script(database, folder / "movie.h5"), Client(port, (ADMIN, PASSWORD))
    return [
        *_whole_streams(script, client),
        *_some_events(script, client),
        _one_frame(script, client),
        _all_frames(script, client),
    ]


def _whole_streams(script: Script, client: Client) -> list[Row]:
    header = f"/api/v1/headers/{SCAN}/"
    wanted = [
        ("table as Arrow", "streams/primary/table/?format=arrow", "≤ 0.7"),
        ("table as CSV", "streams/primary/table/?format=csv", "≤ 1.0"),
        ("table as Parquet", "streams/primary/table/?format=parquet", "≤ 0.8"),
        ("documents as BSON", "documents/?format=bson", "≤ 0.8"),
        ("documents as msgpack", "documents/?format=msgpack", "≤ 1.3"),
        ("documents as NDJSON", "documents/?format=ndjson", "≤ 1.5"),
    ]

    def service(path: str) -> Callable[[], object]:
        return lambda: client.get(header + path)

    return [
        side_by_side(f"100,000 events, {name}", script.events, service(path), 1, target, 5)
        for name, path, target in wanted
    ]


def _some_events(script: Script, client: Client) -> list[Row]:
    page = f"/api/v1/events/?descriptor={_descriptor(SCAN)}&page_size=1000"
    for _ in range(EVENTS // 2 // 1000):
        page = client.get_json(page)["next"]
    page = page.replace("page_size=1000", "page_size=100")
    column = f"/api/v1/headers/{SCAN}/streams/primary/data/det/?slice="
    column += f"{EVENTS // 2}:{EVENTS // 2 + 100}"
    return [
        side_by_side(
            "100 events from the middle", script.some_events, lambda: client.get(page), 3, "≤ 2"
        ),
        side_by_side(
            "one column of 100 events from the middle",
            script.some_events,
            lambda: client.get(column),
            3,
            "≤ 2",
        ),
    ]


def _one_frame(script: Script, client: Client) -> Row:
    number = cycle(range(FRAMES))
    url = f"/api/v1/headers/{MOVIE}/streams/primary/data/image/?format=octet-stream&slice="
    return side_by_side(
        "one frame of 512 × 512",
        lambda: script.frames(next(number)),
        lambda: client.get(f"{url}{next(number)},0"),
        20,
        "≤ 5 ms more",
    )


def _all_frames(script: Script, client: Client) -> Row:
    """Against the larger of a local read and a plain copy of the bytes over loopback."""
    url = f"/api/v1/headers/{MOVIE}/streams/primary/data/image/?format=octet-stream"
    name = "105 MB of frames"
    with _Copies(script.path.stat().st_size) as copies:
        rows = [
            side_by_side(name, local, lambda: client.get(url), 1, "≤ 2", 5)
            for local in (lambda: script.frames(slice(None)), copies.receive)
        ]
    return max(rows, key=lambda row: row.local_ms)


class _Copies:
    """Another process that sends so many bytes to whoever connects."""

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._listening = socket.create_server(("127.0.0.1", 0))
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=self._serve, daemon=True)

    def __enter__(self) -> "_Copies":
        self._process.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.join()
        self._listening.close()

    def _serve(self) -> None:
        content = bytes(self._nbytes)
        while True:
            connection, _ = self._listening.accept()
            with connection:
                connection.sendall(content)

    def receive(self) -> bytes:
        address = self._listening.getsockname()
        with socket.create_connection(address) as connection, connection.makefile("rb") as file:
            return file.read()
