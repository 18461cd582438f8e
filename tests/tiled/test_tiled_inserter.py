"""A RunEngine writes by the stock `TiledInserter`, in line, as many profiles do today."""

# bluesky and ophyd are partly untyped.
# mypy: allow-untyped-calls

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import event_model
import pytest
from bluesky import RunEngine
from bluesky.plans import count, scan
from ophyd.sim import det, det1, motor

from headers.catalogs import Catalog
from headers.mongo import database
from tests.programs import lacking
from tests.running import ROOT
from tests.writing.service import Service, serving

PYTHON = ROOT / ".venv-tiled" / "bin" / "python"
SCRIPT = ROOT / "tests" / "tiled" / "insert.py"
Doc = dict[str, Any]
Documents = list[tuple[str, Doc]]


@pytest.fixture(scope="module")
def site(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    if not PYTHON.exists():
        lacking(".venv-tiled, which `make test` installs,")
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield service


class Inserter:
    """The stock inserter, in the environment of Tiled's clients."""

    def __init__(self, service: Service, home: Path) -> None:
        self.given: Documents = []
        self._process = subprocess.Popen(
            [PYTHON, SCRIPT, f"{service.instance.address}/api/v1", service.inserter, "csx"],
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, name: str, document: Any) -> None:
        plain = event_model.sanitize_doc(document)
        self.given.append((str(name), plain))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(name), plain]) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "taken\n":
            _, errors = self._process.communicate(timeout=60)
            raise AssertionError(errors[-3000:])

    def close(self) -> None:
        self._process.communicate(timeout=60)


@pytest.fixture
def inserter(site: Service, writable: Catalog, tmp_path: Path) -> Iterator[Inserter]:
    inserter = Inserter(site, tmp_path)
    yield inserter
    inserter.close()


def held(catalog: Catalog) -> Documents:
    """What the catalog holds, unpacked."""
    collections = {
        "start": "run_start",
        "descriptor": "event_descriptor",
        "event": "event",
        "stop": "run_stop",
    }
    found: Documents = []
    for name, collection in collections.items():
        for document in database(catalog.metadata)[collection].find():
            found.append((name, {k: v for k, v in document.items() if k != "_id"}))
    return found


def by_content(documents: Documents) -> list[str]:
    return sorted(json.dumps(document, sort_keys=True) for document in documents)


def test_plans_of_a_run_engine_are_stored_as_they_came(
    inserter: Inserter, writable: Catalog
) -> None:
    engine: Any = RunEngine({"data_session": "pass-310000"})
    engine.subscribe(inserter)
    engine(scan([det], motor, -1, 1, 5))
    engine(count([det1, det], 3), sample={"name": str(uuid.uuid4())})
    assert by_content(held(writable)) == by_content(inserter.given)
    assert sum(name == "event" for name, _ in inserter.given) == 8


def test_the_same_documents_again_are_known(inserter: Inserter, writable: Catalog) -> None:
    engine: Any = RunEngine({"data_session": "pass-310000"})
    engine.subscribe(inserter)
    engine(count([det], 2))
    once = list(inserter.given)
    for name, document in once:
        inserter(name, document)
    assert by_content(held(writable)) == by_content(once)
