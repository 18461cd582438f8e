"""A catalog whose database is away: the others answer, and the answer says who is missing."""

import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pymongo
import pytest
from django.conf import settings
from pymongo.database import Database
from pymongo.errors import ExecutionTimeout, NetworkTimeout

from demo.embedded_mongo import embedded_mongo
from headers import mongo
from headers.catalogs import Catalog
from headers.finding import RunFinder
from headers.index.runs import CatalogsUnavailable
from headers.mongo import CatalogUnavailable, asking, resting
from policies.models import Proposal
from policies.rule.access import Access
from tests.conftest import Actor, People
from tests.documents import Recorder
from tests.faults.world import paused, processes
from tests.programs import free_port

URL = "/api/v1/headers/"
CLOSED = "mongodb://127.0.0.1:9/away"


@pytest.fixture
def down(catalogs: dict[str, Catalog], monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Names of catalogs whose addresses lead to a port where nobody listens."""
    names: set[str] = set()
    client: pymongo.MongoClient[Any] = pymongo.MongoClient(CLOSED, serverSelectionTimeoutMS=50)
    known = mongo.database

    def database(uri: str) -> Database[Any]:
        away = uri in {catalogs[name].metadata for name in names}
        return client.get_default_database() if away else known(uri)

    monkeypatch.setattr(mongo, "database", database)
    yield names
    mongo.resting.clear()
    client.close()


@pytest.fixture
def runs(recorder: Recorder) -> dict[str, str]:
    return {name: recorder.run(catalog=name, uid=f"{name}-{name}-run") for name in ("csx", "hxn")}


@pytest.mark.parametrize("missing", ["csx", "hxn"])
def test_the_others_answer_and_the_missing_one_is_named(
    missing: str, acting_as: Actor, runs: dict[str, str], down: set[str]
) -> None:
    down.add(missing)
    client = acting_as("alice")
    listed = client.get(URL)
    assert [run["uid"] for run in listed.json()["results"]] == [
        uid for name, uid in runs.items() if name != missing
    ]
    counted = client.get(f"{URL}count/")
    assert counted.json()["count"] == 1
    facets = client.get(f"{URL}facets/", {"fields": "catalog,plan_name,proposal"})
    assert [item["value"] for item in facets.json()["catalog"]] == [*runs.keys() - {missing}]
    for response in (listed, counted, facets):
        assert response.status_code == 200
        assert response.json()["unavailable"] == [missing]
        assert response["Warning"] == f'199 - "no answer from {missing}"'


def test_a_complete_answer_names_nobody(
    acting_as: Actor, runs: dict[str, str], down: set[str]
) -> None:
    response = acting_as("alice").get(URL)
    assert "unavailable" not in response.json()
    assert "Warning" not in response


def test_without_any_catalog_there_is_no_answer_but_when_to_come_back(
    acting_as: Actor, runs: dict[str, str], down: set[str]
) -> None:
    down.update(("csx", "hxn"))
    client = acting_as("alice")
    for path in ("", "count/", "facets/?fields=catalog", "-1/", "csx-csx-run/", "nonsense/"):
        response = client.get(URL + path)
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["unavailable"] == ["csx", "hxn"]
        assert "127.0.0.1" not in response.content.decode()


def test_a_list_of_the_missing_catalog_alone_is_no_answer(
    acting_as: Actor, runs: dict[str, str], down: set[str]
) -> None:
    down.add("hxn")
    client = acting_as("alice")
    assert client.get(URL, {"catalog": "hxn"}).status_code == 503
    assert client.get(URL, {"catalog": "csx"}).status_code == 200


def test_a_key_that_may_be_in_the_missing_catalog_is_not_said_to_be_nowhere(
    acting_as: Actor, runs: dict[str, str], down: set[str]
) -> None:
    down.add("hxn")
    client = acting_as("alice")
    assert client.get(f"{URL}csx-csx-run/").status_code == 200
    for key in ("hxn-hxn-run", "csx-c", "nonsense", "-1", "-2"):
        response = client.get(f"{URL}{key}/")
        assert response.status_code == 503, key
        assert response.json()["unavailable"] == ["hxn"]
    assert client.get("/api/v1/descriptors/nonsense/").status_code == 503


def test_who_may_read_nothing_there_does_not_notice(
    acting_as: Actor, runs: dict[str, str], down: set[str], people: People
) -> None:
    """ABUSE-CASES 7: the answer tells nothing of catalogs that are not asked."""
    Proposal.objects.update(public_from=None)
    down.update(("csx", "hxn"))
    response = acting_as("nobody").get(URL)
    assert (response.status_code, response.json()["results"]) == (200, [])
    assert acting_as("nobody").get(f"{URL}nonsense/").status_code == 404


@pytest.mark.django_db
def test_after_a_failure_a_catalog_rests_for_a_moment(
    runs: dict[str, str], down: set[str], catalogs: dict[str, Catalog]
) -> None:
    down.add("hxn")
    merged = RunFinder([catalogs["hxn"]], Access(data_admin=True))
    with pytest.raises(CatalogsUnavailable):
        merged.find("-1")
    assert mongo.resting.includes(catalogs["hxn"])
    assert not mongo.resting.includes(catalogs["csx"])
    down.clear()
    with pytest.raises(CatalogsUnavailable):
        merged.find("-1")
    mongo.resting.clear()
    assert RunFinder([catalogs["hxn"]], Access(data_admin=True)).find("-1").uid == runs["hxn"]


def test_one_query_that_takes_too_long_does_not_rest_the_catalog_for_others(
    catalogs: dict[str, Catalog],
) -> None:
    """ABUSE-CASES 4: a caller could otherwise keep everybody from a catalog."""
    csx = catalogs["csx"]
    for error in (NetworkTimeout("timed out"), ExecutionTimeout("time limit", 50)):
        with pytest.raises(CatalogUnavailable), asking(csx):
            raise error
        assert not resting.includes(csx)


def test_a_server_that_hangs_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and answers nobody, not even who asks whether it lives."""
    monkeypatch.setattr("headers.mongo.CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        uri = f"mongodb://127.0.0.1:{hung.getsockname()[1]}/db"
        catalog = replace(settings.CATALOGS[0], metadata=uri)
        with pytest.raises(CatalogUnavailable), asking(catalog):
            raise NetworkTimeout("timed out")
        assert resting.includes(catalog)
    resting.clear()


def test_who_waits_for_a_server_that_hangs_is_told_before_a_query_may_end() -> None:
    """The driver looks at the server beside the query, and ends it."""
    port = free_port()
    with embedded_mongo(None, port) as address:
        catalog = replace(settings.CATALOGS[0], metadata=f"{address}/db")
        runs = mongo.database(catalog.metadata).run_start
        runs.insert_one({"uid": "a"})
        (server,) = processes(f"--port {port} ")
        begin = time.monotonic()
        with paused(server), pytest.raises(CatalogUnavailable), asking(catalog):
            runs.find_one({})
        # Bounds of the service's own, not of the machine: its socket would wait longer than this.
        assert time.monotonic() - begin < settings.QUERY_SECONDS
        assert resting.includes(catalog)
        resting.clear()
        with asking(catalog):
            assert runs.count_documents({}) == 1
