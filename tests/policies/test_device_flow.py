"""Sign-in of programs: a code is shown, a person confirms it in the browser (RFC 8628)."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from policies.models import DeviceRequest, Session, User
from policies.signin.device import OPEN_REQUESTS, WRONG_CODES
from tests.conftest import PASSWORD, People

START, TOKEN, PAGE = "/api/v1/auth/device/", "/api/v1/auth/device/token/", "/device/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def program() -> APIClient:
    return APIClient()


@pytest.fixture
def browser(people: People) -> Client:
    """alice's browser, signed in; forms need their CSRF token."""
    cache.clear()
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.alice)
    return client


def begin(program: APIClient, **given: str) -> dict[str, Any]:
    response = program.post(START, given, format="json")
    assert response.status_code == 200, response.content
    return dict(response.json())


def ask(program: APIClient, begun: dict[str, Any]) -> Any:
    return program.post(TOKEN, {"device_code": begun["device_code"]}, format="json")


def error(response: Any) -> str:
    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"
    return str(response.json()["error"])


def answer(browser: Client, user_code: str, decision: str) -> Any:
    page = browser.get(PAGE, {"user_code": user_code})
    form = {"user_code": user_code, "answer": decision}
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
    if token is not None:
        form["csrfmiddlewaretoken"] = token[1]
    return browser.post(PAGE, form)


def wait(seconds: int) -> None:
    """Moves every request into the past, as if this time had gone by."""
    for waiting in DeviceRequest.objects.all():
        waiting.expires -= timedelta(seconds=seconds)
        if waiting.asked is not None:
            waiting.asked -= timedelta(seconds=seconds)
        waiting.save()


def test_a_confirmed_program_gets_tokens_of_the_person_who_confirmed(
    program: APIClient, browser: Client
) -> None:
    begun = begin(program, client_name="fetch.py on ws3")
    assert begun["expires_in"] == 600
    assert begun["interval"] == 5
    assert re.fullmatch(r"[B-Z]{4}-[B-Z]{4}", begun["user_code"])
    assert begun["verification_uri"] == "http://testserver/device/"
    assert error(ask(program, begun)) == "authorization_pending"

    page = browser.get(begun["verification_uri_complete"])
    assert "fetch.py on ws3" in page.content.decode()
    assert "127.0.0.1" in page.content.decode()
    assert answer(browser, begun["user_code"], "confirm").status_code == 200

    tokens = ask(program, begun).json()
    assert set(tokens) == {"access", "refresh", "expires_in"}
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens['access']}")
    assert program.get("/api/v1/auth/whoami/").json()["user"]["username"] == "alice"


def test_a_device_code_gives_tokens_once(program: APIClient, browser: Client) -> None:
    begun = begin(program)
    answer(browser, begun["user_code"], "confirm")
    assert ask(program, begun).status_code == 200
    assert error(ask(program, begun)) == "invalid_grant"
    assert Session.objects.count() == 1


def test_a_denied_program_is_told_so_and_gets_nothing(program: APIClient, browser: Client) -> None:
    begun = begin(program)
    answer(browser, begun["user_code"], "deny")
    assert error(ask(program, begun)) == "access_denied"
    assert not Session.objects.exists()


def test_a_program_that_asks_too_often_has_to_wait_longer_each_time(
    program: APIClient, browser: Client
) -> None:
    begun = begin(program)
    assert error(ask(program, begun)) == "authorization_pending"
    assert error(ask(program, begun)) == "slow_down"
    wait(6)
    assert error(ask(program, begun)) == "slow_down"
    wait(20)
    assert error(ask(program, begun)) == "authorization_pending"


def test_codes_expire_for_the_program_and_for_the_person(
    program: APIClient, browser: Client
) -> None:
    begun = begin(program)
    wait(601)
    assert answer(browser, begun["user_code"], "confirm").status_code == 404
    assert browser.get(PAGE, {"user_code": begun["user_code"]}).status_code == 404
    assert error(ask(program, begun)) == "expired_token"


def test_a_confirmed_code_expires_too(program: APIClient, browser: Client) -> None:
    begun = begin(program)
    answer(browser, begun["user_code"], "confirm")
    wait(601)
    assert error(ask(program, begun)) == "expired_token"


