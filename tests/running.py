"""The service as in production: instances of gunicorn over the tests' catalogs."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings

from tests import settings as test_settings
from tests.programs import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 90
PASSWORD = "correct-horse-battery"
PEOPLE = f"""
from policies.models import Beamline, Membership, Proposal, User
from django.utils import timezone
csx, _ = Beamline.objects.get_or_create(name="csx", title="CSX")
public, _ = Proposal.objects.get_or_create(proposal_id="312000", public_from=timezone.now())
own, _ = Proposal.objects.get_or_create(proposal_id="310000")
if not User.objects.filter(username="alice").exists():
    alice = User.objects.create_user("alice", password={PASSWORD!r})
    Membership.objects.create(proposal=own, user=alice, role="pi")
"""


@dataclass
class Instance:
    """One gunicorn, of an installation, on a port of its own."""

    port: int
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Returns when it is ready. RuntimeError, with the end of its log, if it never is."""
        serve = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*serve, "broker_site.wsgi"],
                cwd=ROOT,
                env={**self.environment, "BROKER_BIND": f"127.0.0.1:{self.port}"},
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def restart(self) -> None:
        """As `systemctl restart` does: it ends in order, then the next one begins."""
        self.stop()
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/livez", timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        raise RuntimeError(self.log.read_text(errors="replace")[-2000:])


@dataclass(frozen=True)
class Installation:
    """A folder with a policy database, and the settings of instances over the tests' catalogs."""

    folder: Path
    environment: Mapping[str, str]

    @classmethod
    def make(cls, folder: Path, **variables: str) -> "Installation":
        """Its database has alice, a member of 310000, and the public proposal 312000."""
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("BROKER_", "DATABASE"))},
            "DJANGO_SETTINGS_MODULE": "broker_site.settings",
            "BROKER_SECRET_KEY": settings.SECRET_KEY,
            "BROKER_JWT_KEY": settings.JWT_KEY,
            "BROKER_CATALOGS": str(test_settings.FOLDER / "catalogs.toml"),
            "BROKER_RATE_USER": "0",
            "BROKER_RATE_ANON": "0",
            "DATABASE_URL": f"sqlite:///{folder}/policies.sqlite3",
        } | variables
        made = cls(folder, environment)
        made.manage("migrate", "--no-input", "--verbosity", "0")
        made.manage("shell", "--verbosity", "0", "-c", PEOPLE)
        return made

    def manage(self, *arguments: str) -> str:
        """What a command of manage.py prints."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    @contextmanager
    def instance(self) -> Iterator[Instance]:
        instance = Instance(free_port(), self.environment, self.folder / "instance.log")
        try:
            yield instance
        finally:
            instance.stop()
