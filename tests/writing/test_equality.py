"""Our writer and suitcase's, side by side behind one RunEngine, store the same documents."""

# bluesky, ophyd and suitcase are partly untyped.
# mypy: allow-subclassing-any, allow-untyped-calls

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from suitcase.mongo_normalized import Serializer

from demo.beamlines import BEAMLINES, Shot
from demo.devices import Clock
from demo.record import DEVICES_CONNECTED, Recorder
from headers.catalogs import Catalog
from headers.mongo import database
from tests import settings as test_settings
from tests.writing.service import CLIENT, Service, serving
from tests.writing.test_write import ordered, same

sys.path.insert(0, str(CLIENT))

from dbservice import connect

Doc = dict[str, Any]
Store = Callable[[str, Doc], None]


@pytest.fixture(scope="module")
def site(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def reference(mongo_uri: str) -> Iterator[Database[Doc]]:
    """Where suitcase writes."""
    stored = database(f"{mongo_uri}/{test_settings.PREFIX}_suitcase")
    yield stored
    stored.client.drop_database(stored)


class Both(Recorder):
    """Takes the demo's runs for two stores."""

    def __init__(self, beamline: Any, reference: Database[Doc], stores: list[Store]) -> None:
        super().__init__(beamline, reference, reference)
        self._stores = stores
        self._taken = set[tuple[str, str]]()

    def _take(self, shot: Shot, metadata: Doc) -> None:
        """Each plan once, and once for each way in which it ends."""
        kind = (shot.plan.__name__, str(shot.ending))
        if kind not in self._taken:
            self._taken.add(kind)
            super()._take(shot, metadata)

    def _document(self, name: str, doc: Doc) -> None:
        self._store = self._to_all  # type: ignore[assignment]  # before the first document
        super()._document(name, doc)

    def _to_all(self, name: str, doc: Doc) -> None:
        for store in self._stores:
            store(name, doc)

    def _make_old(self, run_uid: str) -> None:
        """Nothing is changed after it was written."""


def by_key(documents: list[Doc], key: str) -> dict[str, Doc]:
    found = {document[key]: document for document in documents}
    assert len(found) == len(documents)
    for document in documents:
        del document["_id"]
    return found


@pytest.mark.parametrize("make", BEAMLINES)
def test_all_plans_of_the_demo_are_stored_as_suitcase_does(
    make: Any,
    site: Service,
    writable: Catalog,
    reference: Database[Doc],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    clock = Clock()
    clock.now = DEVICES_CONNECTED
    suitcase = Serializer(reference, reference)
    with connect(site.instance.address, token=site.token).writer("csx") as writer:
        Both(make(clock, tmp_path / "files"), reference, [suitcase, writer]).record()
        assert writer.flush(120)
        assert not writer.health.last_error
    for collection in ("run_start", "run_stop", "event_descriptor", "event", "resource", "datum"):
        assets = collection in ("resource", "datum")
        key = "datum_id" if collection == "datum" else "uid"
        ours = by_key(
            list(database(writable.assets if assets else writable.metadata)[collection].find()), key
        )
        theirs = by_key(list(reference[collection].find()), key)
        assert ours.keys() == theirs.keys()
        assert theirs or collection in ("resource", "datum")
        for uid, document in theirs.items():
            assert same(ordered(ours[uid]), ordered(document)), (collection, uid)
