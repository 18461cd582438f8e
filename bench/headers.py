"""Headers: what a local script needs for the same by pymongo."""

import multiprocessing
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from statistics import median
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from bench.client import Client
from bench.measuring import Row, side_by_side

RUNS = 3000
CLIENTS = 16
SECONDS = 4.0
PROPOSAL, MEMBER, ADMIN, PASSWORD = "310000", "member", "admin", "bench-password-2026"


def fill(database: Database[dict[str, Any]]) -> list[str]:
    """Writes the runs, as bluesky does. Returns their uids."""
    if database.run_start.estimated_document_count() != RUNS:
        for name in ("run_start", "run_stop", "event_descriptor"):
            database[name].drop()
        _insert(database)
    return [document["uid"] for document in database.run_start.find({}, {"uid": 1})]


def _insert(database: Database[dict[str, Any]]) -> None:
    database.run_start.create_index("uid", unique=True)
    database.run_start.create_index([("time", -1), ("_id", -1)])
    database.run_start.create_index("data_session")
    database.run_stop.create_index("run_start", unique=True)
    database.event_descriptor.create_index([("run_start", 1), ("time", 1)])
    numbers = range(RUNS)
    database.run_start.insert_many([_start(n) for n in numbers])
    database.run_stop.insert_many([_stop(n) for n in numbers])
    database.event_descriptor.insert_many([_descriptor(n) for n in numbers])


def _uid(number: int) -> str:
    return f"{number * 2654435761 % 2**32:08x}-0000-4000-8000-{number:012x}"


def _start(number: int) -> dict[str, Any]:
    return {
        "uid": _uid(number),
        "time": 1.7e9 + number * 60,
        "scan_id": number,
        "plan_name": "scan",
        "plan_args": {"detectors": ["det"], "num": 20, "args": ["motor", -5.0, 5.0]},
        "detectors": ["det"],
        "motors": ["motor"],
        "num_points": 20,
        "hints": {"dimensions": [[["motor"], "primary"]]},
        "data_session": f"pass-{310000 + number % 10}",
        "proposal": {"proposal_id": str(310000 + number % 10), "title": "Charge order in films"},
        "cycle": "2026-2",
        "username": "member",
        "beamline_id": "csx",
        "sample": {"name": "LSCO 12 nm", "id": number % 40},
        "versions": {"bluesky": "1.15.1", "ophyd": "1.11.2"},
    }


def _stop(number: int) -> dict[str, Any]:
    return {
        "uid": f"stop-{number}",
        "run_start": _uid(number),
        "time": 1.7e9 + number * 60 + 50,
        "exit_status": "success",
        "reason": "",
        "num_events": {"primary": 20},
    }


def _descriptor(number: int) -> dict[str, Any]:
    key = {"dtype": "number", "shape": [], "source": "SIM:x", "units": "mm", "precision": 3}
    return {
        "uid": f"descriptor-{number}",
        "run_start": _uid(number),
        "time": 1.7e9 + number * 60 + 1,
        "name": "primary",
        "data_keys": {"det": key, "motor": key, "motor_setpoint": key},
        "configuration": {"det": {"data": {"gain": 1}, "timestamps": {"gain": 1.7e9}}},
        "hints": {"det": {"fields": ["det"]}, "motor": {"fields": ["motor"]}},
        "object_keys": {"det": ["det"], "motor": ["motor", "motor_setpoint"]},
    }


@dataclass(frozen=True)
class Script:
    """The local script: the same reads straight from the database."""

    database: Database[dict[str, Any]]

    def header(self, uid: str) -> tuple[Any, ...]:
        start = self.database.run_start.find_one({"uid": uid})
        stop = self.database.run_stop.find_one({"run_start": uid})
        return start, stop, list(self.database.event_descriptor.find({"run_start": uid}))

    def page(self) -> tuple[Any, ...]:
        starts = list(self.database.run_start.find().sort([("time", -1), ("_id", -1)]).limit(100))
        uids = [start["uid"] for start in starts]
        return starts, list(self.database.run_stop.find({"run_start": {"$in": uids}}))


def rows(uri: str, port: int, uids: list[str]) -> list[Row]:
    """The lines of the table about headers."""
    script = Script(_database(uri))
    admin, member = Client(port, (ADMIN, PASSWORD)), Client(port, (MEMBER, PASSWORD))
    readable = cycle(uids[::10])  # those of the proposal that the member belongs to

    def local() -> object:
        return script.header(next(readable))

    def header(client: Client) -> object:
        return client.get_json(f"/api/v1/headers/{next(readable)}/")

    def policy() -> float:
        header(member)
        return member.timing["auth"] + member.timing["policy"]

    one = side_by_side("one header, data admin", local, lambda: header(admin), 100, "≤ 2")
    policy_ms = median(policy() for _ in range(200))
    return [
        one,
        side_by_side("one header, member of a proposal", local, lambda: header(member), 100, "≤ 2"),
        Row("– of this, authentication and policy", one.local_ms, policy_ms),
        side_by_side("– of this, HTTP alone", local, lambda: member.get("/livez"), 100),
        side_by_side(
            "a page of 100 headers",
            script.page,
            lambda: admin.get_json("/api/v1/headers/?page_size=100"),
            10,
            "≤ 1.5",
        ),
        _many_clients(uri, port, uids[::10]),
    ]


def _database(uri: str) -> Database[dict[str, Any]]:
    client: MongoClient[dict[str, Any]] = MongoClient(uri)
    return client.get_default_database()


def _many_clients(uri: str, port: int, uids: list[str]) -> Row:
    """Milliseconds per header with 16 client processes at once, in turns."""
    with multiprocessing.get_context("spawn").Pool(CLIENTS) as pool:
        local, remote = [], []
        for _ in range(3):
            local.append(sum(pool.starmap(_read_locally, [(uri, uids)] * CLIENTS, 1)))
            remote.append(sum(pool.starmap(_read_remotely, [(port, uids)] * CLIENTS, 1)))
    local_ms, remote_ms = (SECONDS * 1000 / median(counts) for counts in (local, remote))
    return Row(f"one header, {CLIENTS} clients at once", local_ms, remote_ms, "≤ 2.2")


def _read_locally(uri: str, uids: list[str]) -> int:
    script = Script(_database(uri))
    return _count(lambda: script.header(random.choice(uids)))


def _read_remotely(port: int, uids: list[str]) -> int:
    client = Client(port, (MEMBER, PASSWORD))
    return _count(lambda: client.get_json(f"/api/v1/headers/{random.choice(uids)}/"))


def _count(action: Callable[[], object]) -> int:
    """How often an action is done in the time."""
    action()
    end, count = time.perf_counter() + SECONDS, 0
    while time.perf_counter() < end:
        action()
        count += 1
    return count
