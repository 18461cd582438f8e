"""What goes around the answers: caches, hosts, redirects, methods, headers, admin addresses."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django.fixtures import Settings

from policies.addresses import client_address
from policies.models import User
from tests.conftest import PASSWORD, Actor, People
from tests.documents import Recorder
from tests.running import ROOT, Installation

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


@pytest.mark.parametrize("prefix", ["/evil", "/api", "/accounts"])
def test_a_script_name_from_outside_changes_no_link_and_no_decision(
    prefix: str, acting_as: Actor, recorder: Recorder
) -> None:
    for _ in range(2):
        recorder.run("312000")
    answer = acting_as("nobody").get(API, {"page_size": 1}, SCRIPT_NAME=prefix)
    assert answer.json()["next"].startswith(f"http://testserver{API}")
    page = Client().get("/no-such-page", SCRIPT_NAME=prefix, headers={"accept": "text/html"})
    assert page["Content-Type"].startswith("text/html")


def test_the_production_server_believes_no_forwarded_header(
    mongo_uri: str, recorder: Recorder, tmp_path: Path
) -> None:
    """Sent by a peer at 127.0.0.1, whom gunicorn would believe by itself."""
    for _ in range(2):
        recorder.run("312000")
    headers = {
        "SCRIPT_NAME": "/evil",
        "Script-Name": "/evil",
        "PATH_INFO": "/livez",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Ssl": "on",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "host=evil.example;proto=https",
    }
    installation = Installation.make(tmp_path, BROKER_WORKERS="1")
    with installation.instance() as instance:
        request = urllib.request.Request(f"{instance.address}{API}?page_size=1", headers=headers)
        with urllib.request.urlopen(request, timeout=20) as response:
            assert json.load(response)["next"].startswith(f"{instance.address}{API}?")


def test_what_the_service_writes_is_for_its_account_only(
    mongo_uri: str, recorder: Recorder, tmp_path: Path
) -> None:
    recorder.run("312000")
    tmp_path.chmod(0o755)
    installation = Installation.make(tmp_path, BROKER_WORKERS="1")
    socket = tmp_path / "service.sock"
    environment = {**installation.environment, "BROKER_BIND": f"unix:{socket}"}
    serve = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
    log = (tmp_path / "log").open("wb")
    server = subprocess.Popen(
        [*serve, "broker_site.wsgi"], cwd=ROOT, env=environment, stderr=log, umask=0o022
    )
    try:
        for _ in range(300):
            if socket.exists():
                break
            time.sleep(0.1)
        assert socket.stat().st_mode & 0o077 == 0
    finally:
        server.terminate()
        server.wait(30)
        log.close()
    written = [path for path in tmp_path.rglob("*sqlite3*") if path.is_file()]
    assert written
    assert all(path.stat().st_mode & 0o077 == 0 for path in written)


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("203.0.113.1, 192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
        ("unknown", None),
    ],
)
def test_addresses_are_understood_as_proxies_write_them(
    forwarded: str, address: str | None, settings: Settings
) -> None:
    """ABUSE-CASES 21: whoever cannot be told apart shares the limits of all others."""
    settings.NUM_PROXIES = 1
    request = RequestFactory().get("/", HTTP_X_FORWARDED_FOR=forwarded)
    found = client_address(request)
    assert (found and str(found)) == address
