"""Wrong settings, and databases that are not there: one line that says what to do, no traceback."""

import asyncio
import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.db import OperationalError, ProgrammingError
from django.test import Client, override_settings
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from broker_site import health
from broker_site.database import complaint_at_start
from broker_site.problems import as_problem
from broker_site.static_files import VersionedStaticFiles
from headers.catalogs import Catalog
from headers.mongo import CatalogUnavailable, asking, resting
from tests.broker_site.test_start_is_refused import started

NOBODY_LISTENS = "postgres://broker:a-password@127.0.0.1:9/broker"
MIGRATE = "run `manage.py migrate`"


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("command", "database", "advice"),
    [
        ("migrate", NOBODY_LISTENS, "DATABASE_URL: the database does not answer"),
        ("check", "mysql://there/broker", "DATABASE_URL: needs postgres://"),
        ("check", "sqlite:////proc/none/policies.sqlite3", "DATABASE_URL: cannot make the folder"),
        ("index_runs", None, MIGRATE),
    ],
)
def test_a_command_says_in_one_line_what_is_wrong_with_its_database(
    command: str, database: str | None, advice: str, tmp_path: Path
) -> None:
    given = {} if database is None else {"DATABASE_URL": database}
    line = only_line(started(tmp_path, "manage.py", command, **given))
    assert advice in line
    assert "a-password" not in line


@pytest.mark.parametrize(
    ("database", "advice"),
    [({}, MIGRATE), ({"DATABASE_URL": NOBODY_LISTENS}, "the database does not answer")],
    ids=["not migrated", "away"],
)
def test_the_server_starts_and_says_what_its_database_lacks(
    database: dict[str, str], advice: str, tmp_path: Path
) -> None:
    done = started(tmp_path, "-c", "import broker_site.wsgi", **database)
    assert done.returncode == 0
    assert advice in done.stderr


def test_check_deploy_tells_only_of_what_an_operator_can_change(tmp_path: Path) -> None:
    catalogs = tmp_path / "catalogs.toml"
    done = started(tmp_path, "manage.py", "check", "--deploy", BROKER_CATALOGS=str(catalogs))
    assert "security." not in done.stderr
    assert "spectacular" not in done.stderr


@pytest.mark.django_db(transaction=True)
def test_the_database_is_looked_at_where_a_server_begins_in_an_event_loop() -> None:
    async def begin() -> str | None:
        return complaint_at_start()

    assert asyncio.run(begin()) is None


@pytest.mark.django_db
def test_probes_may_come_by_address_and_nothing_else(catalogs: dict[str, Catalog]) -> None:
    """As deploy/restart-in-turn, load balancers and Prometheus do."""
    client = Client(headers={"host": "10.1.2.3:8001"})
    with override_settings(ALLOWED_HOSTS=["data.example.org"]):
        assert [client.get(path).status_code for path in ("/livez", "/readyz", "/metrics")] == [
            200
        ] * 3
        assert client.get("/api/v1/headers/").status_code == 400
        assert client.get("/livez/../").status_code == 400


@pytest.mark.django_db
def test_a_service_without_its_migrations_is_not_ready(
    client: Client, catalogs: dict[str, Catalog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_migrated", False)
    monkeypatch.setattr(health, "complaint", lambda: "The database lacks 2 migrations")
    assert client.get("/readyz").status_code == 503
    monkeypatch.undo()
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize(
    "error",
    [
        ProgrammingError('relation "policies_user" does not exist\nLINE 1: SELECT'),
        OperationalError("no such table: policies_user"),
        OperationalError("connection refused"),
    ],
)
def test_callers_are_asked_to_come_back_while_tables_are_missing(error: Exception) -> None:
    problem = as_problem(error)
    assert problem is not None
    assert (problem.status, problem.headers) == (503, {"Retry-After": "5"})


def test_static_files_are_for_the_account_of_nginx_to_read(tmp_path: Path) -> None:
    """Whatever the umask of the service, which is for its own files."""
    before = os.umask(0o077)
    try:
        options: dict[str, Any] = settings.STORAGES["staticfiles"]  # type: ignore[assignment]
        storage = VersionedStaticFiles(tmp_path, **options["OPTIONS"])
        storage.save("broker/deep/page.js", ContentFile(b""))
    finally:
        os.umask(before)
    made = (tmp_path / "broker", tmp_path / "broker/deep", tmp_path / "broker/deep/page.js")
    assert [oct(path.stat().st_mode & 0o777) for path in made] == ["0o755", "0o755", "0o644"]


def test_a_full_disc_is_told_as_such() -> None:
    problem = as_problem(OSError(errno.ENOSPC, "No space left on device"))
    assert problem is not None
    assert problem.status == 503
    assert as_problem(OSError(errno.EIO, "Input/output error")) is None


def test_a_statement_that_is_wrong_stays_a_defect() -> None:
    assert as_problem(ProgrammingError("syntax error at or near SELEKT")) is None


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OperationFailure("Authentication failed.", 18), "check user name, password, authSource"),
        (OperationFailure("not authorized on csx", 13), "the role (read)"),
        (
            ServerSelectionTimeoutError("there:27017: Name or service not known (configured …"),
            "the database does not answer: there:27017: Name or service not known",
        ),
    ],
)
def test_the_log_says_why_a_catalog_does_not_answer(error: Exception, advice: str) -> None:
    with pytest.raises(CatalogUnavailable) as caught, asking(settings.CATALOGS[0]):
        raise error
    resting.clear()
    assert advice in str(caught.value)
    assert "configured" not in str(caught.value)
