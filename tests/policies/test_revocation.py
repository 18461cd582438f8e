"""ABUSE-CASES 17, 18 and 19: what ends a right, a session or a token ends it at once."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.test import APIClient, APIRequestFactory

from headers.catalogs import Catalog
from headers.finding import RunFinder
from headers.repositories import Run
from policies.authentication import BearerAuthentication, BrowserAuthentication
from policies.models import APIToken, AuditEvent, Beamline, Membership, Proposal, Session, User
from policies.requests import AccessEnded, guarded
from policies.rule.access import Access
from policies.sessions import (
    RACE,
    TokenRefused,
    Tokens,
    begin_session,
    end_session,
    refresh_session,
    session_of,
)
from policies.tokens import Limits, make_token, revoke_token
from tests.conftest import PASSWORD, Actor, People
from tests.documents import Recorder

HEADERS = "/api/v1/headers/"
WHOAMI = "/api/v1/auth/whoami/"
TOKEN = "/api/v1/auth/token/"
REFRESH = "/api/v1/auth/token/refresh/"
BACKEND = "django.contrib.auth.backends.ModelBackend"

Change = Callable[[People], object]

RIGHTS_END: dict[str, tuple[str, Change]] = {
    "the membership ended": (
        "alice",
        lambda people: Membership.objects.update(expires=timezone.now()),
    ),
    "the membership was removed": ("alice", lambda people: Membership.objects.all().delete()),
    "the proposal was locked": ("alice", lambda people: Proposal.objects.update(locked=True)),
    "locked, for staff": ("sue", lambda people: Proposal.objects.update(locked=True)),
    "staff no more": ("sue", lambda people: Beamline.objects.get(name="csx").staff.clear()),
    "data admin no more": ("dan", lambda people: User.objects.update(data_admin=False)),
}
PUBLIC_ENDS: dict[str, Change] = {
    "proprietary": lambda people: Proposal.objects.update(proprietary=True),
    "embargoed anew": lambda people: Proposal.objects.update(
        public_from=timezone.now() + timedelta(days=1)
    ),
}


@pytest.mark.parametrize("what", RIGHTS_END)
def test_abuse_17_the_end_of_a_right_is_effective_at_the_next_request(
    what: str, acting_as: Actor, people: People, recorder: Recorder
) -> None:
    actor, change = RIGHTS_END[what]
    uid = recorder.run("310000")
    client = acting_as(actor)
    assert client.get(f"{HEADERS}{uid}/").status_code == 200
    change(people)
    assert client.get(f"{HEADERS}{uid}/").status_code == 404
    assert client.get(HEADERS).json()["results"] == []


@pytest.mark.parametrize("what", PUBLIC_ENDS)
def test_abuse_17_a_public_run_can_be_withdrawn(
    what: str, acting_as: Actor, people: People, recorder: Recorder
) -> None:
    uid = recorder.run("312000")
    nobody = acting_as("nobody")
    assert nobody.get(f"{HEADERS}{uid}/").status_code == 200
    PUBLIC_ENDS[what](people)
    assert nobody.get(f"{HEADERS}{uid}/").status_code == 404


@pytest.mark.parametrize("credential", ["session", "api token", "browser"])
def test_abuse_17_a_deactivated_user_is_refused_at_the_next_request(
    credential: str, people: People
) -> None:
    client = client_with(credential, people.alice)
    assert client.get(WHOAMI).json()["user"]["username"] == "alice"
    User.objects.filter(pk=people.alice.pk).update(is_active=False)
    answer = client.get(WHOAMI)
    # A browser is simply signed out; a program is told that its token does not work.
    assert answer.json().get("user") is None
    assert answer.status_code == (200 if credential == "browser" else 401)


def client_with(credential: str, user: User) -> APIClient:
    client = APIClient()
    if credential == "browser":
        client.force_login(user, BACKEND)
    elif credential == "session":
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {begin_session(user).access}")
    else:
        text = make_token(user, "n", Limits(["read:metadata"]), timedelta(days=1))[1]
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


# -- Running streams -----------------------------------------------------------------------------


def request_with(client: APIClient) -> Request:
    """The request that a view would see of this client."""
    raw = APIRequestFactory().get(HEADERS, **vars(client)["_credentials"])
    from django.contrib.sessions.backends.db import SessionStore

    cookie = client.cookies.get("sessionid")
    raw.session = SessionStore(cookie.value if cookie else None)
    raw.user = get_user(raw)
    return Request(raw, authenticators=[BearerAuthentication(), BrowserAuthentication()])


def run_of(uid: str, catalogs: dict[str, Catalog]) -> Run:
    return RunFinder(list(catalogs.values()), Access(data_admin=True)).find(uid)


def chunks() -> Iterator[bytes]:
    while True:
        yield b"0123456789"


STREAM_ENDS: dict[str, tuple[str, str, Change]] = {
    **{what: (actor, "session", change) for what, (actor, change) in RIGHTS_END.items()},
    "deactivated": ("alice", "session", lambda people: User.objects.update(is_active=False)),
    "deactivated, API token": (
        "alice",
        "api token",
        lambda people: User.objects.update(is_active=False),
    ),
    "deactivated, browser": (
        "alice",
        "browser",
        lambda people: User.objects.update(is_active=False),
    ),
    "logged out": (
        "alice",
        "session",
        lambda people: end_session(Session.objects.latest("created"), "logout"),
    ),
    "logged out, browser": ("alice", "browser", lambda people: forget_browsers()),
    "password changed": ("alice", "session", lambda people: change_password(people.alice)),
    "password changed, browser": ("alice", "browser", lambda people: change_password(people.alice)),
    "token revoked": ("alice", "api token", lambda people: revoke_token(APIToken.objects.get())),
    "token removed": ("alice", "api token", lambda people: APIToken.objects.all().delete()),
    "token expired": (
        "alice",
        "api token",
        lambda people: APIToken.objects.update(expires=timezone.now()),
    ),
    "token narrowed": (
        "alice",
        "api token",
        lambda people: APIToken.objects.update(proposals=["312000"]),
    ),
}


def change_password(user: User) -> None:
    user.set_password("another-horse-battery")
    user.save()


def forget_browsers() -> None:
    from django.contrib.sessions.models import Session as BrowserSession

    BrowserSession.objects.all().delete()


@pytest.mark.parametrize("what", STREAM_ENDS)
def test_abuse_17_a_running_download_stops_when_the_right_ends(
    what: str, people: People, recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    actor, credential, change = STREAM_ENDS[what]
    run = run_of(recorder.run("310000"), catalogs)
    request = request_with(client_with(credential, getattr(people, actor)))
    assert request.user == getattr(people, actor)
    stream = guarded(request, run, chunks(), every=0)
    assert [next(stream), next(stream)] == [b"0123456789"] * 2
    change(people)
    with pytest.raises(AccessEnded):
        next(stream)
    stream.close()
    event = AuditEvent.objects.get(kind="read")
    assert (event.result, event.bytes, event.run_uid) == ("access ended", 20, run.uid)


def test_abuse_17_an_anonymous_download_stops_when_the_run_is_withdrawn(
    people: People, recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    run = run_of(recorder.run("312000"), catalogs)
    request = request_with(APIClient())
    assert isinstance(request.user, AnonymousUser)
    stream = guarded(request, run, chunks(), every=0)
    assert next(stream)
    Proposal.objects.update(proprietary=True)
    with pytest.raises(AccessEnded):
        next(stream)


@pytest.mark.parametrize("route", ["documents/?format=ndjson", "export/?format=ndjson"])
def test_abuse_17_the_routes_that_stream_break_off(
    route: str, acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.views.guarded", partial(guarded, every=0))
    uid = recorder.run("310000", events=1000)
    answer: Any = acting_as("alice").get(f"{HEADERS}{uid}/{route}")
    pieces = iter(answer.streaming_content)
    assert next(pieces)
    Membership.objects.update(expires=timezone.now())
    with pytest.raises(AccessEnded):
        next(pieces)
    event = AuditEvent.objects.get(kind="read")
    assert (event.result, event.run_uid) == ("access ended", uid)


def test_a_download_is_not_asked_about_at_every_chunk(
    people: People,
    recorder: Recorder,
    catalogs: dict[str, Catalog],
    django_assert_num_queries: Callable[..., object],
) -> None:
    run = run_of(recorder.run("310000"), catalogs)
    request = request_with(client_with("session", people.alice))
    stream = guarded(request, run, chunks(), every=3600)
    with django_assert_num_queries(0):  # type: ignore[attr-defined]
        for _ in range(100):
            next(stream)


# -- ABUSE 18 ----------------------------------------------------------------------------------


def sign_in(name: str = "alice", password: str = PASSWORD) -> dict[str, str]:
    answer = APIClient().post(TOKEN, {"username": name, "password": password}, format="json")
    assert answer.status_code == 200
    tokens: dict[str, str] = answer.json()
    return tokens


def status_of(access: str) -> int:
    return APIClient().get(WHOAMI, HTTP_AUTHORIZATION=f"Bearer {access}").status_code


def refresh_status(refresh: str) -> int:
    return APIClient().post(REFRESH, {"refresh": refresh}, format="json").status_code


def test_abuse_18_logout_ends_the_session_with_all_its_tokens_and_no_other(people: People) -> None:
    first, other = sign_in(), sign_in()
    newer = APIClient().post(REFRESH, {"refresh": first["refresh"]}, format="json").json()
    header: Any = {"HTTP_AUTHORIZATION": f"Bearer {newer['access']}"}
    assert APIClient().post("/api/v1/auth/logout/", **header).status_code == 204
    assert status_of(first["access"]) == status_of(newer["access"]) == 401
    assert refresh_status(newer["refresh"]) == 401
    assert status_of(other["access"]) == 200
    event = AuditEvent.objects.get(kind="session-ended")
    assert (event.actor, event.result) == ("alice", "logout")


def test_abuse_18_a_change_of_password_ends_sessions_and_leaves_api_tokens(people: People) -> None:
    tokens = sign_in()
    browser = Client()
    browser.force_login(people.alice, BACKEND)
    script = client_with("api token", people.alice)
    change_password(people.alice)
    assert status_of(tokens["access"]) == 401
    assert refresh_status(tokens["refresh"]) == 401
    assert browser.get(WHOAMI).json()["user"] is None
    assert script.get(WHOAMI).status_code == 200


def test_abuse_18_removal_of_staff_rights_shows_at_once(acting_as: Actor, people: People) -> None:
    sue = acting_as("sue")
    assert sue.get(WHOAMI).json()["beamlines"] == ["csx"]
    Beamline.objects.get(name="csx").staff.remove(people.sue)
    assert sue.get(WHOAMI).json()["beamlines"] == []


# -- ABUSE 19 ----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_abuse_19_of_20_threads_that_refresh_one_token_one_wins() -> None:
    user = User.objects.create_user("alice", "", PASSWORD)
    refresh = begin_session(user).refresh
    statuses: list[int] = []
    start = threading.Barrier(20)

    def refresh_once() -> None:
        start.wait()
        statuses.append(refresh_status(refresh))
        connection.close()

    threads = [threading.Thread(target=refresh_once) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [401] * 19
    # Nineteen had a copy: whoever won is signed out, too.
    assert Session.objects.get().end_reason == "refresh token used twice"
    assert AuditEvent.objects.filter(kind="session-ended").count() == 1


def test_processes_that_share_a_token_may_refresh_it_at_once(people: People) -> None:
    tokens = begin_session(people.alice)
    newer = refresh_session(tokens.refresh, race=RACE)
    with pytest.raises(TokenRefused, match="again at once"):
        refresh_session(tokens.refresh, race=RACE)
    assert session_of(newer.access).user == people.alice
    Session.objects.update(refreshed=timezone.now() - RACE - timedelta(seconds=1))
    with pytest.raises(TokenRefused, match="used twice"):
        refresh_session(tokens.refresh, race=RACE)
    assert status_of(newer.access) == 401


def test_a_token_spent_before_the_last_one_is_no_race(people: People) -> None:
    tokens = begin_session(people.alice)
    newer = refresh_session(refresh_session(tokens.refresh, race=RACE).refresh, race=RACE)
    with pytest.raises(TokenRefused, match="used twice"):
        refresh_session(tokens.refresh, race=RACE)
    assert status_of(newer.access) == 401


def test_abuse_19_replaying_a_spent_refresh_token_ends_the_session_and_is_audited(
    people: People,
) -> None:
    tokens: Tokens = begin_session(people.alice)
    newer = APIClient().post(REFRESH, {"refresh": tokens.refresh}, format="json").json()
    assert session_of(newer["access"]).user == people.alice
    assert refresh_status(tokens.refresh) == 401
    assert status_of(newer["access"]) == 401
    assert refresh_status(newer["refresh"]) == 401
    event = AuditEvent.objects.get(kind="session-ended")
    assert (event.actor, event.result) == ("alice", "refresh token used twice")
    assert event.details == {"session": str(Session.objects.get().pk)}


def test_the_request_of_a_view_is_what_guarded_takes(people: People) -> None:
    request = request_with(client_with("browser", people.alice))
    assert isinstance(request._request, HttpRequest)
    assert request.user == people.alice
