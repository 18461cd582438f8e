"""Runs that suitcase's mongo_embedded wrote are served as those of mongo_normalized are."""

# bluesky, ophyd and suitcase are partly untyped.
# mypy: allow-untyped-calls, disable-error-code="misc"

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import bluesky.plans as bp
import numpy as np
import pytest
from bluesky import RunEngine
from bluesky.preprocessors import baseline_wrapper
from django.core.management import call_command
from django.test import Client
from ophyd.sim import SynSignalWithRegistry
from ophyd.sim import hw as simulated_hardware
from pytest_django.fixtures import Settings
from suitcase import mongo_embedded, mongo_normalized

from headers.catalogs import Catalog, CatalogsError, load_catalogs
from headers.mongo import database
from staff.checkup import Level, check_catalog, missing_indexes
from tests.conftest import Actor, People
from tests.settings import CATALOGS_TOML

API = "/api/v1"
EVENTS = 7


class Embedded(mongo_embedded.Serializer):
    """Without indexes: one of them, for text, is not for the embedded server of the tests."""

    def _create_indexes(self) -> None:
        pass


@dataclass
class Both:
    """The same runs in both layouts, one at a time as the catalog csx."""

    normalized: Catalog
    embedded: Catalog
    settings: Settings
    documents: list[tuple[str, dict[str, Any]]]

    def serve(self, layout: str) -> None:
        catalog = getattr(self, layout)
        self.settings.CATALOGS = (catalog,)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [document for name, document in self.documents if name == kind]


def _two_databases(catalog: Catalog) -> Catalog:
    uri = f"{catalog.metadata}_embedded"
    for name in ("header", "event", "datum"):
        database(uri)[name].delete_many({})
    return replace(catalog, metadata=uri, assets=uri, layout="embedded")


@pytest.fixture
def both(catalogs: dict[str, Catalog], data_folder: Path, settings: Settings) -> Both:
    """Three runs: a scan with a baseline, one with image files in pages, one of bob's."""
    normalized = catalogs["csx"]
    embedded = _two_databases(normalized)
    found = Both(normalized, embedded, settings, [])
    hardware = simulated_hardware()
    numbers = itertools.count()
    image = SynSignalWithRegistry(
        lambda: np.full((3, 4), next(numbers), float), name="img", save_path=str(data_folder)
    )
    scan = bp.scan([hardware.det], hardware.motor, -1, 1, EVENTS)
    plans = [
        (baseline_wrapper(scan, [hardware.motor1]), "pass-310000"),
        (bp.count([image, hardware.det], 3), "pass-310000"),
        (bp.count([hardware.det], 2), "pass-310001"),
    ]
    for plan, session in plans:
        _take(plan, session, found)
    return found


def _take(plan: Iterator[Any], session: str, both: Both) -> None:
    engine = RunEngine({}, context_managers=[])
    one = database(both.normalized.metadata), database(both.normalized.assets)
    # Pages of a few events each, as those of long runs have thousands.
    paged = Embedded(database(both.embedded.metadata), page_size=1000, embedder_size=1000)
    engine.subscribe(mongo_normalized.Serializer(*one, ignore_duplicates=False))
    engine.subscribe(paged)
    engine.subscribe(lambda name, document: both.documents.append((name, dict(document))))
    engine(plan, data_session=session)


def _addresses(both: Both) -> list[str]:
    scan, images, hidden = (start["uid"] for start in both.of("start"))
    descriptors, events = both.of("descriptor"), both.of("event")
    parts = ["", "streams/"]
    return [
        "/headers/",
        "/headers/?include=descriptors",
        "/headers/?exit_status=success",
        "/headers/?ordering=time&plan_name=scan",
        "/headers/?search=scan",
        '/headers/?query={"descriptor.name":"baseline"}',
        '/headers/?query={"num_points":{"$gte":3}}',
        "/headers/count/",
        "/headers/facets/?fields=plan_name,proposal",
        "/headers/-1/",
        f"/headers/{scan[:8]}/",
        *(f"/headers/{uid}/{part}" for uid in (scan, images, hidden) for part in parts),
        *(f"/headers/{uid}/documents/" for uid in (scan, images, hidden)),
        *(f"/headers/{uid}/documents/?fill=true" for uid in (scan, images)),
        *(f"/headers/{uid}/streams/primary/table/" for uid in (scan, images, hidden)),
        *(f"/headers/{uid}/streams/primary/data/det/" for uid in (scan, images, hidden)),
        *(f"/headers/{uid}/streams/primary/table/?format=csv" for uid in (scan, images)),
        *(f"/headers/{uid}/export/?format=ndjson" for uid in (scan, images, hidden)),
        f"/headers/{images}/streams/primary/data/img/",
        f"/headers/{images}/streams/primary/data/img/?slice=1:",
        *(f"/descriptors/{d['uid']}/" for d in descriptors),
        *(f"/events/?descriptor={d['uid']}" for d in descriptors),
        *(f"/events/?descriptor={d['uid']}&page_size=2" for d in descriptors),
        *(f"/events/{e['uid']}/data/{field}/" for e in events for field in e["data"]),
    ]


def _answers(both: Both, layout: str, client: Any, addresses: list[str]) -> dict[str, Any]:
    both.serve(layout)
    found = {}
    for address in addresses:
        response = client.get(API + address)
        streamed = getattr(response, "streaming", False)
        content = b"".join(response.streaming_content) if streamed else response.content
        found[address] = (response.status_code, _without_cursors(content))
    return found


