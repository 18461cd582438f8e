"""The documented backup, restored: people, tokens and the audit trail are there again."""

import json
import sqlite3
import urllib.request
from pathlib import Path

from tests.documents import Recorder
from tests.load import CREDENTIALS, SIGN_IN, ask
from tests.postgresql import PostgreSQL
from tests.running import Installation

UNCHANGEABLE = (
    "from policies.models import AuditEvent; AuditEvent.objects.all()._raw_delete('default')"
)

INDEXED = "csx: 1 runs are indexed\nhxn: 1 runs are indexed\n"
COUNT = "from headers.index.models import IndexedRun; print(IndexedRun.objects.count())"


def signed_in(installation: Installation) -> str:
    with installation.instance() as instance:
        status, content = ask(instance.port, SIGN_IN, CREDENTIALS)
    assert status == 200
    return str(json.loads(content)["access"])


def whoami(installation: Installation, token: str) -> str:
    with installation.instance() as instance:
        request = urllib.request.Request(
            f"{instance.address}/api/v1/auth/whoami/", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return str(json.load(response)["user"]["username"])


def audit_cannot_be_emptied(installation: Installation) -> bool:
    try:
        installation.manage("shell", "--verbosity", "0", "-c", UNCHANGEABLE)
    except AssertionError as error:
        return "audit" in str(error).lower()
    return False


def test_a_dump_of_postgresql_restores_to_where_it_was(recorder: Recorder, tmp_path: Path) -> None:
    """The index of runs is not in the dump; it is filled again from the catalogs."""
    recorder.run("310000")
    recorder.run("310000", catalog="hxn")
    with PostgreSQL() as server:
        before = Installation.make(tmp_path, DATABASE_URL=server.url)
        token = signed_in(before)
        assert before.manage("index_runs") == INDEXED
        server.copy("broker", "restored")
        url = server.url.replace("/broker?", "/restored?")
        after = Installation(tmp_path, {**before.environment, "DATABASE_URL": url})
        assert after.manage("shell", "--verbosity", "0", "-c", COUNT).strip() == "0"
        assert after.manage("index_runs") == INDEXED
        assert whoami(after, token) == "alice"
        assert audit_cannot_be_emptied(after)


def test_a_copy_of_sqlite_made_while_it_is_used_restores(mongo_uri: str, tmp_path: Path) -> None:
    before = Installation.make(tmp_path)
    token = signed_in(before)
    with (
        sqlite3.connect(tmp_path / "policies.sqlite3") as used,
        sqlite3.connect(tmp_path / "copy.sqlite3") as copy,
    ):
        used.backup(copy)
    url = f"sqlite:///{tmp_path}/copy.sqlite3"
    after = Installation(tmp_path, {**before.environment, "DATABASE_URL": url})
    assert whoami(after, token) == "alice"
    assert audit_cannot_be_emptied(after)
