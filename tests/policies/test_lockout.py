"""ABUSE-CASES 21: guessing passwords, counted over every door that asks for one."""

from typing import Any

import pytest
from django.conf import settings as configured
from django.contrib.auth import authenticate
from django.http import HttpRequest
from django.test import Client, RequestFactory
from pytest_django import Settings

from policies.models import AuditEvent
from policies.signin.lockout import FAILURES_OF_A_NETWORK, name_of
from tests.conftest import PASSWORD, People

LIMIT = configured.AXES_FAILURE_LIMIT
HERE, ELSEWHERE = "192.0.2.1", "198.51.100.7"
TOKEN = "/api/v1/auth/token/"
FIELDS = {TOKEN: "username", "/login/": "login"}


def sign_in(
    door: str, name: str = "alice", password: str = "wrong", address: str = HERE, **extra: Any
) -> Any:
    """The answer of a door to a name and a password, asked from an address."""
    kind: Any = {"content_type": "application/json"} if door == TOKEN else {}
    data = {FIELDS[door]: name, "password": password}
    return Client().post(door, data, REMOTE_ADDR=address, **kind, **extra)


def fail(times: int, door: str = TOKEN, **how: Any) -> None:
    for _ in range(times):
        sign_in(door, **how)


def is_open(door: str = TOKEN, **how: Any) -> bool:
    """Does the right password open the door?"""
    answer = sign_in(door, password=PASSWORD, **how)
    assert answer.status_code in (200, 302, 429)
    return bool(answer.status_code != 429)


@pytest.mark.parametrize("door", FIELDS)
def test_abuse_21_guessing_at_one_door_closes_every_door(door: str, people: People) -> None:
    fail(LIMIT - 1, door)
    assert sign_in(door).status_code == 429
    for other in FIELDS:
        assert not is_open(other)


def test_abuse_21_failures_at_several_doors_are_counted_together(people: People) -> None:
    fail(LIMIT // 2, TOKEN)
    fail(LIMIT - LIMIT // 2, "/login/")
    assert not is_open(TOKEN)


def test_abuse_21_backends_of_others_such_as_ldap_are_behind_the_same_count(
    people: People,
) -> None:
    """Whatever asks Django to authenticate is counted, and refused before a backend is asked."""
    request = RequestFactory().post("/", REMOTE_ADDR=HERE)
    for _ in range(LIMIT):
        assert authenticate(request, username="alice", password="wrong") is None
    assert not is_open()
    assert configured.AUTHENTICATION_BACKENDS[0] == "axes.backends.AxesStandaloneBackend"


def test_abuse_21_the_api_says_so_as_a_problem_with_retry_after(people: People) -> None:
    fail(LIMIT)
    answer = sign_in(TOKEN, password=PASSWORD)
    assert answer.status_code == 429
    assert answer["Content-Type"] == "application/problem+json"
    assert 0 < int(answer["Retry-After"]) <= 15 * 60


def test_abuse_21_the_login_page_says_so_as_a_page_with_retry_after(people: People) -> None:
    fail(LIMIT)
    answer = sign_in("/login/", password=PASSWORD)
    assert answer.status_code == 429
    assert answer["Content-Type"].startswith("text/html")
    assert 0 < int(answer["Retry-After"]) <= 15 * 60
    assert b"Too many failed sign-ins" in answer.content


@pytest.mark.parametrize("spelling", ["ALICE", "Alice", "aLiCe"])
def test_abuse_21_the_case_of_a_name_makes_no_other_name(spelling: str, people: People) -> None:
    fail(LIMIT, name=spelling)
    assert not is_open()


@pytest.mark.parametrize(
    "spelling", ["ａｌｉｃｅ", " alice", "alice  ", "ali\u200bce", "ali\u00adce", "ALICE\u2060"]
)
def test_abuse_21_spellings_that_a_directory_takes_for_the_same_name_are_counted_together(
    spelling: str, people: People
) -> None:
    """As of RFC 4518: full-width letters, spaces around, signs that nobody sees."""
    assert name_of(HttpRequest(), {"username": spelling}) == "alice"
    assert name_of(HttpRequest(), {"username": "\u212aarl"}) == "karl"  # the sign for kelvin


def test_abuse_21_rotating_x_forwarded_for_changes_nothing_without_proxies(
    people: People,
) -> None:
    for number in range(LIMIT):
        sign_in(TOKEN, HTTP_X_FORWARDED_FOR=f"203.0.113.{number}")
    assert not is_open(HTTP_X_FORWARDED_FOR="203.0.113.99")


def test_abuse_21_what_a_client_adds_to_x_forwarded_for_changes_nothing_behind_proxies(
    people: People, settings: Settings
) -> None:
    settings.NUM_PROXIES = 1
    for number in range(LIMIT):
        sign_in(TOKEN, address="10.0.0.1", HTTP_X_FORWARDED_FOR=f"203.0.113.{number}, {HERE}")
    assert not is_open(address="10.0.0.1", HTTP_X_FORWARDED_FOR=HERE)
    assert is_open(address="10.0.0.1", HTTP_X_FORWARDED_FOR=f"{HERE}, {ELSEWHERE}")


def test_abuse_21_the_addresses_of_an_ipv6_network_are_counted_together(people: People) -> None:
    for number in range(LIMIT):
        sign_in(TOKEN, address=f"2001:db8:1:2::{number + 1:x}")
    assert not is_open(address="2001:db8:1:2:ffff::1")
    assert is_open(address="2001:db8:1:3::1")


def test_abuse_21_one_cannot_lock_a_victim_out_from_elsewhere(people: People) -> None:
    fail(3 * LIMIT, address=ELSEWHERE)
    assert is_open(address=HERE)


def test_abuse_21_one_name_does_not_lock_out_the_others_at_the_same_address(
    people: People,
) -> None:
    fail(LIMIT)
    assert is_open(name="bob")


def test_abuse_21_guessing_one_password_for_many_names_is_counted_by_address(
    people: People,
) -> None:
    for number in range(FAILURES_OF_A_NETWORK):
        sign_in(TOKEN, name=f"user{number}")
    assert not is_open()
    assert is_open(address=ELSEWHERE)


def test_abuse_21_signing_in_with_ones_own_account_does_not_reset_the_count_of_others(
    people: People,
) -> None:
    fail(LIMIT - 1, name="alice")
    assert is_open(name="bob")
    fail(1, name="alice")
    assert not is_open(name="alice")


def test_signing_in_forgets_ones_own_mistakes(people: People) -> None:
    for _ in range(3):
        fail(LIMIT - 1)
        assert is_open()


def test_abuse_21_the_trail_tells_of_each_failure_and_once_of_the_lockout(
    people: People,
) -> None:
    fail(LIMIT + 5)
    kinds = list(AuditEvent.objects.order_by("pk").values_list("kind", flat=True))
    assert kinds.count("sign-in-failed") == LIMIT
    assert kinds.count("locked-out") == 1
    event = AuditEvent.objects.get(kind="locked-out")
    assert (event.actor, event.address) == ("alice", HERE)


def test_passwords_are_in_neither_the_trail_nor_the_count(people: People) -> None:
    from axes.models import AccessAttempt

    for door in FIELDS:
        fail(1, door, password="a-secret-mistyped")
    stored = [list(AuditEvent.objects.values()), list(AccessAttempt.objects.values())]
    assert "a-secret-mistyped" not in repr(stored)
    assert len(stored[1]) > 0
