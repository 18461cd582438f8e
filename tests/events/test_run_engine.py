"""A run taken by the real RunEngine, stored by suitcase-mongo, comes back as it was emitted."""

# bluesky, ophyd and suitcase are partly untyped.
# mypy: allow-untyped-calls

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import pytest
from bluesky import RunEngine
from bluesky.preprocessors import baseline_wrapper
from ophyd.sim import hw as simulated_hardware
from suitcase.mongo_normalized import Serializer

from broker_site.encoding import to_json
from headers.catalogs import Catalog
from headers.mongo import database
from tests.conftest import Actor

URL = "/api/v1/headers/"
Emitted = dict[str, list[dict[str, Any]]]
Plan = Iterator[Any]


def as_json(document: Any) -> Any:
    return json.loads(to_json(document))


@pytest.fixture
def hardware() -> Any:
    return simulated_hardware()


@pytest.fixture
def take(catalogs: dict[str, Catalog]) -> Callable[[Plan], Emitted]:
    """Takes one run into the catalog csx and returns its documents by their names."""
    catalog = catalogs["csx"]
    engine = RunEngine({"scan_id": 100}, context_managers=[])
    store = Serializer(
        database(catalog.metadata), database(catalog.assets), ignore_duplicates=False
    )
    emitted: Emitted = defaultdict(list)
    engine.subscribe(store)
    engine.subscribe(lambda name, document: emitted[name].append(dict(document)))

    def run(plan: Plan) -> Emitted:
        with suppress(ZeroDivisionError):  # of the plan that fails on purpose
            engine(plan, data_session="pass-310000", sample={"name": "gold"})
        return emitted

    return run


def failing_plan(detector: Any) -> Plan:
    yield from bps.open_run({"plan_name": "failing"})
    yield from bps.trigger_and_read([detector])
    raise ZeroDivisionError


PLANS: dict[str, Callable[[Any], Plan]] = {
    "count": lambda hw: bp.count([hw.det], 3),
    "scan": lambda hw: bp.scan([hw.det1, hw.det2], hw.motor1, -1, 1, 4),
    "grid": lambda hw: bp.grid_scan([hw.det4], hw.motor1, 0, 1, 2, hw.motor2, 0, 1, 3, True),
    "baseline": lambda hw: baseline_wrapper(bp.count([hw.det], 2), [hw.motor1, hw.motor2]),
    "failing": lambda hw: failing_plan(hw.det),
}


@pytest.mark.parametrize("plan", PLANS)
def test_start_stop_and_descriptors_come_back_identical(
    plan: str, take: Callable[[Plan], Emitted], hardware: Any, acting_as: Actor
) -> None:
    emitted = take(PLANS[plan](hardware))
    (start,), (stop,) = emitted["start"], emitted["stop"]
    alice = acting_as("alice")
    run = alice.get(f"{URL}{start['uid']}/").json()
    assert run["start"] == as_json(start)
    assert run["stop"] == as_json(stop)
    by_uid = {descriptor["uid"]: descriptor for descriptor in run["descriptors"]}
    assert by_uid == {d["uid"]: as_json(d) for d in emitted["descriptor"]}
    for descriptor in emitted["descriptor"]:
        alone = alice.get(f"/api/v1/descriptors/{descriptor['uid']}/").json()
        assert alone == as_json(descriptor)
    assert run["proposal"] == "310000"
    counts = {stream["name"]: stream["event_count"] for stream in run["streams"]}
    assert counts == stop["num_events"]
    assert stop["exit_status"] == ("fail" if plan == "failing" else "success")


def test_runs_of_the_run_engine_are_found(
    take: Callable[[Plan], Emitted], hardware: Any, acting_as: Actor
) -> None:
    for plan in ("count", "scan", "failing"):
        emitted = take(PLANS[plan](hardware))
    uids = [start["uid"] for start in emitted["start"]]
    alice = acting_as("alice")

    def found(**filters: str) -> list[str]:
        return [run["uid"] for run in alice.get(URL, filters).json()["results"]]

    assert found() == uids[::-1]
    assert found(plan_name="scan") == [uids[1]]
    assert found(exit_status="fail") == [uids[2]]
    assert found(query='{"descriptor.data_keys.det1": {"$exists": true}}') == [uids[1]]
    assert found(scan_id=str(emitted["start"][0]["scan_id"])) == [uids[0]]
    assert found(search="gold") == uids[::-1]
