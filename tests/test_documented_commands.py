"""The commands of README.md and docs/OPERATIONS.md, each run as written in a fresh clone.

The clone has the environment that tests run in, so that nothing is installed. For addresses,
folders and secrets of a facility stand those of the demo; what cannot run here is in NOT_RUN.
"""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from pymongo import MongoClient

from policies import importing
from policies.importing import import_policies, parse_policies
from policies.models import Membership, Proposal, User
from tests.postgresql import PROGRAMS, PostgreSQL
from tests.programs import free_port, program

ROOT = Path(__file__).resolve().parent.parent
README, OPERATIONS = ROOT / "README.md", ROOT / "docs" / "OPERATIONS.md"
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
LEFT_OUT = (".venv", ".venv-*", "node_modules", "var", ".git", "*_cache", "__pycache__")
START_SECONDS = 90
NOT_RUN = {
    "make test": "it is what runs this test",
    "deploy/restart-in-turn 1 2": "needs systemd; what it does is in test_behind_nginx.py",
    "systemctl restart data-broker-live data-broker-follow": "needs systemd",
    "cp -rT var/static /srv/data-broker/static": "the folder of nginx on a machine of operators",
}
PREAMBLE = r"""
set -eEuo pipefail
trap 'echo "failed: $BASH_COMMAND" >&2' ERR
# What would be installed and built is what the tests run with.
OLD="-o install -o frontend -o .venv/service -o static/bundled/.built"
pip() { # Looks whether it would find the project; installing is the client's own tests'.
  [ "$1" = install ] && [ -f "${2%%[*}/pyproject.toml" ]
}
curl() { command curl --fail-with-body --show-error "$@"; }
make() {
  if [ "$1" != serve ]; then command make $OLD "$@"; return; fi
  setsid make $OLD serve & server=$!
  for wait in $(seq 400); do
    command curl -sf "http://127.0.0.1:$PORT/livez" && break
    kill -0 $server
    sleep 0.1
  done
  command curl -sf "http://127.0.0.1:$PORT/livez"
  kill -TERM -- -$server
}
"""


def blocks(document: Path, *languages: str) -> list[str]:
    """The code blocks of these languages, without the indentation of the list they stand in."""
    return [
        re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
        for indent, language, text in BLOCK.findall(document.read_text())
        if language in languages
    ]


def typed(document: Path) -> list[str]:
    """What is typed at the prompts of a document, line by line, without comments."""
    lines = "".join(blocks(document, "console")).splitlines()
    return [re.sub(r"\s+#.*", "", line[2:]) for line in lines if line.startswith("$ ")]


