"""Shared fixtures: an embedded MongoDB, the people of the stories, and clients that act as them.

The actors are alice (member of proposal 310000), bob (member of 310001), sue (staff of
csx), dan (data admin) and nobody (anonymous). Proposal 312000 is public.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pymongo
import pytest
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.core.cache import caches
from django.db.models import Model, QuerySet
from django.test.utils import setup_databases, teardown_databases
from django.urls import is_valid_path, resolve
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator
from pymongo import monitoring
from rest_framework.test import APIClient

from demo.embedded_mongo import embedded_mongo
from headers.catalogs import Catalog
from headers.index import catch_up
from headers.index.catch_up import pace
from headers.mongo import database, resting
from policies import append_only, audit
from policies.models import Beamline, Membership, Proposal, User
from policies.sessions import begin_session
from tests import settings as test_settings
from tests.documents import Recorder

ACTORS = ("alice", "bob", "sue", "dan", "nobody")
Row = TypeVar("Row", bound=Model)
PASSWORD = "correct-horse-battery"
COLLECTIONS = (
    *("run_start", "run_stop", "event_descriptor", "event", "resource", "datum"),
    *("stream_resource", "stream_datum"),
)


# A busy machine is no failure.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any) -> Iterator[None]:
    """Only the SQL database is Django's to create; the catalogs are made by `recorder`."""
    with django_db_blocker.unblock():
        created = setup_databases(0, False, aliases={"default": None})
        # Tests with real transactions empty every table at their end.
        append_only.remove()
    yield
    with django_db_blocker.unblock():
        teardown_databases(created, 0)


@pytest.fixture(scope="session")
def mongo_uri() -> Iterator[str]:
    """A running MongoDB: the embedded one, or the one of BROKER_TEST_MONGO_URI."""
    with ExitStack() as stack:
        if hasattr(test_settings, "MONGO_PORT"):
            stack.enter_context(embedded_mongo(None, test_settings.MONGO_PORT))
        yield str(test_settings.MONGO_URI)
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(test_settings.MONGO_URI)
        for name in client.list_database_names():
            if name.startswith(test_settings.PREFIX):
                client.drop_database(name)
        client.close()
        shutil.rmtree(test_settings.FOLDER, ignore_errors=True)


@pytest.fixture(scope="session")
def _indexed(mongo_uri: str) -> None:
    for catalog in settings.CATALOGS:
        metadata, assets = database(catalog.metadata), database(catalog.assets)
        metadata.run_start.create_index("uid", unique=True)
        metadata.run_start.create_index([("time", -1), ("_id", -1)])
        metadata.run_start.create_index("data_session")
        metadata.run_stop.create_index("run_start", unique=True)
        metadata.event_descriptor.create_index("uid", unique=True)
        metadata.event_descriptor.create_index([("run_start", 1), ("time", 1)])
        metadata.event.create_index([("descriptor", -1), ("time", 1)])
        assets.resource.create_index("uid")
        assets.datum.create_index("datum_id", unique=True)
        assets.stream_resource.create_index("run_start")
        assets.stream_datum.create_index([("descriptor", 1), ("seq_nums.start", 1)])
        assets.stream_datum.create_index([("stream_resource", 1), ("seq_nums.start", 1)])


@pytest.fixture
def catalogs(_indexed: None) -> dict[str, Catalog]:
    """The two catalogs of the tests, csx and hxn, empty."""
    resting.clear()
    pace.forget()
    for catalog in settings.CATALOGS:
        for uri in {catalog.metadata, catalog.assets}:
            for name in COLLECTIONS:
                database(uri)[name].delete_many({})
    return {catalog.name: catalog for catalog in settings.CATALOGS}


@pytest.fixture
def recorder(catalogs: dict[str, Catalog]) -> Recorder:
    """Writes bluesky documents into the catalogs."""
    return Recorder(catalogs)


@pytest.fixture
def writable(catalogs: dict[str, Catalog]) -> Iterator[Catalog]:
    """The catalog csx, whose database keeps documents from being there twice."""
    csx = catalogs["csx"]
    events = database(csx.metadata).event
    name = events.create_index("uid", unique=True)
    yield csx
    events.drop_index(name)


@dataclass(frozen=True)
class People:
    alice: User
    bob: User
    sue: User
    dan: User


