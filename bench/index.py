"""Fills an index of runs and measures what lists ask of it.

    python -m bench.index [--runs 1000000] [--catalogs 30] [--mongo mongodb://host:port]

DATABASE_URL names the database; without it, a new SQLite file in a temporary folder is used
and removed. With --mongo, the documents go into databases bench_index_00 … there, too.
"""

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bson import ObjectId

EPOCH = 1_600_000_000
MOTORS = ["th", "tth", "x", "y", "z", "delta", "gamma", "mono_en", "ssx", "ssy", "nanoz", "temp"]
DETECTORS = ["fccd", "merlin", "xs3", "sclr", "axis1", "dexela", "quadem", "eiger"]
PLANS = ["scan", "count", "grid_scan", "fly", "rel_scan", "list_scan", "xanes", "tomo"]
SAMPLES = ["gold foil", "LSCO thin film", "iron oxide", "battery cathode", "BCP", "zeolite"]
BATCH = 5000


def start(number: int, runs: int, catalogs: int, chance: random.Random) -> dict[str, Any]:
    """A start document as beamlines write them, with the `_id` that its time gives it."""
    moment = EPOCH + number * 86400 * 365 * 6 / runs
    proposal = (
        300_000 + number * 5000 // runs
        if chance.random() < 0.5
        else chance.randrange(300_000, 305_000)
    )
    return {
        "_id": ObjectId(int(moment).to_bytes(4, "big") + number.to_bytes(8, "big")),
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
        "cycle": f"{2020 + number * 6 // runs}-{chance.randrange(1, 4)}",
        "data_session": f"pass-{proposal}",
        "comment": f"alignment {number:x} of the sample",
        "versions": {"bluesky": "1.13.0", "ophyd": "1.9.0"},
    }


def stop(of: dict[str, Any], chance: random.Random) -> dict[str, Any] | None:
    """Its stop document; one in two hundred runs stays open, one in fifty fails."""
    what = chance.random()
    if what < 0.005:
        return None
    status = "fail" if what < 0.025 else "abort" if what < 0.05 else "success"
    return {
        "uid": f"{chance.getrandbits(128):032x}",
        "run_start": of["uid"],
        "time": of["time"] + 60,
        "exit_status": status,
        "num_events": {"primary": 41},
    }


def documents(runs: int, catalogs: int) -> Iterator[tuple[int, dict[str, Any], Any]]:
    """(number of the catalog, start, stop or None), oldest first, the catalogs in turn."""
    chance = random.Random(12)
    for number in range(runs):
        document = start(number, runs, catalogs, chance)
        yield number % catalogs, document, stop(document, chance)


def catalogs_file(count: int, mongo: str) -> str:
    return "\n".join(
        f"""[catalogs.c{number:02}]
title = "Beamline {number}"
beamline = "b{number:02}"
metadata = "{mongo}/bench_index_{number:02}"
assets = "{mongo}/bench_index_{number:02}"
timezone = "America/New_York"
proposal = [{{ path = "data_session", pattern = '^pass-(\\d+)$' }}]
facets = ["cycle"]
"""
        for number in range(count)
    )


def fill_sql(runs: int, catalogs: int) -> float:
    """Seconds."""
    from django.conf import settings

    from headers.index.rows import ending, row_of
    from headers.index.store import add_rows, source_of

    sources = [source_of(catalog) for catalog in settings.CATALOGS]
    waiting: list[list[Any]] = [[] for _ in sources]
    begun = time.perf_counter()
    for at, document, end in documents(runs, catalogs):
        row = row_of(settings.CATALOGS[at], document)
        waiting[at].append((row, ending(document["time"], [end] if end else [])))
        if len(waiting[at]) == BATCH:
            add_rows(sources[at], waiting[at])
            waiting[at] = []
    for source, rows in zip(sources, waiting, strict=True):
        add_rows(source, rows)
        source.filled = True
        source.save()
    return time.perf_counter() - begun


def fill_mongo(uri: str, runs: int, catalogs: int) -> None:
    import pymongo

    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri)
    waiting: dict[tuple[int, str], list[Any]] = {}

    def write(at: int, name: str) -> None:
        if found := waiting.pop((at, name), []):
            client[f"bench_index_{at:02}"][name].insert_many(found, ordered=False)

    for at, document, end in documents(runs, catalogs):
        for name, item in (("run_start", document), ("run_stop", end)):
            if item is not None:
                waiting.setdefault((at, name), []).append(item)
                if len(waiting[at, name]) == BATCH:
                    write(at, name)
    for at, name in list(waiting):
        write(at, name)
    for at in range(catalogs):
        metadata = client[f"bench_index_{at:02}"]
        metadata.run_start.create_index("uid", unique=True)
        metadata.run_start.create_index([("time", -1), ("_id", -1)])
        metadata.run_stop.create_index("run_start", unique=True)
    client.close()


