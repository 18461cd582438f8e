"""The service as a process of its own, and a token of its beamline."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.running import ROOT, Installation, Instance

CLIENT = ROOT / "client" / "src"
TOKEN = """
from datetime import timedelta
from policies.models import Beamline, User
from policies.tokens import Limits, make_token
sue, _ = User.objects.get_or_create(username="sue")
Beamline.objects.get(name="csx").staff.add(sue)
limits = Limits(["write:documents"], catalogs=["csx", "hxn"])
dan, _ = User.objects.get_or_create(username="dan", data_admin=True)
print("token", make_token(dan, "beamline", limits, timedelta(days=1))[1])
# Tiled's clients look first at what they write to.
limits = Limits(["read:metadata", "write:documents"], catalogs=["csx"])
print("inserter", make_token(dan, "inserter", limits, timedelta(days=1))[1])
"""


@dataclass
class Service:
    instance: Instance
    token: str
    state: Path
    """where writers keep what they spool"""
    inserter: str = ""
    """a token for Tiled's own client"""

    @property
    def environment(self) -> dict[str, str]:
        """Of a program that writes."""
        return {
            **os.environ,
            "PYTHONPATH": f"{CLIENT}:{ROOT}",
            "XDG_STATE_HOME": str(self.state),
            "DBSERVICE_URL": self.instance.address,
            "DBSERVICE_TOKEN": self.token,
        }

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """What `dbservice` does with these."""
        return self.python("-m", "dbservice.cli", "--catalog", "csx", *arguments)

    def python(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            **options,
        )


@contextmanager
def serving(folder: Path) -> Iterator[Service]:
    installation = Installation.make(folder)
    printed = installation.manage("shell", "--verbosity", "0", "-c", TOKEN)
    tokens = dict(line.split() for line in printed.splitlines() if len(line.split()) == 2)
    with installation.instance() as instance:
        yield Service(instance, tokens["token"], folder / "state", tokens["inserter"])