def test_who_was_deactivated_after_confirming_gets_no_tokens(
    program: APIClient, browser: Client, people: People
) -> None:
    begun = begin(program)
    answer(browser, begun["user_code"], "confirm")
    User.objects.filter(pk=people.alice.pk).update(is_active=False)
    assert error(ask(program, begun)) == "access_denied"


@pytest.mark.parametrize("body", [{}, {"device_code": {"$ne": None}}, {"device_code": ""}])
def test_a_question_without_a_device_code_is_invalid(program: APIClient, body: Any) -> None:
    assert error(program.post(TOKEN, body, format="json")) == "invalid_request"


def test_clients_may_send_forms_as_the_rfc_says(program: APIClient) -> None:
    body = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "guess",
        "client_id": "some-library",
    }
    form = program.post(TOKEN, urlencode(body), content_type="application/x-www-form-urlencoded")
    assert error(form) == "invalid_grant"


def test_a_person_who_is_not_signed_in_is_sent_to_sign_in_first(program: APIClient) -> None:
    begun = begin(program)
    page = Client().get(begun["verification_uri_complete"])
    assert page.status_code == 302
    assert page["Location"].startswith("/login/?next=/device/")


def test_confirming_needs_the_csrf_token(program: APIClient, browser: Client) -> None:
    begun = begin(program)
    refused = browser.post(PAGE, {"user_code": begun["user_code"], "answer": "confirm"})
    assert refused.status_code == 403
    assert error(ask(program, begun)) == "authorization_pending"


def test_looking_at_the_page_confirms_nothing(program: APIClient, browser: Client) -> None:
    begun = begin(program)
    browser.get(PAGE, {"user_code": begun["user_code"], "answer": "confirm"})
    assert error(ask(program, begun)) == "authorization_pending"


def test_codes_are_typed_in_any_case_and_with_any_gaps(program: APIClient, browser: Client) -> None:
    begun = begin(program)
    typed = begun["user_code"].lower().replace("-", "  ")
    assert browser.get(PAGE, {"user_code": typed}).status_code == 200


def test_a_code_is_answered_once(program: APIClient, browser: Client, people: People) -> None:
    begun = begin(program)
    answer(browser, begun["user_code"], "confirm")
    bob = Client()
    bob.force_login(people.bob)
    taken = bob.post(PAGE, {"user_code": begun["user_code"], "answer": "confirm"})
    assert taken.status_code == 404
    assert DeviceRequest.objects.get().user == people.alice


def test_guessing_user_codes_ends_after_a_few_and_hits_nobody_else(
    program: APIClient, browser: Client, people: People
) -> None:
    for guess in range(WRONG_CODES):
        assert browser.get(PAGE, {"user_code": "BCDF" * 2}).status_code == 404, guess
    begun = begin(program)
    locked = browser.get(PAGE, {"user_code": begun["user_code"]})
    assert locked.status_code == 429
    assert int(locked["Retry-After"]) > 0
    bob = Client()
    bob.force_login(people.bob)
    assert bob.get(PAGE, {"user_code": begun["user_code"]}).status_code == 200


def test_one_address_cannot_fill_the_table(program: APIClient) -> None:
    for _ in range(OPEN_REQUESTS):
        begin(program)
    refused = program.post(START, {}, format="json")
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 0
    DeviceRequest.objects.update(expires=timezone.now())
    begin(program)
    assert DeviceRequest.objects.count() == 1


def test_the_database_holds_neither_code(program: APIClient) -> None:
    begun = begin(program)
    row = repr(DeviceRequest.objects.values().get())
    assert begun["device_code"] not in row
    assert begun["user_code"] not in row
    assert begun["user_code"].replace("-", "") not in row


@pytest.mark.parametrize("name", ["<script>", "a\u202eb", "x" * 81, "a\nb"])
def test_a_name_that_could_mislead_the_person_is_refused(program: APIClient, name: str) -> None:
    """ABUSE 23: what is shown beside the button is plain text."""
    assert program.post(START, {"client_name": name}, format="json").status_code == 400


def test_signing_in_on_the_way_leads_back_to_the_code(program: APIClient, people: People) -> None:
    begun = begin(program)
    person = Client()
    page = person.get(begun["verification_uri_complete"])
    signed_in = person.post(page["Location"], {"login": "alice", "password": PASSWORD})
    assert signed_in.status_code == 302
    assert signed_in["Location"] == f"/device/?user_code={begun['user_code']}"