@pytest.fixture(autouse=True)
def _bounds_of_the_trail(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test leaves out of the audit trail, no other is told of."""
    for name in ("anonymous_refusals", "failed_sign_ins"):
        bound: audit.Bound = getattr(audit, name)
        monkeypatch.setattr(audit, name, audit.Bound(bound._each, bound._together, bound._seconds))


@pytest.fixture(autouse=True)
def _index_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each list catches up, as tests write and read within the second in which it would not."""
    monkeypatch.setattr(catch_up, "SECONDS_BETWEEN", -1.0)
    monkeypatch.setattr(catch_up, "WAIT_SECONDS", 10.0)
    monkeypatch.setattr(catch_up, "FILL_SECONDS", 60.0)
    monkeypatch.setattr(catch_up, "_late_news", {})
    monkeypatch.setattr(catch_up, "_late_newest", {})


@pytest.fixture
def index_stands(monkeypatch: pytest.MonkeyPatch, db: None) -> Callable[[], None]:
    """Lets the index catch up now and not again in this test, so that only lists ask MongoDB."""

    def stand() -> None:
        catch_up.fresh_index(settings.CATALOGS, settings.CATALOGS)
        monkeypatch.setattr(catch_up, "SECONDS_BETWEEN", 1e9)

    return stand


def _stored(model: type[Row], *rows: Row) -> tuple[Row, ...]:
    """Rows that begin every test, past the audit trail, which half of the time would go into."""
    table: QuerySet[Row] = QuerySet(model)
    return tuple(table.bulk_create(rows))


@pytest.fixture
def people(db: None) -> People:
    """alice, bob, sue and dan with their proposals 310000, 310001 and the public 312000."""
    caches["counters"].clear()
    password = make_password(PASSWORD)
    alice, bob, sue, dan = _stored(
        User,
        *(
            User(username=name, email=f"{name}@example.org", password=password)
            for name in ("alice", "bob", "sue")
        ),
        User(username="dan", email="dan@example.org", password=password, data_admin=True),
    )
    beamlines = _stored(
        Beamline, Beamline(name="csx", title="CSX 23-ID-1"), Beamline(name="hxn", title="HXN 3-ID")
    )
    beamlines[0].staff.add(sue)
    proposals = _stored(
        Proposal,
        Proposal(proposal_id="310000"),
        Proposal(proposal_id="310001"),
        Proposal(proposal_id="312000", public_from=timezone.now() - timedelta(days=1)),
    )
    at = Proposal.beamlines.through
    _stored(at, *(at(proposal=p, beamline=b) for p in proposals for b in beamlines))
    _stored(
        Membership,
        Membership(proposal=proposals[0], user=alice, role="pi"),
        Membership(proposal=proposals[1], user=bob, role="pi"),
    )
    return People(alice, bob, sue, dan)


@cache
def declared() -> dict[tuple[str, str], set[int]]:
    """What the OpenAPI document says that each route answers: (method, path) → statuses."""
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]
    paths = generator.get_schema(request=None, public=True)["paths"]
    return {
        (method, path): {int(status) for status in operation["responses"]}
        for path, operations in paths.items()
        for method, operation in operations.items()
    }


class DeclaredClient(APIClient):
    """Sees to it that a route of the API answers nothing that it does not declare."""

    def request(self, **request: Any) -> Any:
        response = super().request(**request)
        path, method = request["PATH_INFO"], request["REQUEST_METHOD"].lower()
        if path.startswith("/api/v1/") and response.status_code not in (405, 500):
            route = "/" + resolve(path).route if is_valid_path(path) else ""
            template = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route).replace("{pk}", "{id}")
            known = declared().get(("get" if method == "head" else method, template))
            about = f"{method} {template}: {response.status_code} is not declared"
            assert known is None or response.status_code in known, about
        return response


Actor = Callable[[str], APIClient]


@pytest.fixture
def acting_as(people: People) -> Actor:
    """A client that sends the access token of an actor; of "nobody", one that sends none."""

    def client(name: str) -> APIClient:
        api = DeclaredClient()
        if name != "nobody":
            access = begin_session(getattr(people, name)).access
            api.credentials(HTTP_AUTHORIZATION=f"Bearer {access}")
        return api

    return client


class Commands(monitoring.CommandListener):
    """The MongoDB commands that were sent while it listened, by name."""

    def __init__(self) -> None:
        self.sent: list[monitoring.CommandStartedEvent] = []

    @property
    def names(self) -> list[str]:
        return [event.command_name for event in self.sent]

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.sent.append(event)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Only what is sent counts."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Only what is sent counts."""


_listener = Commands()
monitoring.register(_listener)


@pytest.fixture
def commands(catalogs: dict[str, Catalog]) -> Commands:
    """Listens to what the test sends to MongoDB; `commands.sent.clear()` begins anew."""
    _listener.sent.clear()
    return _listener


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """Where the catalog csx finds detector files recorded under /facility/data."""
    folder = test_settings.FOLDER / "data"
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)
