"""The demo: `python -m demo.serve` starts all it needs, and Ctrl-C stops all of it."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from demo.embedded_mongo import embedded_mongo
from demo.load import catalogs_toml, load

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "var" / "demo"
START_SECONDS = 60.0


def main(*, beamline: bool = True) -> None:
    """beamline: whether runs are taken meanwhile."""
    port = int(os.environ.get("PORT", "8000"))
    signal.signal(signal.SIGTERM, _interrupt)
    os.umask(0o077)  # what is written is for this account only
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        with embedded_mongo(FOLDER / "mongo") as uri:
            load(uri, FOLDER / "data")
            (FOLDER / "catalogs.toml").write_text(catalogs_toml(uri, FOLDER / "data"))
            _configure(port)
            _prepare_policies()
            _serve(port, uri if beamline else None)
    except KeyboardInterrupt:
        print("\nStopped.")
    except RuntimeError as error:  # such as a second demo over the same folder
        sys.exit(f"The demo cannot start; is another one running? {error}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _configure(port: int) -> None:
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "broker_site.settings",
        "BROKER_CATALOGS": str(FOLDER / "catalogs.toml"),
        "DATABASE_URL": f"sqlite:///{FOLDER / 'policies.sqlite3'}",
        "PORT": str(port),
        "BROKER_SECRET_KEY": _kept_secret("secret-key"),
        "BROKER_JWT_KEY": _kept_secret("jwt-key"),
    }


def _kept_secret(name: str) -> str:
    """Random at the first start and kept, so that a restart signs nobody out."""
    path = FOLDER / name
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(48))
    return path.read_text()


def _prepare_policies() -> None:
    import django
    from django.core.management import call_command

    django.setup()
    from demo.people import create_people

    call_command("migrate", interactive=False, verbosity=0)
    # Compressed once; later only what has changed.
    call_command("collectstatic", interactive=False, verbosity=0, ignore_patterns=["*.map"])
    create_people()


def _serve(port: int, beamline_uri: str | None) -> None:
    """By the process that serves live streams, twice: without a front server, it serves all."""
    application = ["-m", "uvicorn", "broker_site.asgi:application", "--workers", "2"]
    options = ["--port", str(port), "--no-proxy-headers", "--no-access-log", "--no-server-header"]
    with ExitStack() as stack:
        metrics = stack.enter_context(tempfile.TemporaryDirectory(prefix="broker-metrics-"))
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics
        server = stack.enter_context(_running("server", *application, *options))
        _wait_until_ready(server, port)
        if beamline_uri is not None:
            files = str(FOLDER / "data")
            stack.enter_context(_running("beamline", "-m", "demo.taking", beamline_uri, files))
        print(_welcome(port), flush=True)
        server.wait()
        sys.exit(f"The server ended by itself; see {FOLDER / 'server.log'}")


@contextmanager
def _running(name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Python with these arguments, in a session of its own: Ctrl-C reaches us, who stop it."""
    with (FOLDER / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    tail = (FOLDER / "server.log").read_text(errors="replace")[-1500:]
    sys.exit(f"The server did not start on port {port}; the end of its log:\n{tail}")


def _welcome(port: int) -> str:
    from demo.people import PEOPLE, password_of

    site = f"http://127.0.0.1:{port}"
    people = "\n".join(f"  {name:6} {password_of(name):16} {role}" for name, role in PEOPLE.items())
    credentials = f'{{"username":"alice","password":"{password_of("alice")}"}}'
    token = (
        f"curl -s {site}/api/v1/auth/token/ -H 'Content-Type: application/json'"
        f" -d '{credentials}' | sed 's/.*\"access\":\"\\([^\"]*\\).*/\\1/'"
    )
    return f"""
Data Broker Service is ready:  {site}

  name   password
{people}
  (not signed in: public runs only)

Alice's newest run, as a program reads it:

  curl -s '{site}/api/v1/headers/?page_size=1' -H "Authorization: Bearer $({token})"

A beamline takes runs meanwhile, some minutes each. The newest one as it comes:

  curl -N {site}/api/v1/headers/-1/documents/?follow=true

Ctrl-C stops everything.
"""


if __name__ == "__main__":
    main()
