"""Documents of many runs in many catalogs, as beamlines write them, and what fills a MongoDB."""

import random
from collections.abc import Iterator
from typing import Any

import pymongo
from bson import ObjectId

EPOCH = 1_600_000_000
YEARS = 6
MOTORS = ["th", "tth", "x", "y", "z", "delta", "gamma", "mono_en", "ssx", "ssy", "nanoz", "temp"]
DETECTORS = ["fccd", "merlin", "xs3", "sclr", "axis1", "dexela", "quadem", "eiger"]
PLANS = ["scan", "count", "grid_scan", "fly", "rel_scan", "list_scan", "xanes", "tomo"]
SAMPLES = ["gold foil", "LSCO thin film", "iron oxide", "battery cathode", "BCP", "zeolite"]
PROPOSALS = range(300_000, 305_000)
WITH_DESCRIPTOR = 100
"""one run of so many has a descriptor: those that are asked for by uid"""
BATCH = 5000
Client = pymongo.MongoClient[dict[str, Any]]


def start(number: int, runs: int, catalogs: int, chance: random.Random) -> dict[str, Any]:
    """A start document as beamlines write them, with the `_id` that its time gives it."""
    moment = EPOCH + number * 86400 * 365 * YEARS / runs
    in_its_time = PROPOSALS[number * len(PROPOSALS) // runs % len(PROPOSALS)]
    proposal = in_its_time if chance.random() < 0.5 else chance.choice(PROPOSALS)
    return {
        "_id": _id(moment, number),
        "uid": f"{chance.getrandbits(128):032x}",
        "time": moment,
        "scan_id": number // catalogs,
        "plan_name": chance.choice(PLANS),
        "plan_args": {"num": 41, "detectors": [f"Detector(name={chance.choice(DETECTORS)!r})"]},
        "motors": chance.sample(MOTORS, 2),
        "detectors": chance.sample(DETECTORS, 2),
        "num_points": 41,
        "hints": {"dimensions": [[["th"], "primary"]]},
        "owner": f"user{chance.randrange(200)}",
        "sample": {"name": f"{chance.choice(SAMPLES)} {chance.randrange(500)}"},
        "cycle": f"{2020 + number * YEARS // runs}-{chance.randrange(1, 4)}",
        "data_session": f"pass-{proposal}",
        "comment": f"alignment {number:x} of the sample",
        "versions": {"bluesky": "1.13.0", "ophyd": "1.9.0"},
    }


def _id(moment: float, number: int) -> ObjectId:
    """As of a document that was written then: a catch-up looks at what is newest."""
    return ObjectId(int(moment).to_bytes(4, "big") + number.to_bytes(8, "big"))


def stop(of: dict[str, Any], chance: random.Random) -> dict[str, Any] | None:
    """Its stop document; one in two hundred runs stays open, one in fifty fails."""
    what = chance.random()
    if what < 0.005:
        return None
    status = "fail" if what < 0.025 else "abort" if what < 0.05 else "success"
    return {
        "_id": _id(of["time"] + 60, of["scan_id"]),
        "uid": f"{chance.getrandbits(128):032x}",
        "run_start": of["uid"],
        "time": of["time"] + 60,
        "exit_status": status,
        "num_events": {"primary": 41},
    }


def descriptor(of: dict[str, Any]) -> dict[str, Any]:
    key = {"dtype": "number", "shape": [], "source": "SIM:x", "units": "mm", "precision": 3}
    names = [*of["motors"], *of["detectors"]]
    return {
        "uid": f"descriptor-{of['uid']}",
        "run_start": of["uid"],
        "time": of["time"] + 1,
        "name": "primary",
        "data_keys": dict.fromkeys(names, key),
        "object_keys": {name: [name] for name in names},
        "hints": {name: {"fields": [name]} for name in names},
        "configuration": {name: {"data": {}, "timestamps": {}} for name in names},
    }


def documents(
    runs: int, catalogs: int, first: int = 0, last: int | None = None
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(number of the catalog, collection, document) of runs `first` to `last` of so many in all.

    Oldest first, the catalogs in turn.
    """
    chance = random.Random(12 + first)
    for number in range(first, runs if last is None else last):
        document = start(number, runs, catalogs, chance)
        end = stop(document, chance)
        yield number % catalogs, "run_start", document
        if end is not None:
            yield number % catalogs, "run_stop", end
        if number // catalogs % WITH_DESCRIPTOR == 0:
            yield number % catalogs, "event_descriptor", descriptor(document)


def database_name(catalog: int) -> str:
    return f"bench_index_{catalog:02}"


def catalogs_file(count: int, mongo: str) -> str:
    return "\n".join(
        f"""[catalogs.c{number:02}]
title = "Beamline {number}"
beamline = "b{number:02}"
metadata = "{mongo}/{database_name(number)}"
assets = "{mongo}/{database_name(number)}"
timezone = "America/New_York"
proposal = [{{ path = "data_session", pattern = '^pass-(\\d+)$' }}]
facets = ["cycle"]
"""
        for number in range(count)
    )


def fill(client: Client, runs: int, catalogs: int) -> None:
    """Makes the databases what `documents` says, unless they were made so before."""
    made = client["bench_index"]["made"]
    what = {"runs": runs, "catalogs": catalogs}
    if made.find_one(what):
        return
    made.delete_many({})
    for at in range(catalogs):
        name = database_name(at)
        client.drop_database(name)
        client[name].run_start.create_index("uid", unique=True)
        client[name].run_start.create_index([("time", -1), ("_id", -1)])
        client[name].run_stop.create_index("run_start", unique=True)
        client[name].event_descriptor.create_index([("run_start", 1), ("time", 1)])
    insert(client, documents(runs, catalogs))
    made.insert_one(what)


def insert_more(client: Client, runs: int, catalogs: int, more: int) -> None:
    """So many runs behind those that are there."""
    names = map(database_name, range(catalogs))
    first = sum(client[name].run_start.estimated_document_count() for name in names)
    insert(client, documents(runs, catalogs, first, first + more))


def insert(client: Client, some: Iterator[tuple[int, str, dict[str, Any]]]) -> None:
    waiting: dict[tuple[int, str], list[Any]] = {}
    for at, name, document in some:
        batch = waiting.setdefault((at, name), [])
        batch.append(document)
        if len(batch) == BATCH:
            client[database_name(at)][name].insert_many(waiting.pop((at, name)), ordered=False)
    for (at, name), batch in waiting.items():
        client[database_name(at)][name].insert_many(batch, ordered=False)
