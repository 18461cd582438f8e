"""The API serves of the demo's runs what databroker 1.2, an independent reader, reads of them."""

import hashlib
import io
import json
import math
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pyarrow.ipc
import pytest
from pytest_django.fixtures import Settings

from demo.layout import DATABASES
from demo.load import catalogs_toml, load, manifest
from headers.catalogs import load_catalogs
from tests.conftest import Actor
from tests.programs import lacking

ROOT = Path(__file__).resolve().parent.parent
READER = ROOT / "tests" / "parity" / "read_with_databroker.py"
PYTHON = ROOT / ".venv-databroker" / "bin" / "python"


@pytest.fixture(scope="module")
def demo_folder(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's runs, loaded; its files are in `data`."""
    folder = tmp_path_factory.mktemp("demo")
    load(mongo_uri, folder / "data")
    (folder / "catalogs.toml").write_text(catalogs_toml(mongo_uri, folder / "data"))
    return folder


@pytest.fixture(scope="module")
def read(mongo_uri: str, demo_folder: Path) -> dict[str, dict[str, Any]]:
    return read_all(mongo_uri, demo_folder)


def read_all(mongo_uri: str, folder: Path) -> dict[str, dict[str, Any]]:
    """By uid, what databroker reads of each run, whose files are in `data` of the folder."""
    if not PYTHON.exists():
        lacking(".venv-databroker, which `make test` installs,")
    return {
        run["uid"]: run
        for databases in DATABASES.values()
        for run in _databroker(mongo_uri, databases.metadata, databases.assets, folder)
    }


@pytest.fixture
def demo_catalogs(demo_folder: Path, settings: Settings) -> None:
    settings.CATALOGS = load_catalogs(demo_folder / "catalogs.toml")


def _databroker(uri: str, metadata: str, assets: str, folder: Path) -> Iterator[dict[str, Any]]:
    addresses = [f"{uri}/{metadata}", f"{uri}/{assets}"]
    roots = ["/facility/data", str(folder / "data")]
    command = [str(PYTHON), "-W", "ignore", str(READER), *addresses, *roots]
    output = subprocess.run(command, capture_output=True, check=True, cwd="/").stdout
    return map(json.loads, output.splitlines())


def _lines(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.splitlines()]


def _plain(value: Any) -> Any:
    """Our msgpack told as the reader tells it."""
    if isinstance(value, dict) and set(value) == {"shape", "dtype", "data"}:
        digest = hashlib.sha256(value["data"]).hexdigest()
        return {"shape": value["shape"], "dtype": value["dtype"], "sha256": digest}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _by_uid(documents: list[Any]) -> dict[tuple[str, str], Any]:
    return {(name, doc.get("uid") or doc.get("datum_id")): doc for name, doc in documents}


def _old_style() -> str:
    # databroker drops the events of descriptors without name, the mistake we do not make.
    return manifest()["hxn"]["old_style"]


@pytest.mark.usefixtures("demo_catalogs")
def test_documents_equal_those_that_databroker_reads(
    acting_as: Actor, read: dict[str, dict[str, Any]]
) -> None:
    dan = acting_as("dan")
    assert len(read) > 60
    for uid, run in read.items():
        served = _lines(_body(dan, f"/api/v1/headers/{uid}/documents/?format=ndjson"))
        if uid != _old_style():
            assert _by_uid(served) == _by_uid(run["documents"])
            assert len(served) == len(run["documents"])


@pytest.mark.usefixtures("demo_catalogs")
def test_filled_documents_equal_those_that_databroker_fills(
    acting_as: Actor, read: dict[str, dict[str, Any]]
) -> None:
    dan = acting_as("dan")
    with_files = [r for r in read.values() if any(n == "resource" for n, _ in r["documents"])]
    assert len(with_files) >= 6
    for run in with_files:
        body = _body(dan, f"/api/v1/headers/{run['uid']}/documents/?format=msgpack&fill=true")
        served = [_plain(item) for item in msgpack.Unpacker(io.BytesIO(body))]
        ours = [doc["data"] for name, doc in served if name == "event"]
        theirs = [doc["data"] for name, doc in run["filled"] if name == "event"]
        assert ours == theirs


@pytest.mark.usefixtures("demo_catalogs")
def test_tables_equal_those_that_databroker_makes(
    acting_as: Actor, read: dict[str, dict[str, Any]]
) -> None:
    dan = acting_as("dan")
    for uid, run in read.items():
        for stream, expected in run["tables"].items():
            if uid == _old_style():
                continue
            body = _body(dan, f"/api/v1/headers/{uid}/streams/{stream}/table/?format=arrow")
            table = pyarrow.ipc.open_stream(body).read_all().to_pydict()
            del table["seq_num"], table["time"]
            assert _plain(table) == expected


def _body(client: Any, url: str) -> bytes:
    response = client.get(url)
    assert response.status_code == 200, (url, response.content[:300])
    return b"".join(response.streaming_content) if response.streaming else response.content
