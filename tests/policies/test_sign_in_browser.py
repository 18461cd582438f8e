"""Signing in with a real browser: what only Chromium can tell about forms, policies and keys."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests import settings as test_settings
from tests.openid import Providers, openid_providers
from tests.programs import free_port, program, wait_for_port

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PASSWORD = "correct-horse-battery"
SETUP = f"""
from policies.models import Beamline, User
Beamline.objects.create(name="csx")
User.objects.create_superuser("root", "root@example.org", "{PASSWORD}")
"""
FILE = """
[[oidc]]
id = "facility"
name = "Facility account"
issuer = "{facility}"
client_id = "data-broker"
client_secret = "facility-secret"
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def site(port: int) -> str:
    # Browsers give keys to pages over TLS and to those of "localhost", but not of 127.0.0.1.
    return f"http://localhost:{port}"


@pytest.fixture(scope="module")
def providers(site: str) -> Iterator[Providers]:
    with openid_providers(site) as running:
        yield running


@pytest.fixture(scope="module")
def served(
    port: int, providers: Providers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "sso.toml").write_text(FILE.format(**providers.issuers))
    known = {k: v for k, v in os.environ.items() if not k.startswith("BROKER_")}
    environ = known | {
        "BROKER_DEBUG": "true",
        "BROKER_SSO": str(folder / "sso.toml"),
        "BROKER_CATALOGS": str(test_settings.FOLDER / "catalogs.toml"),
        "DATABASE_URL": f"sqlite:///{folder}/policies.sqlite3",
        "DJANGO_SETTINGS_MODULE": "broker_site.settings",
    }
    for command in (["migrate", "-v", "0"], ["shell", "-v", "0", "-c", SETUP]):
        manage = [sys.executable, "manage.py", *command]
        subprocess.run(manage, cwd=ROOT, env=environ, check=True, stderr=subprocess.DEVNULL)
    serve = [sys.executable, "-m", "gunicorn", "broker_site.wsgi", "--threads", "4"]
    server = subprocess.Popen(
        [*serve, "-b", f"127.0.0.1:{port}"], cwd=ROOT, env=environ, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_port(port)
        yield
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def page(chromium: Browser, served: None) -> Iterator[Page]:
    context = chromium.new_context()
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    problems: list[str] = []
    opened.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    yield opened
    context.close()
    # Files that are built may be missing here; a refusal of the policy is never right.
    assert [line for line in problems if "Failed to load resource" not in line] == []


def sign_in(page: Page, site: str, name: str = "root") -> None:
    page.goto(f"{site}/login/?next=/account/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_the_button_leads_through_the_provider_and_back(
    page: Page, site: str, providers: Providers
) -> None:
    """The policy `form-action 'self'` must not stop it."""
    providers.account("u-1", preferred_username="carol")
    page.goto(f"{site}/login/?next=/account/")
    page.get_by_role("button", name="Sign in with Facility account").click()
    page.wait_for_url(f"{site}/account/")
    assert page.get_by_text(re.compile("carol-[0-9a-f]{8}")).first.is_visible()


def test_a_program_is_confirmed_in_the_browser(page: Page, site: str) -> None:
    begun = page.request.post(
        f"{site}/api/v1/auth/device/", data={"client_name": "fetch.py"}
    ).json()
    sign_in(page, site)
    page.wait_for_url(f"{site}/account/")
    page.goto(begun["verification_uri"])
    page.get_by_label("Code that the program shows").fill(begun["user_code"].lower())
    page.get_by_role("button", name="Next").click()
    assert page.get_by_text("fetch.py").is_visible()
    page.get_by_role("button", name="It is mine").click()
    page.get_by_text("is signed in").wait_for()
    url = f"{site}/api/v1/auth/device/token/"
    assert page.request.post(url, data={"device_code": begun["device_code"]}).ok


def with_security_key(page: Page) -> None:
    """Plugs in a key that answers at once."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options: dict[str, Any] = {
        "protocol": "ctap2",
        "transport": "usb",
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_a_security_key_is_added_and_asked_for_at_the_next_sign_in(page: Page, site: str) -> None:
    with_security_key(page)
    sign_in(page, site)
    page.wait_for_url(f"{site}/account/")
    page.goto(f"{site}/accounts/2fa/webauthn/add/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Name").fill("blue key")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url(re.compile("recovery-codes"))
    page.goto(f"{site}/accounts/2fa/webauthn/")
    assert page.get_by_text("blue key").is_visible()
    page.get_by_role("button", name="Sign out").click()
    sign_in(page, site)
    page.wait_for_url(re.compile("/accounts/2fa/authenticate/"))
    page.get_by_role("button", name="Use a security key").click()
    page.wait_for_url(f"{site}/account/")