@dataclass(frozen=True)
class Clone:
    """A copy of the repository in which somebody types commands, beside a running demo."""

    folder: Path
    port: int

    def run(self, script: str, **environment: str) -> str:
        """What a shell prints. Fails with the command that failed."""
        for written, here in self.stands_for().items():
            script = script.replace(written, here)
        done = subprocess.run(
            ["bash", "-c", PREAMBLE + script],
            cwd=self.folder,
            env=clean_environment() | environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def stands_for(self) -> dict[str, str]:
        csx = self.catalogs["csx"]
        return {
            "127.0.0.1:8000": f"127.0.0.1:{self.port}",
            "/opt/data-broker-service": str(self.folder),
            "/etc/data-broker/environment": str(self.folder / "var" / "environment"),
            "/run/secrets/": f"{self.folder}/var/",
            "mongodb://127.0.0.1:27017/csx-assets": csx["assets"],
            "mongodb://127.0.0.1:27017/csx\n": csx["metadata"] + "\n",
            "RUN_UID": json.loads((ROOT / "demo/recording/manifest.json").read_text())["csx"][
                "open"
            ],
            # Its questions are asked at a terminal.
            "manage.py createsuperuser": "manage.py createsuperuser --no-input",
        }

    @property
    def catalogs(self) -> dict[str, Any]:
        found: dict[str, Any] = tomllib.loads((self.folder / "var/demo/catalogs.toml").read_text())
        return dict(found["catalogs"])

    def write_catalogs(self) -> None:
        """The catalogs file of the README, with the demo's files where it mounts them."""
        text = blocks(README, "toml")[0]
        (self.folder / "catalogs.toml").write_text(
            text.replace("/mnt/data", str(self.folder / "var/demo/data"))
        )


def clean_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """With the demo, started as the README says."""
    for name in ("make", "curl", "openssl", "setsid"):
        program(name)
    folder = tmp_path_factory.mktemp("clone") / "data-broker-service"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    (folder / ".venv").symlink_to(sys.prefix)
    assert typed(README)[0] == "make demo"
    port = free_port()
    with (folder / "demo.log").open("wb") as log:
        demo = subprocess.Popen(
            ["make", "-o", "install", "-o", "frontend", "demo", f"PORT={port}"],
            cwd=folder,
            env=clean_environment() | {"BROKER_WORKERS": "1"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_for_welcome(demo, folder / "demo.log")
        yield Clone(folder, port)
    finally:
        os.killpg(demo.pid, signal.SIGINT)  # Ctrl-C
        demo.wait(30)


def _wait_for_welcome(demo: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while "is ready" not in log.read_text():
        assert demo.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def test_the_first_steps_with_curl_answer(clone: Clone) -> None:
    clone.run("".join(blocks(README, "sh")))
    assert (clone.folder / "frame.png").read_bytes().startswith(b"\x89PNG")
    assert (clone.folder / "run.h5").read_bytes().startswith(b"\x89HDF")


def test_the_python_client_reads_a_table(clone: Clone) -> None:
    code = next(block for block in blocks(README, "python") if "dbservice" in block)
    code = code.replace("run.table()", "print(len(run.table()), 'rows')")
    (clone.folder / "first.py").write_text(
        code.replace("127.0.0.1:8000", f"127.0.0.1:{clone.port}")
    )
    _wait_for_events(clone.port)
    printed = clone.run(
        ".venv/bin/python first.py",
        PYTHONPATH=str(clone.folder / "client/src"),
        XDG_CONFIG_HOME=str(clone.folder / "var"),
        DBSERVICE_TOKEN=_token(clone.port),  # it asks for a password at a terminal
    )
    assert int(printed.split()[0]) > 0


def _wait_for_events(port: int) -> None:
    """The newest run may have begun just now, and have no stream yet."""
    address = f"http://127.0.0.1:{port}/api/v1/headers/-1/streams/"
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {_token(port)}"})
    for _ in range(100):
        with urllib.request.urlopen(request, timeout=20) as response:
            if any(stream["event_count"] for stream in json.load(response)):
                return
        time.sleep(0.2)
    raise AssertionError("the newest run has no events")


def _token(port: int) -> str:
    body = json.dumps({"username": "alice", "password": "alice-demo-2026"}).encode()
    address = f"http://127.0.0.1:{port}/api/v1/auth/token/"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return str(json.load(response)["access"])


def test_a_facility_is_set_up_as_the_readme_says(clone: Clone) -> None:
    clone.write_catalogs()
    commands = [line for line in typed(README)[1:] if line not in NOT_RUN]
    superuser = {"USERNAME": "root", "PASSWORD": "correct-horse-battery", "EMAIL": "r@example.org"}
    printed = clone.run(
        "\n".join(commands) + "\n",
        PORT=str(free_port()),
        BROKER_WORKERS="1",
        **{f"DJANGO_SUPERUSER_{name}": value for name, value in superuser.items()},
    )
    for line in ("ok     indexes present", "+ user alice", "Superuser created", "310000"):
        assert line in printed


def test_an_operator_types_what_operations_says(clone: Clone) -> None:
    clone.write_catalogs()
    var = clone.folder / "var"
    csx = clone.catalogs["csx"]
    variables = {
        "CSX_METADATA_URI": csx["metadata"],
        "CSX_ASSETS_URI": csx["assets"],
        "BROKER_SECRET_KEY": "0123456789-abcdefghijklmnopqrstuvw",
        "BROKER_JWT_KEY": "jwt-0123456789-abcdefghijklmnopqrs",
        "DATABASE_URL": f"sqlite:///{var}/operated.sqlite3",
    }
    # At a facility the tables are there long before a new version comes.
    with closing(sqlite3.connect(var / "demo/policies.sqlite3")) as there:
        there.execute(f"VACUUM INTO '{var}/operated.sqlite3'")
    (var / "environment").write_text("".join(f"{k}={v}\n" for k, v in variables.items()))
    (var / "old-uri").write_text(_djongo(csx["metadata"].rpartition("/")[0] + "/old"))
    commands = [line for line in typed(OPERATIONS) if line not in NOT_RUN]
    printed = clone.run("\n".join(commands) + "\n")
    assert "ok     indexes present" in printed
    assert "user ann" in printed


def _djongo(uri: str) -> str:
    """The address of a database in which djongo stored one person."""
    with MongoClient[dict[str, Any]](uri) as client:
        old = client.get_default_database()
        row: Mapping[str, Any] = {"id": 1, "username": "ann", "password": "!", "email": ""}
        names = {"first_name": "Ann", "last_name": "Lee", "last_login": None, "date_joined": None}
        flags = {"is_superuser": False, "is_staff": False, "is_active": True}
        old["auth_user"].insert_one({**row, **names, **flags})
    return uri


def test_a_backup_is_made_and_restored_as_operations_says(clone: Clone) -> None:
    program("sqlite3")
    (clone.folder / "var/broker.sqlite3").touch()
    with PostgreSQL() as server:
        host = server.url.rpartition("host=")[2]
        path = f"{PROGRAMS[-1]}:{os.environ['PATH']}"
        clone.run("".join(blocks(OPERATIONS, "sh")), PGHOST=host, PGUSER="broker", PATH=path)
    assert (clone.folder / "policies.dump").stat().st_size > 0
    assert (clone.folder / "policies.sqlite3").exists()


def test_only_what_is_documented_is_left_out() -> None:
    assert set(NOT_RUN) <= {*typed(README), *typed(OPERATIONS)}


@pytest.mark.parametrize("document", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=str)
def test_each_command_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", document.read_text()))
    assert named <= set(get_commands())


def test_each_test_that_security_names_exists() -> None:
    text = (ROOT / "docs/SECURITY.md").read_text()
    tests = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    names = set(re.findall(r"\bdef (test_\w+)", "".join(tests.values())))
    assert set(re.findall(r"`(test_\w+\.py)`", text)) <= set(tests)
    assert set(re.findall(r"`(test_\w+)`", text)) <= names


@pytest.mark.django_db
def test_the_documented_policies_file_is_imported() -> None:
    import_policies(parse_policies((ROOT / "docs/policies.example.json").read_bytes()))
    assert User.objects.get(username="sue").staffed_beamlines.get().name == "csx"
    proposal = Proposal.objects.get(proposal_id="310000")
    members = Membership.objects.filter(proposal=proposal)
    assert set(members.values_list("user__username", "role")) == {
        ("alice", "pi"),
        ("bob", "member"),
    }


def test_each_key_of_a_policies_file_is_documented_and_in_the_example() -> None:
    text = (ROOT / "docs/CONFIGURATION.md").read_text()
    section = text.partition("## The policies file")[2].partition("\n## ")[0]
    example = (ROOT / "docs/policies.example.json").read_text()
    keys = set(re.findall(r'"(\w+)":', example))
    assert keys == _accepted()
    assert {key for key in keys if f"`{key}`" not in section} == set()


def _accepted() -> set[str]:
    """The keys that the importer knows."""
    kinds = [
        importing._File,
        importing._UserEntry,
        importing._BeamlineEntry,
        importing._ProposalEntry,
    ]
    return {key for kind in [*kinds, importing._MemberEntry] for key in kind.__struct_fields__}
