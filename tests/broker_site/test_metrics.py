"""GET /metrics: for allowed addresses or with the token, for nobody else."""

import time
from ipaddress import ip_network

import pytest
from django.db import OperationalError
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from headers.index.catch_up import catch_up, current_index, take_turn
from tests.documents import Recorder

pytestmark = pytest.mark.django_db


def test_an_allowed_address_reads_requests_by_route_and_status(client: APIClient) -> None:
    client.get("/api/v1/headers/secret-looking-key/")
    text = client.get("/metrics").content.decode()
    route = 'route="api/v1/headers/<str:key>/"'
    assert f'broker_request_seconds_count{{method="GET",{route},status="404"}}' in text
    assert "secret-looking-key" not in text


def test_another_address_does_not_learn_that_there_are_metrics(
    client: APIClient, settings: Settings
) -> None:
    settings.METRICS_ALLOWED = [ip_network("10.1.0.0/16")]
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"X-Forwarded-For": "10.1.0.1"}).status_code == 404


def test_the_token_opens_the_metrics_from_anywhere(client: APIClient, settings: Settings) -> None:
    settings.METRICS_ALLOWED, settings.METRICS_TOKEN = [], "prometheus-token-of-the-tests"
    bearer = {"Authorization": "Bearer prometheus-token-of-the-tests"}
    assert client.get("/metrics", headers=bearer).status_code == 200
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


def test_methods_that_somebody_makes_up_are_one_series(client: APIClient) -> None:
    for number in range(3):
        client.generic(f"MADEUP{number}", "/livez")
    text = client.get("/metrics").content.decode()
    assert 'method="other"' in text
    assert "MADEUP" not in text


def test_the_index_is_told_by_catalog(
    client: APIClient, recorder: Recorder, settings: Settings
) -> None:
    text = client.get("/metrics").content.decode()
    assert "broker_index_runs{" not in text
    assert "\nbroker_index_age_seconds " not in text
    recorder.run()
    recorder.run(catalog="hxn")
    catch_up(current_index(settings.CATALOGS), fill_seconds=60)
    take_turn(time.time() - 100)
    text = client.get("/metrics").content.decode()
    for catalog in ("csx", "hxn"):
        for name in ("runs", "filled", "available"):
            assert f'broker_index_{name}{{catalog="{catalog}"}} 1.0' in text
    age = text.partition("\nbroker_index_age_seconds ")[2].split()[0]
    assert 100 <= float(age) < 200


def test_metrics_are_told_while_the_database_is_away(
    client: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr("headers.index.metrics._sources", away)
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert b"broker_request_seconds" in answer.content
