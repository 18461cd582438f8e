"""Signing in under Tiled's names: sessions, the browser of another device, API keys."""

import json
import uuid
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.cache import cache
from django.test import Client
from rest_framework.test import APIClient

from policies.models import APIToken, AuditEvent, DeviceRequest
from tests.conftest import PASSWORD, Actor, People
from tests.policies.test_device_flow import answer

AUTH = "/api/v1/auth"
BEGIN, TOKEN = f"{AUTH}/provider/browser/authorize", f"{AUTH}/provider/browser/token"
KEYS = f"{AUTH}/apikey"

pytestmark = pytest.mark.django_db


@pytest.fixture
def program() -> APIClient:
    cache.clear()
    return APIClient(HTTP_USER_AGENT="python-tiled/0.2.20 (Linux)")


@pytest.fixture
def browser(people: People) -> Client:
    """alice's, signed in; forms need their CSRF token."""
    cache.clear()
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.alice)
    return client


def sent(client: APIClient, address: str, body: Any = None) -> Any:
    """As the clients send it: with no Content-Type."""
    content = "" if body is None else json.dumps(body)
    return client.generic("POST", address, content, content_type="")


def signed_in(program: APIClient, user: str = "alice") -> dict[str, Any]:
    form = {"grant_type": "password", "username": user, "password": PASSWORD}
    response = program.post(
        f"{AUTH}/provider/password/token",
        urlencode(form),
        content_type="application/x-www-form-urlencoded",
    )
    assert response.status_code == 200, response.content
    return dict(response.json())


def bearing(token: str, scheme: str = "Apikey") -> APIClient:
    return APIClient(HTTP_AUTHORIZATION=f"{scheme} {token}")


def made(program: APIClient, **asked: Any) -> dict[str, Any]:
    response = sent(bearing(signed_in(program)["access_token"], "Bearer"), KEYS, asked)
    assert response.status_code == 200, response.content
    return dict(response.json())


def error(response: Any) -> str:
    assert response.status_code == 400
    assert response["Content-Type"] == "application/json"
    return str(response.json()["detail"]["error"])


def test_the_root_names_both_ways_to_sign_in(program: APIClient) -> None:
    authentication = program.get("/api/v1/").json()["authentication"]
    modes = {provider["provider"]: provider["mode"] for provider in authentication["providers"]}
    assert modes == {"password": "password", "browser": "external"}
    assert authentication["required"] is False


def test_a_code_that_a_person_confirms_signs_the_program_in(
    program: APIClient, browser: Client
) -> None:
    begun = sent(program, BEGIN).json()
    assert begun["verification_uri"] == f"http://testserver{TOKEN}"
    assert begun["user_code"] in begun["authorization_uri"]
    code = {"device_code": begun["device_code"]}
    assert error(sent(program, TOKEN, code)) == "authorization_pending"
    assert error(sent(program, TOKEN, code)) == "authorization_pending"  # sooner than allowed
    assert "python-tiled/0.2.20" in browser.get(begun["authorization_uri"]).content.decode()
    answer(browser, begun["user_code"], "confirm")
    tokens = sent(program, TOKEN, code).json()
    assert tokens["identity"] == {"id": "alice", "provider": "browser"}
    mine = bearing(tokens["access_token"], "Bearer").get(f"{AUTH}/whoami").json()
    assert mine["uuid"] == tokens["principal"]
    assert error(sent(program, TOKEN, code)) == "invalid_grant"
    renewed = sent(program, f"{AUTH}/session/refresh", {"refresh_token": tokens["refresh_token"]})
    assert renewed.status_code == 200


def test_a_code_that_is_denied_or_unknown_ends_the_asking(
    program: APIClient, browser: Client
) -> None:
    begun = sent(program, BEGIN).json()
    answer(browser, begun["user_code"], "deny")
    assert error(sent(program, TOKEN, {"device_code": begun["device_code"]})) == "access_denied"
    assert error(sent(program, TOKEN, {"device_code": "unknown"})) == "invalid_grant"
    assert error(sent(program, TOKEN, ["no object"])) == "invalid_request"
    assert DeviceRequest.objects.count() == 0


@pytest.mark.parametrize("agent", ["<script>alert(1)</script>", "a" * 300, ""])
def test_an_odd_program_has_no_name_on_the_page(agent: str, browser: Client) -> None:
    begun = sent(APIClient(HTTP_USER_AGENT=agent), BEGIN).json()
    page = browser.get(begun["authorization_uri"])
    assert page.status_code == 200
    assert agent == "" or agent not in page.content.decode()


