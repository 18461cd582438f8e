"""API tokens: made, used, narrowed, revoked, and what they can never do."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import Settings
from rest_framework.request import Request
from rest_framework.test import APIClient, APIRequestFactory

from headers.catalogs import Catalog
from policies.addresses import client_address, client_network
from policies.authentication import BearerAuthentication
from policies.models import APIToken, AuditEvent, Beamline, Membership, Proposal, User
from policies.permissions import may_write
from policies.sessions import begin_session
from policies.tokens import Limits, _digest, make_token
from tests.conftest import Actor, People
from tests.documents import Recorder

URL = "/api/v1/auth/api-tokens/"
HEADERS = "/api/v1/headers/"
WHOAMI = "/api/v1/auth/whoami/"
EVERYTHING = ["read:metadata", "read:data"]

Bearer = Callable[..., APIClient]


def client_of(text: str, **extra: Any) -> APIClient:
    client = APIClient(**extra)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


@pytest.fixture
def with_token(people: People) -> Bearer:
    """A client that sends a new API token of an actor."""

    def client(name: str = "alice", days: int = 30, **limits: Any) -> APIClient:
        narrowed = Limits(**({"scopes": EVERYTHING} | limits))
        lifetime = timedelta(days=days)
        return client_of(make_token(getattr(people, name), "script", narrowed, lifetime)[1])

    return client


def secret_of(text: str) -> str:
    return text.rsplit("_", 1)[1]


def titles(client: APIClient) -> set[str]:
    return {run["start"]["title"] for run in client.get(HEADERS).json()["results"]}


@pytest.mark.parametrize("seconds", [2**31, 2**63, 2**64, 10**400, -1, 0, 1e300, "9" * 500])
def test_a_lifetime_out_of_all_bounds_is_refused(seconds: Any, acting_as: Actor) -> None:
    body = {"name": "x", "scopes": EVERYTHING, "expires_in": seconds}
    answer = acting_as("alice").post(URL, json.dumps(body), content_type="application/json")
    assert answer.status_code == 400
    assert "expires_in" in answer.json()["detail"] or "JSON" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("limits", "beamlines"),
    [
        ({"proposals": ("310000",)}, []),
        ({"catalogs": ("hxn",)}, []),
        ({"catalogs": ("csx",)}, ["csx"]),
    ],
)
def test_whoami_of_a_narrowed_token_tells_what_it_covers_only(
    limits: dict[str, Any], beamlines: list[str], with_token: Bearer, people: People
) -> None:
    people.sue.is_staff = people.sue.data_admin = True
    people.sue.save()
    wide = with_token("sue").get(WHOAMI).json()
    assert (wide["roles"], wide["beamlines"]) == (["data_admin", "staff"], ["csx"])
    narrow = with_token("sue", **limits).get(WHOAMI).json()
    assert (narrow["roles"], narrow["beamlines"]) == ([], beamlines)


# -- Making, listing, revoking -----------------------------------------------------------------


def test_a_token_is_shown_once_and_reads_what_its_owner_may_read(
    acting_as: Actor, recorder: Recorder
) -> None:
    recorder.run("310000", title="alice's")
    recorder.run("310001", title="bob's")
    alice = acting_as("alice")
    made = alice.post(URL, {"name": "script", "scopes": EVERYTHING}, format="json")
    assert made.status_code == 201
    text = made.json()["token"]
    assert re.fullmatch(r"dbk_[a-z0-9]{16}_[A-Za-z0-9]{43}", text)
    listed = alice.get(URL).json()
    assert listed["next"] is listed["previous"] is None
    assert [token["name"] for token in listed["results"]] == ["script"]
    assert secret_of(text) not in alice.get(URL).content.decode()
    assert titles(client_of(text)) == {"alice's"}


def of_the_older_spelling(user: User) -> str:
    """A token as it was made before, whose secret may hold `-` and `_`."""
    token, _ = make_token(user, "old", Limits(EVERYTHING), timedelta(days=1))
    secret = "A-_" + "b" * 40
    token.digest = _digest(django_settings.TOKEN_PEPPERS[0], token.key, secret)
    token.save()
    return f"dbk_{token.key}.{secret}"


@pytest.mark.parametrize("scheme", ["Bearer", "Apikey", "apikey", "APIKEY"])
@pytest.mark.parametrize("spelling", ["new", "old"])
def test_tokens_of_both_spellings_work_by_both_schemes(
    scheme: str, spelling: str, people: People
) -> None:
    text = of_the_older_spelling(people.alice)
    if spelling == "new":
        text = make_token(people.alice, "new", Limits(EVERYTHING), timedelta(days=1))[1]
    told = APIClient().get(WHOAMI, HTTP_AUTHORIZATION=f"{scheme} {text}").json()
    assert (told["authenticated_by"], told["user"]["username"]) == ("api-token", "alice")


def test_what_is_no_api_token_is_no_api_key(people: People) -> None:
    access = begin_session(people.alice).access
    old = of_the_older_spelling(people.alice)
    new = make_token(people.alice, "n", Limits(EVERYTHING), timedelta(days=1))[1]
    for text in (access, "", old.replace(".", "_"), new[:-1], new + "x", f"{new} {new}"):
        answer = APIClient().get(WHOAMI, HTTP_AUTHORIZATION=f"Apikey {text}")
        assert answer.status_code == 401, text


def test_without_expires_in_a_token_lives_30_days(acting_as: Actor) -> None:
    acting_as("alice").post(URL, {"name": "n", "scopes": EVERYTHING}, format="json")
    left = APIToken.objects.get().expires - timezone.now()
    assert timedelta(days=29) < left <= timedelta(days=30)


def test_a_deleted_token_stops_working_at_once(acting_as: Actor) -> None:
    alice = acting_as("alice")
    made = alice.post(URL, {"name": "n", "scopes": EVERYTHING}, format="json").json()
    script = client_of(made["token"])
    assert script.get(WHOAMI).status_code == 200
    assert alice.delete(f"{URL}{made['id']}/").status_code == 204
    assert script.get(WHOAMI).status_code == 401
    assert alice.get(URL).json()["results"] == []
    assert alice.delete(f"{URL}{made['id']}/").status_code == 404


def test_the_tokens_of_others_do_not_exist(acting_as: Actor) -> None:
    alice, bob = acting_as("alice"), acting_as("bob")
    made = alice.post(URL, {"name": "n", "scopes": EVERYTHING}, format="json").json()
    hidden = bob.delete(f"{URL}{made['id']}/")
    nonsense = bob.delete(f"{URL}{made['id'] + 1000}/")
    assert hidden.status_code == nonsense.status_code == 404
    assert hidden.content == nonsense.content
    assert bob.get(URL).json()["results"] == []
    assert client_of(made["token"]).get(WHOAMI).status_code == 200


def test_nobody_has_no_tokens(acting_as: Actor) -> None:
    nobody = acting_as("nobody")
    assert nobody.get(URL).status_code == 401
    assert nobody.post(URL, {"name": "n", "scopes": EVERYTHING}, format="json").status_code == 401
    assert nobody.delete(f"{URL}1/").status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": []},
        {"scopes": ["write"]},
        {"scopes": "read:data"},
        {"scopes": {"$ne": None}},
        {"name": ""},
        {"name": {"$gt": ""}},
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": "soon"},
        {"expires_in": 10**30},
        {"proposals": []},
        {"proposals": "310000"},
        {"proposals": [{"$ne": None}]},
        {"catalogs": ["nowhere"]},
        {"catalogs": []},
        {"allowed_ips": ["everywhere"]},
        {"allowed_ips": ["10.0.0.1/8"]},
        {"allowed_ips": []},
        {"is_superuser": True},
        {"user": 1},
    ],
)
def test_a_wrong_request_makes_no_token(wrong: dict[str, Any], acting_as: Actor) -> None:
    request = {"name": "n", "scopes": EVERYTHING} | wrong
    answer = acting_as("alice").post(URL, request, format="json")
    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert not APIToken.objects.exists()


# -- ABUSE 20 ----------------------------------------------------------------------------------


@pytest.mark.parametrize("proposal", ["310001", "999999", "locked"])
def test_abuse_20_nobody_gets_a_token_for_a_proposal_they_cannot_read(
    proposal: str, acting_as: Actor
) -> None:
    """Whether it is hidden, locked or does not exist is not told."""
    alice = acting_as("alice")
    locked = Proposal.objects.create(proposal_id="locked", locked=True)
    Membership.objects.create(proposal=locked, user=User.objects.get(username="alice"))
    request = {"name": "n", "scopes": EVERYTHING, "proposals": ["310000", proposal]}
    answer = alice.post(URL, request, format="json")
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"proposals: you may not read {proposal}."


@pytest.mark.parametrize(
    ("actor", "proposal", "status"),
    [
        ("alice", "312000", 201),
        ("sue", "310001", 201),
        ("dan", "310001", 201),
        ("sue", "elsewhere", 400),
        ("dan", "999999", 400),
    ],
)
def test_a_token_may_name_what_its_owner_may_read_by_whichever_rule(
    actor: str, proposal: str, status: int, acting_as: Actor
) -> None:
    Proposal.objects.create(proposal_id="elsewhere")
    request = {"name": "n", "scopes": EVERYTHING, "proposals": [proposal]}
    assert acting_as(actor).post(URL, request, format="json").status_code == status


def test_abuse_20_a_token_lives_at_most_as_long_as_staff_allow(acting_as: Actor) -> None:
    alice = acting_as("alice")
    day = 86_400
    request = {"name": "n", "scopes": EVERYTHING, "expires_in": 90 * day}
    assert alice.post(URL, request, format="json").status_code == 201
    request["expires_in"] = 90 * day + 1
    refused = alice.post(URL, request, format="json")
    assert refused.status_code == 400
    assert "90 days" in refused.json()["detail"]
    User.objects.filter(username="alice").update(max_token_days=365)
    assert alice.post(URL, request, format="json").status_code == 201


def test_abuse_20_an_expired_token_is_refused(with_token: Bearer) -> None:
    script = with_token()
    assert script.get(WHOAMI).status_code == 200
    APIToken.objects.update(expires=timezone.now())
    answer = script.get(WHOAMI)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"


def test_abuse_20_a_token_stops_with_its_owner(with_token: Bearer, people: People) -> None:
    script = with_token()
    User.objects.filter(pk=people.alice.pk).update(is_active=False)
    assert script.get(WHOAMI).status_code == 401


def test_abuse_20_a_narrowed_token_does_not_tell_of_its_owners_other_proposals(
    with_token: Bearer, people: People
) -> None:
    other = Proposal.objects.create(proposal_id="310009", title="not for scripts")
    Membership.objects.create(proposal=other, user=people.alice)
    told = with_token(proposals=["310000"]).get(WHOAMI).json()["proposals"]
    assert [proposal["proposal_id"] for proposal in told] == ["310000"]


def test_abuse_20_a_token_never_reads_more_than_its_owner_does_now(
    with_token: Bearer, people: People, recorder: Recorder
) -> None:
    uid = recorder.run("310000", title="alice's")
    script = with_token(proposals=["310000"])
    assert titles(script) == {"alice's"}
    Membership.objects.filter(user=people.alice).update(expires=timezone.now())
    assert titles(script) == set()
    assert script.get(f"{HEADERS}{uid}/").status_code == 404


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "status"),
    [
        (0, "10.1.2.3", None, 200),
        (0, "10.2.0.1", None, 401),
        (0, "10.2.0.1", "10.1.2.3", 401),
        (1, "10.9.9.9", "10.1.2.3", 200),
        (1, "10.9.9.9", "10.1.2.3, 10.2.0.1", 401),
        (2, "10.9.9.9", "10.1.2.3, 10.9.9.8", 200),
        (2, "10.9.9.9", "10.1.2.3, 10.2.0.1, 10.9.9.8", 401),
        (1, "10.1.2.3", "nonsense", 401),
        (0, "::ffff:10.1.2.3", None, 200),
        (0, "2001:db8::1", None, 200),
        (0, "2001:db8:1::1", None, 401),
    ],
)
def test_abuse_20_a_token_works_from_its_addresses_only_whatever_x_forwarded_for_says(
    proxies: int,
    peer: str,
    forwarded: str | None,
    status: int,
    with_token: Bearer,
    settings: Settings,
) -> None:
    settings.NUM_PROXIES = proxies
    script = with_token(allowed_ips=["10.1.0.0/16", "2001:db8::/48"])
    extra: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert script.get(WHOAMI, REMOTE_ADDR=peer, **extra).status_code == status


def test_abuse_20_the_trail_tells_why_a_token_was_refused_and_the_caller_is_not_told(
    with_token: Bearer,
) -> None:
    revoked, unknown = with_token(), client_of("dbk_" + "0" * 16 + "." + "A" * 43)
    token = APIToken.objects.get()
    APIToken.objects.update(revoked=timezone.now())
    assert revoked.get(WHOAMI).content == unknown.get(WHOAMI).content
    told = AuditEvent.objects.filter(kind="refused").order_by("pk")
    assert [event.details for event in told] == [
        {"reason": "API token: revoked", "token": token.key},
        {"reason": "API token: unknown", "token": "0" * 16},
    ]


def test_abuse_20_a_database_dump_reveals_no_usable_token(people: People) -> None:
    token, text = make_token(people.alice, "n", Limits(EVERYTHING), timedelta(days=1))
    row = APIToken.objects.filter(pk=token.pk).values().get()
    secret = secret_of(text)
    assert secret not in repr(row)
    # What the row holds is not a secret part either.
    for stolen in (row["digest"], row["digest"][:43]):
        assert client_of(f"dbk_{token.key}.{stolen}").get(WHOAMI).status_code == 401


def test_abuse_20_a_digest_copied_to_another_row_is_worth_nothing(people: People) -> None:
    _, text = make_token(people.bob, "bob's", Limits(EVERYTHING), timedelta(days=1))
    token, _ = make_token(people.alice, "alice's", Limits(EVERYTHING), timedelta(days=1))
    APIToken.objects.filter(pk=token.pk).update(digest=APIToken.objects.get(user=people.bob).digest)
    secret = secret_of(text)
    assert client_of(f"dbk_{token.key}_{secret}").get(WHOAMI).status_code == 401


def test_a_token_survives_a_change_of_pepper_and_moves_to_the_new_one(
    people: People, settings: Settings
) -> None:
    old, new = b"o" * 32, b"n" * 32
    settings.TOKEN_PEPPERS = [old]
    _, text = make_token(people.alice, "n", Limits(EVERYTHING), timedelta(days=1))
    settings.TOKEN_PEPPERS = [new]
    assert client_of(text).get(WHOAMI).status_code == 401
    settings.TOKEN_PEPPERS = [new, old]
    assert client_of(text).get(WHOAMI).status_code == 200
    settings.TOKEN_PEPPERS = [new]
    assert client_of(text).get(WHOAMI).status_code == 200


# -- Writing -----------------------------------------------------------------------------------

WRITE = "write:documents"


@pytest.mark.parametrize(
    ("actor", "catalogs", "status", "word"),
    [
        ("alice", ["csx"], 400, "csx"),
        ("sue", ["csx"], 201, ""),
        ("sue", ["csx", "hxn"], 400, "hxn"),
        ("sue", None, 400, "catalogs"),
        ("dan", ["csx", "hxn"], 201, ""),
        ("dan", None, 400, "catalogs"),
    ],
)
def test_a_token_that_writes_is_for_catalogs_of_ones_own_beamlines(
    actor: str, catalogs: list[str] | None, status: int, word: str, acting_as: Actor
) -> None:
    request = {"name": "n", "scopes": [WRITE], "catalogs": catalogs}
    answer = acting_as(actor).post(URL, request, format="json")
    assert answer.status_code == status
    assert word in answer.json().get("detail", "")
    assert APIToken.objects.count() == (status == 201)


def may_write_with(text: str, catalog: Catalog, proposal: str | None = "310000") -> bool:
    """What a route that writes is told of a caller with this Authorization."""
    plain = APIRequestFactory().post("/", HTTP_AUTHORIZATION=f"Bearer {text}")
    return may_write(Request(plain, authenticators=[BearerAuthentication()]), catalog, proposal)


def test_abuse_20_a_token_writes_where_it_was_made_for_and_its_owner_still_may(
    people: People, catalogs: dict[str, Catalog]
) -> None:
    csx, hxn = catalogs["csx"], catalogs["hxn"]
    day = timedelta(days=1)
    _, text = make_token(people.sue, "n", Limits([WRITE], catalogs=["csx"]), day)
    assert may_write_with(text, csx)
    assert not may_write_with(text, hxn)
    _, narrow = make_token(people.sue, "n", Limits([WRITE], ["310000"], ["csx"]), day)
    assert [may_write_with(narrow, csx, p) for p in ("310000", "310001", None)] == [1, 0, 0]
    _, unbound = make_token(people.dan, "n", Limits([WRITE]), day)
    _, reads = make_token(people.dan, "n", Limits(EVERYTHING, catalogs=["csx"]), day)
    for other in (unbound, reads, begin_session(people.dan).access):
        assert not may_write_with(other, csx)
    Beamline.objects.get(name="csx").staff.remove(people.sue)
    assert not may_write_with(text, csx)
    User.objects.filter(pk=people.sue.pk).update(data_admin=True)
    assert may_write_with(text, csx)


def test_a_token_that_writes_reads_nothing(with_token: Bearer, recorder: Recorder) -> None:
    recorder.run("310000")
    script = with_token("dan", scopes=[WRITE], catalogs=["csx"])
    assert script.get(HEADERS).status_code == 403


# -- What a token narrows ----------------------------------------------------------------------


def test_a_token_narrows_to_proposals_and_catalogs(with_token: Bearer, recorder: Recorder) -> None:
    for catalog in ("csx", "hxn"):
        for proposal in ("310000", "312000"):
            recorder.run(proposal, catalog, title=f"{catalog} {proposal}")
    recorder.run(None, title="of no proposal")
    assert titles(with_token(proposals=["312000"])) == {"csx 312000", "hxn 312000"}
    assert titles(with_token(catalogs=["hxn"])) == {"hxn 310000", "hxn 312000"}
    assert titles(with_token("dan", proposals=["310000"], catalogs=["csx"])) == {"csx 310000"}


def test_a_token_without_the_scope_of_a_route_is_told_which_one_it_lacks(
    with_token: Bearer, recorder: Recorder
) -> None:
    recorder.run("310000")
    refused = with_token(scopes=["read:data"]).get(HEADERS)
    assert refused.status_code == 403
    assert "read:metadata" in refused.json()["detail"]
    assert with_token(scopes=["read:metadata"]).get(HEADERS).status_code == 200


def test_a_token_makes_lists_and_deletes_no_tokens(with_token: Bearer) -> None:
    script = with_token("dan")
    token = APIToken.objects.get()
    answers = [
        script.get(URL),
        script.post(URL, {"name": "n", "scopes": EVERYTHING}, format="json"),
        script.delete(f"{URL}{token.pk}/"),
        script.post("/api/v1/auth/logout/"),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert APIToken.objects.filter(revoked=None).count() == 1


def test_whoami_tells_a_tokens_limits(with_token: Bearer) -> None:
    told = with_token(scopes=["read:data"], catalogs=["csx"]).get(WHOAMI).json()
    assert told["authenticated_by"] == "api-token"
    assert told["user"]["username"] == "alice"
    assert told["token"]["scopes"] == ["read:data"]
    assert told["token"]["catalogs"] == ["csx"]
    assert "digest" not in told["token"]


def test_abuse_13_a_cursor_works_for_the_user_it_was_made_for_only(
    acting_as: Actor, with_token: Bearer, recorder: Recorder
) -> None:
    for number in range(3):
        recorder.run("312000", title=f"public {number}")
    alice = acting_as("alice")
    url = alice.get(HEADERS, {"page_size": 1}).json()["next"]
    assert alice.get(url).status_code == 200
    for other in ("bob", "dan", "nobody"):
        refused = acting_as(other).get(url)
        assert refused.status_code == 400
        assert refused.json()["detail"].startswith("cursor:")
    # A token of hers may go on where she was, within its limits.
    assert with_token(proposals=["310000"]).get(url).json()["results"] == []


def test_the_last_use_is_noted_at_most_once_a_minute(
    with_token: Bearer, recorder: Recorder, django_assert_num_queries: Any
) -> None:
    script, run = with_token(), f"{HEADERS}{recorder.run()}/"
    script.get(run)
    first = APIToken.objects.get().last_used
    assert first is not None
    # The token, its owner, what they may read, which catalog has the run, and two for the trail.
    with django_assert_num_queries(6):
        script.get(run)
    assert APIToken.objects.get().last_used == first
    APIToken.objects.update(last_used=first - timedelta(minutes=2))
    script.get(HEADERS)
    last = APIToken.objects.get().last_used
    assert last is not None
    assert last > first


# -- Addresses ---------------------------------------------------------------------------------


def request_from(peer: str, forwarded: str = "") -> HttpRequest:
    extra: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    return RequestFactory().get("/", REMOTE_ADDR=peer, **extra)


def test_an_ipv6_site_is_counted_as_one_network() -> None:
    one, other = request_from("2001:db8:1:2::1"), request_from("2001:db8:1:2:ffff::2")
    assert client_network(one) == client_network(other) == "2001:db8:1:2::"
    assert client_network(request_from("2001:db8:1:3::1")) != client_network(one)
    assert client_network(request_from("192.0.2.7")) == "192.0.2.7"


def test_an_address_that_cannot_be_read_is_none(settings: Settings) -> None:
    settings.NUM_PROXIES = 1
    assert client_address(request_from("10.0.0.1", "unknown")) is None
    assert client_address(request_from("")) is None


def test_the_interface_of_a_link_local_address_is_left_out() -> None:
    assert str(client_address(request_from("fe80::1%eth0"))) == "fe80::1"
