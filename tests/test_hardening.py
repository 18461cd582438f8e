"""What goes around the answers: caches, hosts, redirects, methods, headers, admin addresses."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from policies.models import User
from tests.conftest import PASSWORD, Actor, People
from tests.documents import Recorder

API = "/api/v1/headers/"


@pytest.mark.parametrize(
    "path",
    ["/runs/", "/no-such-page", "/account/", "/accounts/2fa/", API, "/api/v1/auth/whoami/", "/"],
)
def test_no_shared_cache_may_keep_an_answer(path: str, people: People, recorder: Recorder) -> None:
    client = Client()
    client.force_login(people.alice)
    control = client.get(path)["Cache-Control"]
    assert "private" in control or "no-store" in control


def test_pages_with_secrets_of_second_factors_are_stored_nowhere(people: People) -> None:
    client = Client()
    client.force_login(people.alice)
    assert "no-store" in client.get("/accounts/2fa/")["Cache-Control"]


def test_answers_of_the_api_differ_by_who_asks_for_every_cache(acting_as: Actor) -> None:
    vary = {name.strip() for name in acting_as("alice").get(f"{API}count/")["Vary"].split(",")}
    assert {"Accept", "Authorization", "Cookie"} <= vary


@pytest.mark.parametrize("header", ["HTTP_HOST", "HTTP_X_FORWARDED_HOST"])
def test_a_foreign_host_name_gets_into_no_link(
    header: str, acting_as: Actor, recorder: Recorder
) -> None:
    for _ in range(2):
        recorder.run("312000")
    foreign: dict[str, Any] = {header: "evil.example"}
    answer = acting_as("nobody").get(API, {"page_size": 1}, **foreign)
    assert answer.status_code == (400 if header == "HTTP_HOST" else 200)
    assert b"evil.example" not in answer.content


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "/\t/e.org",
    ],
)
@pytest.mark.parametrize("door", ["/login/", "/admin/login/"])
def test_abuse_23_signing_in_leads_to_no_other_site(door: str, target: str, people: People) -> None:
    client = Client()
    form = {"login": "alice", "password": PASSWORD, "next": target}
    answer = client.post(client.get(door).headers.get("Location", door), form)
    if answer.status_code == 302:
        assert answer["Location"] == "/"
    assert "evil" not in answer.headers.get("Location", "")


@pytest.mark.parametrize("path", ["/account/", "/api/v1/auth/api-tokens/", "/api/v1/auth/logout/"])
def test_abuse_23_what_a_cookie_does_needs_the_csrf_token(path: str, people: People) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.alice)
    answer = client.post(path, "{}", content_type="application/json")
    assert answer.status_code == 403


def test_abuse_18_signing_in_gives_a_new_session_and_an_invented_one_is_not_kept(
    people: People,
) -> None:
    """Session fixation."""
    client = Client()
    client.cookies["sessionid"] = "a" * 32
    client.post("/login/", {"login": "alice", "password": PASSWORD})
    assert client.session.session_key not in (None, "a" * 32)


@pytest.mark.parametrize("override", [{"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"}, {}])
def test_a_method_cannot_be_overridden(
    override: dict[str, Any], acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run("312000")
    client = acting_as("nobody")
    answer = client.get(f"{API}{uid}/", {} if override else {"_method": "DELETE"}, **override)
    assert answer.status_code == (200 if override else 400)
    assert client.post(f"{API}{uid}/", {"_method": "GET"}, format="json").status_code == 405


@pytest.mark.parametrize(
    "path", ["../broker_site/settings.py", "..%2f..%2fmanage.py", "/etc/passwd"]
)
def test_static_files_come_from_their_folders_only(path: str, client: Client) -> None:
    assert client.get(f"/static/{path}").status_code == 404


# -- the admin ---------------------------------------------------------------------------------


def admin_addresses(patterns: list[Any] | None = None, prefix: str = "/") -> Iterator[str]:
    """Every address of the admin, with 1 for whatever its parts name."""
    for item in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(item.pattern)
        if isinstance(item, URLResolver):
            if route.startswith("/admin/") or route == "/":
                yield from admin_addresses(item.url_patterns, route)
        elif isinstance(item, URLPattern) and route.startswith("/admin/") and "(?P" not in route:
            parts = route.replace("<", "\0<").replace(">", ">\0").split("\0")
            yield "".join("1" if part.startswith("<") else part for part in parts)


FOR_ALL_STAFF = {"/admin/", "/admin/logout/", "/admin/login/", "/admin/jsi18n/"}
"""the admin's first page shows staff without permissions nothing but that"""
PASSWORD_PAGES = {"/admin/password_change/", "/admin/password_change/done/"}
"""of one's own password"""


def test_abuse_24_staff_without_permissions_open_no_page_of_the_admin_by_its_address(
    people: People,
) -> None:
    User.objects.filter(username="bob").update(is_staff=True)
    client = Client()
    client.force_login(people.bob)
    addresses = sorted({*admin_addresses()} - FOR_ALL_STAFF - PASSWORD_PAGES)
    assert len(addresses) > 40
    statuses = {address: client.get(address).status_code for address in addresses}
    # 302: objects that are not there lead back to the first page.
    assert not {a: s for a, s in statuses.items() if s not in (302, 403, 404)}
    opened = {address: client.post(address, {}).status_code for address in addresses}
    assert not {a: s for a, s in opened.items() if s not in (302, 403, 404, 405)}


def test_abuse_24_who_is_not_staff_opens_no_page_of_the_admin(people: People) -> None:
    client = Client()
    client.force_login(people.alice)
    for address in {*admin_addresses()} - {"/admin/logout/", "/admin/login/"}:
        answer = client.get(address)
        assert answer.status_code in (302, 403, 404), address
        assert "/login/" in answer.headers.get("Location", "/login/"), address