def test_a_key_is_made_used_looked_at_and_revoked(program: APIClient, people: People) -> None:
    key = made(program, scopes=None, expires_in=600, note="night shift")
    assert key["secret"].replace("_", "").isalnum()
    client = bearing(key["secret"])
    seen = client.get(KEYS).json()
    assert seen == {name: value for name, value in key.items() if name != "secret"} | {
        "latest_activity": seen["latest_activity"]
    }
    assert client.get(f"{AUTH}/whoami").json()["identities"][0]["id"] == "alice"
    owner = bearing(signed_in(program)["access_token"], "Bearer")
    assert [k["first_eight"] for k in owner.get(f"{AUTH}/whoami").json()["api_keys"]] == [
        key["first_eight"]
    ]
    assert owner.delete(f"{KEYS}?first_eight={key['first_eight']}").status_code == 204
    assert client.get(KEYS).status_code == 401
    assert owner.delete(f"{KEYS}?first_eight={key['first_eight']}").status_code == 404
    changes = AuditEvent.objects.filter(kind=AuditEvent.Kind.TOKEN, route__endswith="/auth/apikey")
    assert sorted(changes.values_list("result", flat=True)) == ["changed", "created"]


def test_a_key_cannot_make_or_revoke_keys(program: APIClient, people: People) -> None:
    key = made(program, scopes=["read:metadata"])
    client = bearing(key["secret"])
    assert sent(client, KEYS, {"scopes": None}).status_code == 403
    assert client.delete(f"{KEYS}?first_eight={key['first_eight']}").status_code == 403
    assert APIToken.objects.filter(revoked=None).count() == 1


def test_nobody_revokes_somebody_elses_key(program: APIClient, people: People) -> None:
    key = made(program, note="mine")
    bob = bearing(signed_in(program, "bob")["access_token"], "Bearer")
    assert bob.delete(f"{KEYS}?first_eight={key['first_eight']}").status_code == 404
    assert bearing(key["secret"]).get(KEYS).status_code == 200


@pytest.mark.parametrize(
    "asked",
    [
        {"scopes": ["write:metadata"]},
        {"scopes": ["write:documents"]},
        {"scopes": "all"},
        {"expires_in": 0},
        {"expires_in": 10**12},
        {"expires_in": "soon"},
        {"note": "n" * 101},
    ],
    ids=str,
)
def test_a_key_that_is_not_given_is_refused_with_a_reason(
    asked: dict[str, Any], program: APIClient, people: People
) -> None:
    owner = bearing(signed_in(program)["access_token"], "Bearer")
    response = sent(owner, KEYS, asked)
    assert response.status_code == 400
    assert next(iter(asked)) in json.dumps(response.json())
    assert not APIToken.objects.exists()


def test_who_sends_no_key_is_not_told_of_one(acting_as: Actor) -> None:
    for actor in ("alice", "nobody"):
        response = acting_as(actor).get(KEYS)
        assert response.status_code == 401
        assert response["Content-Type"] == "application/json"


def test_the_uuid_of_a_person_is_theirs_and_says_nothing(
    program: APIClient, people: People
) -> None:
    alice, bob = (uuid.UUID(signed_in(program, name)["principal"]) for name in ("alice", "bob"))
    assert alice != bob
    assert uuid.UUID(signed_in(program)["principal"]) == alice
    assert alice.version == 5


def test_signing_out_ends_the_session(program: APIClient, people: People) -> None:
    tokens = signed_in(program)
    body = {"refresh_token": tokens["refresh_token"]}
    assert sent(program, f"{AUTH}/session/revoke", body).status_code == 204
    assert bearing(tokens["access_token"], "Bearer").get(f"{AUTH}/whoami").status_code == 401
    assert sent(program, f"{AUTH}/session/refresh", body).status_code == 401


def test_answers_have_the_requests_id_that_the_clients_quote(people: People) -> None:
    for address in (f"{AUTH}/whoami", "/api/v1/metadata/nothing", "/api/v1/search/"):
        response = APIClient(HTTP_X_REQUEST_ID="quoted-in-errors").get(address)
        assert response["X-Tiled-Request-ID"] == "quoted-in-errors", address
