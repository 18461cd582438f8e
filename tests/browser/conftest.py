"""A real server with the demo's runs, and Chromium to look at it as a person does."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright
from pymongo import MongoClient

from demo.people import password_of

ROOT = Path(__file__).resolve().parent.parent.parent
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 300
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package", autouse=True)
def _tools() -> None:
    """What is missing here is a reason to skip, and a failure where everything is required."""
    needed: dict[str | Path, str] = {
        CHROMIUM: "Chromium is not installed",
        ROOT / "static" / "bundled" / "run.js": "the pages' scripts are not built (make frontend)",
        ROOT / "node_modules" / "axe-core" / "axe.min.js": "axe-core is missing (make frontend)",
    }
    for path, reason in needed.items():
        if not Path(path).exists():
            _unable(reason)


def _unable(reason: str) -> NoReturn:
    if os.environ.get("BROKER_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="package")
def site(_tools: None) -> Iterator[str]:
    """The address of the demo, served from a folder of its own."""
    folder = ROOT / "var" / "tests" / f"site-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder_of = "import sys, pathlib, demo.serve as s; s.FOLDER = pathlib.Path(sys.argv[1])"
    code = f"{folder_of}; s.main(beamline=False)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("BROKER_", "DATABASE"))}
    environment |= {"PORT": str(port), "BROKER_RATE_USER": "100000", "BROKER_RATE_ANON": "100000"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    with (folder / "demo.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, folder / "demo.log")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"The demo did not start:\n{log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="package")
def chromium(_tools: None) -> Iterator[Browser]:
    # Of the package, not of the session: the event loop that Playwright keeps running would
    # make Django refuse database access in the tests that follow.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


Record = Callable[[list[dict[str, Any]]], str]


@pytest.fixture
def record(site: str) -> Iterator[Record]:
    """record(documents) puts a run of alice's into the demo's csx until the end of the test.

    documents: [{"collection": ..., "document": ...}, ...], as in tests/cases. Returns the uid.
    """
    folder = ROOT / "var" / "tests" / f"site-{os.getpid()}"
    catalog = tomllib.loads((folder / "catalogs.toml").read_text())["catalogs"]["csx"]
    inserted: list[tuple[str, Any]] = []
    with MongoClient[Any](catalog["metadata"]) as client:
        metadata = client.get_default_database()
        assets = client.get_database(catalog["assets"].rsplit("/", 1)[-1])

        def kept(name: str) -> Any:
            return (assets if name.startswith(("stream_", "resource", "datum")) else metadata)[name]

        def insert(documents: list[dict[str, Any]]) -> str:
            for item in documents:
                name, document = item["collection"], dict(item["document"])
                if name == "run_start":
                    document["data_session"] = "pass-310000"
                key = kept(name).insert_one(document).inserted_id
                inserted.append((name, key))
            return str(documents[0]["document"]["uid"])

        yield insert
        for name, key in inserted:
            kept(name).delete_one({"_id": key})


class Visitor:
    """Somebody at a browser. Remembers what went wrong there and what was asked for."""

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.site = site
        self.errors: list[str] = []
        self.requests: list[Request] = []
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def sign_in(self, name: str) -> None:
        self.page.goto(f"{self.site}/login/")
        self.page.locator("input[name=login], input[name=username]").fill(name)
        self.page.locator("input[name=password]").fill(password_of(name))
        self.page.locator("input[name=password]").press("Enter")
        self.page.wait_for_url(lambda url: "/login/" not in url)
        self.page.wait_for_load_state("networkidle")

    def open(self, path: str, *, settle: bool = True) -> None:
        self.page.goto(self.site + path)
        if settle:
            self.page.wait_for_load_state("networkidle")

    def api(self, path: str) -> Any:
        """What the API answers this person."""
        response = self.page.request.get(self.site + path, headers={"Accept": "application/json"})
        return json.loads(response.body())

    def plotted(self, selector: str) -> Any:
        """What a plot says that it shows, once it is drawn."""
        place = self.page.locator(selector).first
        place.scroll_into_view_if_needed()
        self.page.locator(f"{selector}[data-state=drawn]").first.wait_for()
        return place.evaluate(PLOTTED)

    @property
    def elsewhere(self) -> list[str]:
        """Requests that left the site."""
        own = urlsplit(self.site).netloc
        asked = [urlsplit(request.url) for request in self.requests]
        return [
            url.geturl()
            for url in asked
            if url.scheme not in ("data", "blob") and url.netloc != own
        ]


PLOTTED = """place => {
  const found = [place, ...place.querySelectorAll('*')].find(inside => inside.plotted).plotted;
  const plain = value => Number.isNaN(value) ? null : value;
  return {...found, values: found.values && Array.from(found.values, plain)};
}"""

Visit = Callable[..., Visitor]
Cookies = dict[str | None, Any]


@pytest.fixture(scope="package")
def cookies() -> Cookies:
    """Of those who have signed in: person → what their browser keeps."""
    return {}


@pytest.fixture
def visit(chromium: Browser, site: str, cookies: Cookies) -> Iterator[Visit]:
    """visit("alice") is alice at a browser, signed in; visit(None) is anybody.

    At the end no page may have reported an error or asked another site for anything.
    """
    visitors: list[Visitor] = []

    def begin(name: str | None = None, **options: Any) -> Visitor:
        looks: dict[str, Any] = {
            "viewport": DESK,
            "color_scheme": "light",
            "storage_state": cookies.get(name),
        }
        visitor = Visitor(chromium.new_context(**looks | options).new_page(), site)
        visitors.append(visitor)
        if name and name not in cookies:
            visitor.sign_in(name)
            cookies[name] = visitor.page.context.storage_state()
        return visitor

    yield begin
    for visitor in visitors:
        visitor.page.context.close()
    assert [error for visitor in visitors for error in visitor.errors] == []
    assert [url for visitor in visitors for url in visitor.elsewhere] == []
