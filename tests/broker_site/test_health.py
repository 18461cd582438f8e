"""/livez and /readyz."""

from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client

from broker_site import health
from headers.catalogs import Catalog
from tests.conftest import People


def readiness(client: Client) -> tuple[int, Any]:
    response = client.get("/readyz")
    return response.status_code, response.json()


class Away:
    """A connection to a database that does not answer."""

    def ensure_connection(self) -> None:
        raise DatabaseError


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of catalogs that do not answer."""
    names: set[str] = set()
    monkeypatch.setattr(health, "ping", lambda catalog: catalog.name not in names)
    return names


def test_alive_asks_nobody(catalogs: dict[str, Catalog]) -> None:
    response = Client().get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_ready_when_the_databases_answer(people: People, catalogs: dict[str, Catalog]) -> None:
    assert readiness(Client()) == (200, {"status": "ok"})


def test_ready_as_long_as_one_catalog_answers(people: People, away: set[str]) -> None:
    away.add("csx")
    assert readiness(Client()) == (200, {"status": "ok"})
    away.add("hxn")
    assert readiness(Client()) == (503, {"status": "unavailable"})


def test_staff_are_told_which_database_is_away(people: People, away: set[str]) -> None:
    away.add("csx")
    people.dan.is_staff = True
    people.dan.save()
    client = Client()
    client.force_login(people.dan)
    status, content = readiness(client)
    assert status == 200
    assert content["policies"] is True
    assert content["catalogs"] == {"csx": False, "hxn": True}
    client.force_login(people.alice)
    assert readiness(client)[1] == {"status": "ok"}


def test_not_ready_without_the_database_of_policies(
    people: People, away: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "connection", Away())
    assert readiness(Client()) == (503, {"status": "unavailable"})


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_health_is_only_read(path: str, people: People, away: set[str]) -> None:
    assert Client().post(path).status_code == 405
    assert Client().head(path).status_code == 200
