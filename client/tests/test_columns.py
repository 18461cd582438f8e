"""Streams whose documents are odd: what is declared need not be what is there."""

from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pytest
from servers import Answer, Asked, array_answer, plain, serving

import dbservice
from dbservice import tables

UID = "9c1f3a2b-odd"
SMALL = np.ones((3, 2, 4), "<f4")
LARGE = np.ones((3, 6, 4), "<f4")
KEYS: dict[str, Any] = {
    "x": {"dtype": "number", "shape": [], "units": "mm"},
    "label": {"dtype": "string", "shape": []},
    "lies": {"dtype": "number", "shape": []},
    "gaps": {"dtype": "integer", "shape": []},
    "ragged": {"dtype": "array", "shape": [2]},
    "pairs": {"dtype": "array", "shape": [2, 2]},
    "small": {"dtype": "array", "shape": [2, 4], "external": "OLD:", "dims": ["y", "z"]},
    "large": {"dtype": "array", "shape": [6, 4], "external": "OLD:", "dims": ["y", "z"]},
    "short": {"dtype": "array", "shape": [2, 4], "external": "OLD:"},
    "gone": {"dtype": "array", "shape": [2, 4], "external": "OLD:"},
}
COLUMNS: dict[str, list[Any]] = {
    "seq_num": [1, 2, 3],
    "time": [1.0, 2.0, 3.0],
    "x": [0.5, 1.5, 2.5],
    "label": ["a", None, "c"],
    "lies": ["1", "two", "3"],
    "gaps": [1, None, 3],
    "ragged": [[1, 2], [3], None],
    "pairs": [[[1, 2], [3, 4]]] * 3,
}


def header(keys: dict[str, Any], count: int = 3) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "uid": "d",
        "data_keys": keys,
        "object_keys": None,
        "configuration": [],
    }
    fields = {name: {"external": None, **key} for name, key in keys.items()}
    stream = {"name": "primary", "descriptors": ["d"], "event_count": count, "fields": fields}
    start = {"uid": UID, "hints": {"dimensions": [[["x"], "primary"], "odd", [[3], "primary"]]}}
    return {
        "uid": UID,
        "catalog": "csx",
        "proposal": None,
        "start": start,
        "stop": {"exit_status": "success"},
        "descriptors": [{**descriptor, "hints": {"x": "odd", "y": {"fields": "x"}}}],
        "streams": [stream],
    }


def answer_with(columns: dict[str, list[Any]], keys: dict[str, Any]) -> Any:
    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/table/"):
            return _table(asked, columns)
        name = asked.path.split("/")[-2]
        if name == "gone":
            return Answer(410, b"")
        arrays = {"small": SMALL, "large": LARGE, "short": SMALL[:2]}
        if name in arrays:
            return array_answer(arrays[name], asked)
        return plain(header(keys, len(columns["time"])))

    return answer


def _table(asked: Asked, columns: dict[str, list[Any]]) -> Answer:
    wanted = asked.params.get("fields")
    names = ["seq_num", "time", *(wanted.split(",") if wanted else list(columns)[2:])]
    chosen = {name: columns[name] for name in names}
    if asked.params["format"] == "msgpack":
        return Answer(200, msgpack.packb(chosen), {"Content-Type": "application/msgpack"})
    table = pa.table(chosen)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, 2)
    headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
    return Answer(200, sink.getvalue().to_pybytes(), headers)


@pytest.fixture(params=["arrow", "msgpack"])
def _format(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "msgpack":
        has = tables.has
        monkeypatch.setattr(tables, "has", lambda name: name != "pyarrow" and has(name))


@pytest.mark.usefixtures("_format")
def test_odd_columns_are_read_as_they_are() -> None:
    with serving(answer_with(COLUMNS, KEYS)) as server:
        run = dbservice.connect(server.url, anonymous=True)[UID]
        table = run.table()
        assert list(table["label"].dropna()) == ["a", "c"]
        assert table["gaps"].isna().tolist() == [False, True, False]
        assert list(table["lies"]) == ["1", "two", "3"]
        with pytest.warns(dbservice.BrokerWarning, match="gone is left out"):
            data = run.read()
        assert data["pairs"].shape == (3, 2, 2)
        assert data["ragged"].dtype == object
        assert np.isnan(data["gaps"].values[1])
        assert "gone" not in data


def test_names_of_axes_give_way_to_sizes() -> None:
    with serving(answer_with(COLUMNS, KEYS)) as server:
        run = dbservice.connect(server.url, anonymous=True)[UID]
        data = run.read(fields=["small", "large", "short"])
    assert data["small"].dims == ("time", "y", "z")
    assert data["large"].dims == ("time", "large_dim_0", "large_dim_1")
    assert data["short"].dims == ("short_event", "short_dim_0", "short_dim_1")
    assert data["x"].attrs["units"] == "mm", "a scanned motor is there, asked for or not"


@pytest.mark.usefixtures("_format")
def test_a_stream_without_events() -> None:
    keys = {"x": KEYS["x"]}
    with serving(answer_with({"seq_num": [], "time": [], "x": []}, keys)) as server:
        run = dbservice.connect(server.url, anonymous=True)[UID]
        assert len(run.table()) == 0
        assert run.read().sizes["time"] == 0


def test_a_column_of_texts_is_an_array_of_objects() -> None:
    with serving(answer_with(COLUMNS, KEYS)) as server:
        run = dbservice.connect(server.url, anonymous=True)[UID]
        assert list(run.data("label")) == ["a", None, "c"]
        assert run.devices() == []
        assert run.config_data("x") == {}
