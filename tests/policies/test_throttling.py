"""How much one principal may ask for, and what happens beyond."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from pytest_django import Settings
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.test import APIClient, APIRequestFactory

from headers.catalogs import Catalog
from headers.finding import RunFinder
from headers.repositories import Run
from policies import throttling
from policies.authentication import BearerAuthentication
from policies.models import AuditEvent
from policies.requests import guarded
from policies.rule.access import Access
from policies.sessions import begin_session
from tests.conftest import Actor, People
from tests.documents import Recorder

WHOAMI = "/api/v1/auth/whoami/"


@pytest.fixture(autouse=True)
def _one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a test is at one moment, in the middle of a minute and of an hour."""
    monkeypatch.setattr(throttling, "time", SimpleNamespace(time=lambda: 1_800_000_030.0))


def test_beyond_the_rate_a_user_is_told_when_to_come_back(
    acting_as: Actor, settings: Settings
) -> None:
    settings.REQUESTS_USER = 3
    alice = acting_as("alice")
    assert [alice.get(WHOAMI).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = alice.get(WHOAMI)
    assert refused["Content-Type"] == "application/problem+json"
    assert 0 < int(refused["Retry-After"]) <= 60
    assert acting_as("bob").get(WHOAMI).status_code == 200


def test_all_sessions_and_tokens_of_a_user_are_counted_together(
    acting_as: Actor, settings: Settings
) -> None:
    settings.REQUESTS_USER = 2
    statuses = [acting_as("alice").get(WHOAMI).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_anonymous_callers_have_a_lower_rate_by_network(
    acting_as: Actor, settings: Settings
) -> None:
    settings.REQUESTS_USER, settings.REQUESTS_ANON = 100, 2
    nobody = acting_as("nobody")

    def status(address: str) -> int:
        return nobody.get(WHOAMI, REMOTE_ADDR=address).status_code

    assert [status("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert [status(f"2001:db8::{n}") for n in range(1, 4)] == [200, 200, 429]
    assert acting_as("alice").get(WHOAMI, REMOTE_ADDR="192.0.2.1").status_code == 200


def test_rotating_x_forwarded_for_does_not_raise_the_rate(
    acting_as: Actor, settings: Settings
) -> None:
    settings.REQUESTS_ANON = 2
    nobody = acting_as("nobody")
    statuses = [
        nobody.get(WHOAMI, HTTP_X_FORWARDED_FOR=f"203.0.113.{n}").status_code for n in range(3)
    ]
    assert statuses == [200, 200, 429]


def test_tokens_that_fail_are_counted_as_requests_of_nobody(
    people: People, settings: Settings
) -> None:
    settings.REQUESTS_ANON = 2
    guesses = [f"dbk_{'0' * 16}.{'A' * 42}{n}" for n in range(3)]
    statuses = [
        APIClient().get(WHOAMI, HTTP_AUTHORIZATION=f"Bearer {guess}").status_code
        for guess in guesses
    ]
    assert statuses == [401, 401, 429]


def test_zero_means_without_limit(acting_as: Actor, settings: Settings) -> None:
    settings.REQUESTS_USER = settings.REQUESTS_ANON = 0
    nobody, alice = acting_as("nobody"), acting_as("alice")
    assert {client.get(WHOAMI).status_code for client in (nobody, alice) for _ in range(20)} == {
        200
    }


# -- Bytes -------------------------------------------------------------------------------------


def request_of(user: object) -> Request:
    access = begin_session(user).access  # type: ignore[arg-type]
    raw = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {access}")
    return Request(raw, authenticators=[BearerAuthentication()])


def run_of(uid: str, catalogs: dict[str, Catalog]) -> Run:
    return RunFinder(list(catalogs.values()), Access(data_admin=True)).find(uid)


def test_a_stream_is_not_begun_when_the_bytes_of_the_hour_are_used_up(
    people: People, recorder: Recorder, catalogs: dict[str, Catalog], settings: Settings
) -> None:
    settings.STREAM_BYTES_USER = 15
    run = run_of(recorder.run("310000"), catalogs)
    for _ in range(2):
        stream = guarded(request_of(people.alice), run, iter([b"0123456789"]))
        assert list(stream) == [b"0123456789"]
        stream.close()
    closed = []

    def opened() -> Iterator[bytes]:
        try:
            yield b"0123456789"
            yield b"0123456789"
        finally:
            closed.append(True)

    begun = opened()
    next(begun)
    with pytest.raises(Throttled) as refused:
        guarded(request_of(people.alice), run, begun)
    assert closed == [True]  # and with it the files that it may hold open
    assert 0 < vars(refused.value)["wait"] <= 3600
    assert list(guarded(request_of(people.sue), run, iter([b"x"]))) == [b"x"]


def test_a_stream_that_the_client_breaks_off_counts_what_was_sent(
    people: People, recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    run = run_of(recorder.run("310000"), catalogs)
    closed = []

    def chunks() -> Iterator[bytes]:
        try:
            yield b"0123456789"
            yield b"0123456789"
        finally:
            closed.append(True)

    stream = guarded(request_of(people.alice), run, chunks())
    next(stream)
    stream.close()
    stream.close()
    assert closed == [True]
    event = AuditEvent.objects.get(kind="read")
    assert (event.bytes, event.result, event.actor) == (10, "broken off", "alice")