def _without_cursors(content: bytes) -> Any:
    """Lines of JSON as values, whose keys the layouts have in different orders."""
    try:
        lines = [json.loads(line) for line in content.splitlines()]
    except ValueError:
        return content
    for line in lines:
        if isinstance(line, dict):
            for varying in ("next", "previous", "instance", "request_id"):
                line.pop(varying, None)
    return lines


@pytest.mark.parametrize("actor", ["alice", "bob", "sue", "nobody"])
def test_every_reading_route_answers_the_same_of_both_layouts(
    actor: str, both: Both, acting_as: Actor
) -> None:
    client = acting_as(actor)
    addresses = _addresses(both)
    expected = _answers(both, "normalized", client, addresses)
    answers = _answers(both, "embedded", client, addresses)
    for address in addresses:
        assert answers[address] == expected[address], address
    readable = sum(status == 200 for status, _ in expected.values())
    assert readable > (40 if actor in ("alice", "sue") else 3)


def test_what_a_caller_may_not_read_does_not_exist(both: Both, acting_as: Actor) -> None:
    both.serve("embedded")
    hidden = both.of("start")[2]["uid"]
    descriptor = both.of("descriptor")[-1]["uid"]
    event = both.of("event")[-1]["uid"]
    alice = acting_as("alice")
    for address in (
        f"headers/{hidden}/",
        f"descriptors/{descriptor}/",
        f"events/{event}/data/det/",
    ):
        assert acting_as("bob").get(f"{API}/{address}").status_code == 200
        assert alice.get(f"{API}/{address}").status_code == 404
    assert alice.get(f"{API}/headers/count/").json()["count"] == 2


def test_pages_of_events_follow_each_other_through_the_pages_of_the_database(
    both: Both, acting_as: Actor
) -> None:
    """Forwards by the cursors, across what the database stores as several documents."""
    both.serve("embedded")
    assert database(both.embedded.metadata).event.count_documents({}) > 4
    primary = next(d["uid"] for d in both.of("descriptor") if d["name"] == "primary")
    client = acting_as("alice")
    address: str | None = f"{API}/events/?descriptor={primary}&page_size=2"
    found: list[int] = []
    while address:
        page = client.get(address).json()
        found += [event["seq_num"] for event in page["results"]]
        address = page["next"]
    assert found == list(range(1, EVENTS + 1))


def test_pages_admin_and_study_show_the_same(both: Both, people: People) -> None:
    people.sue.is_staff = people.sue.is_superuser = True
    people.sue.save()
    browser = Client()
    browser.force_login(people.sue)
    uid = both.of("start")[0]["uid"]
    shown = []
    for layout in ("normalized", "embedded"):
        both.serve(layout)
        study = StringIO()
        call_command("data_rates", "--format", "json", stdout=study)
        runs, run = browser.get("/runs/"), browser.get(f"/runs/{uid}/")
        lists = browser.get("/admin/headers/csx_run/")
        assert [r.status_code for r in (runs, run, lists)] == [200, 200, 200]
        found = [r.content.decode().count(uid) for r in (runs, run, lists)]
        assert min(found) > 0
        shown.append((found, json.loads(study.getvalue())))
    assert shown[0] == shown[1]


def test_a_page_that_lacks_values_is_served_without_them(both: Both, acting_as: Actor) -> None:
    both.serve("embedded")
    primary = next(d["uid"] for d in both.of("descriptor") if d["name"] == "primary")
    pages = database(both.embedded.metadata).event
    stored = pages.find_one({"descriptor": primary})
    assert stored is not None
    change = {"data.det": stored["data"]["det"][:1], "data.motor": 5, "filled": None}
    pages.update_one({"_id": stored["_id"]}, {"$set": change})
    address = f"{API}/events/?descriptor={primary}&page_size=2"
    first, second = acting_as("alice").get(address).json()["results"]
    assert first["data"].keys() == {"det", "motor_setpoint"}
    assert second["data"].keys() == {"motor_setpoint"}
    assert second["timestamps"].keys() == {"det", "motor", "motor_setpoint"}


def test_the_checkup_knows_the_layout(both: Both) -> None:
    wrong = [f.text for f in check_catalog(both.embedded) if f.level is Level.WRONG]
    assert not [text for text in wrong if "collections" in text or "could not" in text]
    assert {index.collection for index in missing_indexes(both.embedded)} == {
        "header",
        "event",
        "datum",
    }
    mistaken = replace(both.embedded, layout="normalized")
    found = [f.text for f in check_catalog(mistaken) if f.level is Level.WRONG]
    assert any('set layout = "embedded"' in text for text in found)


def test_a_layout_is_one_of_two(tmp_path: Path) -> None:
    file = tmp_path / "catalogs.toml"
    file.write_text(CATALOGS_TOML.replace("[catalogs.hxn]", '[catalogs.hxn]\nlayout = "embedded"'))
    assert [catalog.layout for catalog in load_catalogs(file)] == ["normalized", "embedded"]
    file.write_text(CATALOGS_TOML.replace("[catalogs.hxn]", '[catalogs.hxn]\nlayout = "tiled"'))
    with pytest.raises(CatalogsError, match="layout: must be 'normalized' or 'embedded'"):
        load_catalogs(file)
