"""The servers that a benchmark runs against: MongoDB, and the service over it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from demo.embedded_mongo import embedded_mongo
from tests.postgresql import PROGRAMS, PostgreSQL

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def mongo(folder: Path) -> Iterator[tuple[str, str]]:
    """The URI of a MongoDB and what it is: a given one, else the fastest to be had."""
    given = os.environ.get("BROKER_BENCH_MONGO_URI")
    rust = shutil.which("secantusd-rs")
    if given:
        yield given, "the server of BROKER_BENCH_MONGO_URI"
    elif rust:
        with _rust_server(rust, folder / "mongo") as uri:
            yield uri, "secantusd-rs, the embedded server in Rust"
    else:
        with embedded_mongo(folder / "mongo") as uri:
            yield uri, "secantusd-py, the embedded server in Python (much slower than a MongoDB)"


@contextmanager
def _rust_server(program: str, storage: Path) -> Iterator[str]:
    port = free_port()
    arguments = [program, "--port", str(port), "--storage-path", str(storage)]
    with running(arguments, storage.with_suffix(".log"), dict(os.environ)):
        _wait_for_port(port)
        yield f"mongodb://127.0.0.1:{port}"


@contextmanager
def postgresql() -> Iterator[str | None]:
    """The URL of a new PostgreSQL with Debian's settings; None where it is not installed."""
    if not PROGRAMS:
        yield None
        return
    with PostgreSQL() as server:
        yield server.url


@contextmanager
def service(folder: Path, catalogs: str, database: str = "") -> Iterator[int]:
    """The port of two gunicorn workers that serve the catalogs."""
    port = free_port()
    environment = os.environ | service_environment(folder, catalogs, port, database)
    config = str(ROOT / "deploy" / "gunicorn.conf.py")
    arguments = [sys.executable, "-m", "gunicorn", "--config", config, "broker_site.wsgi"]
    with running(arguments, folder / "service.log", environment):
        wait_until_alive(f"http://127.0.0.1:{port}/livez")
        yield port


def service_environment(
    folder: Path, catalogs: str, port: int = 0, database: str = ""
) -> dict[str, str]:
    """`database` is a DATABASE_URL; without it, a SQLite file in the folder."""
    path = folder / "catalogs.toml"
    path.write_text(catalogs)
    keys = {name: _kept_secret(folder / name) for name in ("BROKER_SECRET_KEY", "BROKER_JWT_KEY")}
    return keys | {
        "DJANGO_SETTINGS_MODULE": "broker_site.settings",
        "BROKER_CATALOGS": str(path),
        "DATABASE_URL": database or f"sqlite:///{folder / 'policies.sqlite3'}",
        "BROKER_WORKERS": "2",
        "PORT": str(port),
        # What is measured is the speed of an answer, not the limit on their number.
        "BROKER_RATE_USER": "10000000",
        "BROKER_RATE_ANON": "10000000",
        # A server in Python takes longer for 100,000 events than people would wait.
        "BROKER_QUERY_SECONDS": "300",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _kept_secret(path: Path) -> str:
    if not path.exists():
        path.write_text(secrets.token_urlsafe(48))
    return path.read_text()


@contextmanager
def running(arguments: list[str], log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments, cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_for_port(port: int) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing listens on port {port}")


def wait_until_alive(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{url} does not answer")
