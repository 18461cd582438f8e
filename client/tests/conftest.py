"""The installed client against the demo: real recorded runs behind a real server."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dbservice
from dbservice.runs import Database

ROOT = Path(__file__).resolve().parent.parent.parent
SERVICE = ROOT / ".venv" / "bin" / "python"
START = """import sys, pathlib, demo.serve as s
s.FOLDER = pathlib.Path(sys.argv[1])
s.main(beamline=False)
"""
START_SECONDS = 120

FRAMES = "457b2e9c-ed18-4a68-90b4-698b86ae7bd1"
"""20 detector frames (1, 512, 512) of proposal 310000, scan 148229"""
SPECTRA = "695a9d00-0b44-4219-bc02-fa981ce52f38"
"""30 spectra of 1024 channels, in the events, over mono_energy"""
BASELINE = "5fba682c-414b-40cc-9224-ff33268713b7"
"""scan 148242: 31 points over theta, and a baseline; its start document has a NaN"""
OPEN = "a3b87aaa-a7a8-474c-8a4e-f4298d9dc30e"
"""scan 148243, the newest: a grid_scan that has not ended"""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the demo, served from a folder of its own."""
    folder = ROOT / "var" / "tests" / f"client-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("BROKER_", "DATABASE"))}
    environment |= {"PORT": str(port), "BROKER_RATE_USER": "100000", "BROKER_RATE_ANON": "100000"}
    environment["PATH"] = f"{SERVICE.parent}:{environment['PATH']}"
    with (folder / "demo.log").open("wb") as log:
        server = subprocess.Popen(
            [str(SERVICE), "-c", START, str(folder)],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}", server, folder / "demo.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"The demo did not start:\n{log.read_text(errors='replace')[-2000:]}")


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for tokens and caches; nothing of the account that runs the tests is used."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    for name in ("DBSERVICE_TOKEN", "DBSERVICE_URL"):
        monkeypatch.delenv(name, raising=False)
    return folder


def password_of(name: str) -> str:
    return f"{name}-demo-2026"


People = Callable[[str], Database]


@pytest.fixture(scope="session")
def people(site: str) -> Iterator[People]:
    """people("alice") is the client of alice, signed in; of "nobody", one of public runs."""
    known: dict[str, Database] = {}

    def of(name: str) -> Database:
        if name not in known:
            known[name] = dbservice.connect(site, anonymous=name == "nobody", timezone="UTC")
            if name != "nobody":
                known[name].login(name, password_of(name), remember=False)
        return known[name]

    yield of
    for db in known.values():
        db.close()


@pytest.fixture
def alice(people: People) -> Database:
    return people("alice")


@pytest.fixture
def dan(people: People) -> Database:
    return people("dan")


class Requests(list[str]):
    """METHOD path?query of what a client sent, from now on."""


@pytest.fixture
def requests_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Database], Requests]:
    """Watches what a client asks for."""

    def watch(db: Database) -> Requests:
        seen = Requests()
        transport = db._session._blocking
        send = transport.send

        def noted(asked: object) -> object:
            request = asked.request  # type: ignore[attr-defined]
            seen.append(f"{request.method} {request.path}")
            return send(asked)  # type: ignore[arg-type]

        monkeypatch.setattr(transport, "send", noted)
        return seen

    return watch