def questions() -> Iterator[tuple[str, Callable[[], Any]]]:
    """What lists ask, as each kind of caller."""
    from django.conf import settings

    from headers.index.catch_up import current_index
    from headers.index.listing import Listing, Wanted
    from policies.rule.access import Access

    catalogs = current_index(settings.CATALOGS).catalogs
    middle = EPOCH + 86400 * 365 * 3
    one = dict([next(iter(catalogs.items()))])
    callers = {
        "admin": Access(data_admin=True),
        "member": Access(proposals=frozenset({"301000", "302000"})),
        "member of 5000": Access(proposals=frozenset(map(str, range(300_000, 305_000)))),
        "staff of 1": Access(beamlines=frozenset({"b03"}), locked=frozenset({"300500"})),
        "staff and member": Access(
            beamlines=frozenset({"b03"}), proposals=frozenset({"301000", "302000"})
        ),
        "anonymous": Access(proposals=frozenset(map(str, range(300_000, 300_020)))),
    }
    for name, access in callers.items():
        listing = Listing(access, catalogs)
        lone = Listing(access, one)
        asked: dict[str, Wanted] = {
            "first": Wanted(),
            "middle": Wanted(until={c.name: middle for c in catalogs.values()}),
            "plan": Wanted(plan_name="xanes"),
            "open": Wanted(exit_status="open"),
            "fail": Wanted(exit_status="fail"),
            "proposal": Wanted(proposal="301000"),
            "scan_id": Wanted(scan_id=500),
            "motor": Wanted(motors=("th",)),
            "sample": Wanted(sample="FILM 77"),
            "no sample": Wanted(sample="nothing"),
            "rare word": Wanted(search="alignment 7a120"),
            "common word": Wanted(search="alignment"),
            "common words": Wanted(search="gold foil"),
        }
        for kind, wanted in asked.items():
            yield f"{name}: {kind}", partial(listing.page, wanted, 101)
        yield f"{name}: one catalog", partial(lone.page, Wanted(), 101)
        yield f"{name}: by scan id", partial(listing.page, Wanted(), 101, ordering="-scan_id")
        yield f"{name}: -1", partial(listing.newest, 1)
        yield f"{name}: -10000", partial(listing.newest, 10_000)
        yield f"{name}: uid prefix", partial(listing.starting_with, "abcde")
        yield f"{name}: count", partial(listing.count, Wanted())
        yield f"{name}: count since", partial(listing.count, asked["middle"])
        yield f"{name}: count fail", partial(listing.count, Wanted(exit_status="fail"))
        yield f"{name}: count word", partial(listing.count, Wanted(search="alignment"))
        for path in ("plan_name", "proposal", "catalog", "motors", "cycle", "scan_id"):
            yield f"{name}: facet {path}", partial(listing.facet, Wanted(), path)


def measure(question: Callable[[], Any], times: int = 3) -> float:
    """Median milliseconds."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        question()
        taken.append(time.perf_counter() - begun)
        if taken[-1] > 2:
            break
    return statistics.median(taken) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.index", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--catalogs", type=int, default=30)
    parser.add_argument("--mongo", help="also writes the documents there")
    parser.add_argument("--only", default="", help="questions whose name has this")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="broker-index-") as folder:
        file = Path(folder) / "catalogs.toml"
        file.write_text(catalogs_file(given.catalogs, given.mongo or "mongodb://127.0.0.1:1"))
        os.environ |= {"BROKER_DEBUG": "true", "BROKER_CATALOGS": str(file)}
        os.environ.setdefault("DATABASE_URL", f"sqlite:///{folder}/index.sqlite3")
        os.environ["DJANGO_SETTINGS_MODULE"] = "broker_site.settings"
        _run(given)


def _run(given: argparse.Namespace) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    from django.db import connection

    from headers.index.models import IndexedRun

    call_command("migrate", verbosity=0)
    if not IndexedRun.objects.exists():
        seconds = fill_sql(given.runs, given.catalogs)
        print(f"filled: {given.runs / seconds:,.0f} runs a second")
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        if given.mongo:
            fill_mongo(given.mongo, given.runs, given.catalogs)
    for name, question in questions():
        if given.only in name:
            print(f"{name:<35} {measure(question):8.1f} ms", flush=True)


if __name__ == "__main__":
    main()
