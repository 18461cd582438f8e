"""Wire formats of a table, read back with what their users read them with."""

import io
import json
import math
from collections.abc import Iterator
from typing import Any

import bson
import msgpack
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.columns.columns import Columns, Field, read_columns
from events.columns.formats import ENCODERS

ALL = sorted(ENCODERS)
COUNT = 300


def columns_of(rows: list[dict[str, Any]], *, batch: int = 100) -> Columns:
    """The table of events with these data."""
    names = dict.fromkeys(name for row in rows for name in row)
    events = [
        bson.encode({"seq_num": i + 1, "time": 1.5 * i, "data": row}) for i, row in enumerate(rows)
    ]
    batches = (b"".join(events[i : i + batch]) for i in range(0, len(events), batch))
    return read_columns(batches, [Field(name) for name in names])


def encoded(name: str, rows: list[dict[str, Any]]) -> bytes:
    return b"".join(ENCODERS[name].encode(columns_of(rows)))


def ndjson(body: bytes) -> dict[str, list[Any]]:
    rows = [orjson.loads(line) for line in body.splitlines()]
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


READERS = {
    "arrow": lambda body: pa.ipc.open_stream(body).read_all().to_pydict(),
    "parquet": lambda body: pa.parquet.read_table(io.BytesIO(body)).to_pydict(),
    "json": json.loads,
    "ndjson": ndjson,
    "msgpack": msgpack.unpackb,
}
EXACT = sorted(READERS)
VALID_JSON = ["json", "ndjson"]

ROWS = [
    {
        "det": i * 0.1,
        "count": 2**60 + i,
        "ok": bool(i % 2),
        "name": f"é\n{i}",
        "spectrum": [i, i * 0.5],
        "image": [[i, 1], [2, 3]],
    }
    for i in range(COUNT)
]


def as_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row.get(name) for row in rows] for name in names}
    numbers = {"seq_num": [*range(1, len(rows) + 1)], "time": [1.5 * i for i in range(len(rows))]}
    return numbers | values


@pytest.mark.parametrize("name", EXACT)
def test_every_value_comes_back(name: str) -> None:
    assert READERS[name](encoded(name, ROWS)) == as_columns(ROWS)


@pytest.mark.parametrize("name", EXACT)
def test_missing_values_come_back_as_nulls_in_their_rows(name: str) -> None:
    rows = [dict(list(row.items())[i % 7 :]) for i, row in enumerate(ROWS)]
    assert READERS[name](encoded(name, rows)) == as_columns(rows)


@pytest.mark.parametrize("name", ["arrow", "parquet", "json", "msgpack"])
def test_a_table_without_rows_has_its_columns(name: str) -> None:
    body = b"".join(ENCODERS[name].encode(read_columns([], [Field("det")])))
    assert READERS[name](body) == {"seq_num": [], "time": [], "det": []}


def test_csv_and_ndjson_without_rows() -> None:
    assert encoded("csv", []) == b'"seq_num","time"\n'
    assert encoded("ndjson", []) == b""


@pytest.mark.parametrize("name", ["arrow", "parquet"])
def test_columns_keep_their_types(name: str) -> None:
    body = encoded(name, ROWS)
    schema = pa.ipc.open_stream(body).schema if name == "arrow" else None
    schema = schema or pa.parquet.read_schema(io.BytesIO(body))
    assert schema.remove_metadata().equals(columns_of(ROWS).schema)


SCALARS = st.fixed_dictionaries(
    {},
    optional={
        "det": st.floats(),
        "count": st.integers(-(2**63), 2**63 - 1),
        "name": st.text(st.characters(codec="utf-8"), max_size=4),
        "mixed": st.one_of(st.booleans(), st.integers(0, 9), st.text("a=1", max_size=2)),
        "list": st.lists(st.one_of(st.floats(), st.none()), max_size=3),
    },
)


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=40, deadline=None)
@given(rows=st.lists(SCALARS, max_size=9))
def test_formats_agree_with_the_columns(name: str, rows: list[dict[str, Any]]) -> None:
    with columns_of(rows, batch=3) as columns:
        expected = pa.Table.from_batches(columns.batches(), columns.schema).to_pydict()
    if name in VALID_JSON:
        expected = finite(expected)
    if name == "ndjson" and not rows:
        expected = {}
    assert repr(READERS[name](encoded(name, rows))) == repr(expected)


def finite(value: Any) -> Any:
    """What JSON can hold of a value."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Numbers that are none (ABUSE-CASES 12) ----------------------------------------------------------

NOT_FINITE = [{"det": v, "list": [v, 1.0]} for v in (math.nan, math.inf, -math.inf)] * 4
NOT_FINITE_OR_NULL = [*NOT_FINITE, {}]


@pytest.mark.parametrize("rows", [NOT_FINITE, NOT_FINITE_OR_NULL])
@pytest.mark.parametrize("name", VALID_JSON)
def test_abuse_12_json_has_null_for_what_is_not_finite(name: str, rows: list[Any]) -> None:
    found = READERS[name](encoded(name, rows))
    assert found["det"] == [None] * len(rows)
    assert found["list"][:12] == [[None, 1.0]] * 12


@pytest.mark.parametrize("name", ["arrow", "parquet", "msgpack"])
def test_binary_formats_tell_nan_from_null(name: str) -> None:
    found = READERS[name](encoded(name, NOT_FINITE_OR_NULL))["det"]
    assert [math.isnan(v) if v is not None else v for v in found[::12]] == [True, None]
    assert found[1:3] == [math.inf, -math.inf]


def test_csv_names_what_is_not_finite_as_pandas_reads_it() -> None:
    assert encoded("csv", [{"det": v} for v in (math.nan, math.inf, -math.inf, None)]) == (
        b'"seq_num","time","det"\n1,0,nan\n2,1.5,inf\n3,3,-inf\n4,4.5,\n'
    )


# CSV ---------------------------------------------------------------------------------------------


def test_csv_is_read_by_pandas() -> None:
    found = pd.read_csv(io.BytesIO(encoded("csv", ROWS)))
    expected = as_columns(ROWS)
    for name in ("seq_num", "time", "det", "count", "ok", "name"):
        assert found[name].tolist() == expected[name]
    assert [json.loads(cell) for cell in found["image"]] == expected["image"]


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_abuse_12_csv_text_is_never_a_formula(first: str) -> None:
    text = f"{first}cmd|' /C calc'!A0"
    body = encoded("csv", [{text: text, "det": -1.5, "mixed": value} for value in (text, -1)])
    header, one, two = pyarrow_rows(body)
    assert header == ["seq_num", "time", f"'{text}", "det", "mixed"]
    assert one == ["1", "0", f"'{text}", "-1.5", f"'{text}"]
    assert two == ["2", "1.5", f"'{text}", "-1.5", "'-1"]


def pyarrow_rows(body: bytes) -> list[list[str]]:
    """All cells as text, the header first."""
    names = pyarrow.csv.read_csv(io.BytesIO(body)).column_names
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    found = pyarrow.csv.read_csv(io.BytesIO(body), convert_options=convert)
    return [names, *([row[name] for name in names] for row in found.to_pylist())]


def test_csv_quotes_separators_and_quotation_marks() -> None:
    text = 'a,"b"\r\nc;'
    body = encoded("csv", [{text: text, "empty": ""}])
    assert body.endswith(b'1,0,"a,""b""\r\nc;",""\n')
    found = pd.read_csv(io.BytesIO(body), keep_default_na=False)
    assert found[text].tolist() == [text]


# Names and streaming -----------------------------------------------------------------------------

NAMES = ["a.b", "a b", "é\u202e", "%s %", '"', "", "\\", "<script>"]


@pytest.mark.parametrize("name", EXACT)
def test_odd_field_names_come_back(name: str) -> None:
    found = READERS[name](encoded(name, [dict.fromkeys(NAMES, 1.0)] * 3))
    assert found == {"seq_num": [1, 2, 3], "time": [0.0, 1.5, 3.0]} | dict.fromkeys(
        NAMES, [1.0] * 3
    )


def wide(count: int) -> Iterator[bytes]:
    document = bson.encode({"time": 0.5, "data": {"spectrum": [1.5] * 4096}})
    for _ in range(count):
        yield document * 50


@pytest.mark.parametrize("name", ALL)
def test_no_piece_of_a_large_table_is_large(name: str) -> None:
    columns = read_columns(wide(16), [Field("spectrum", "array", (4096,))])
    sizes = [len(piece) for piece in ENCODERS[name].encode(columns)]
    assert max(sizes) < 9 * 2**20
    if name not in {"parquet", "csv"}:
        assert sum(sizes) > 2 * max(sizes)


@pytest.mark.parametrize("name", ALL)
def test_an_answer_that_is_abandoned_frees_its_table(name: str) -> None:
    columns = columns_of(ROWS)
    answer = ENCODERS[name].encode(columns)
    next(answer)
    answer.close()
    with pytest.raises(ValueError, match="closed"):
        next(columns.batches())


@pytest.mark.parametrize("name", ALL)
def test_an_answer_that_is_complete_frees_its_table(name: str) -> None:
    columns = columns_of(ROWS)
    assert all(isinstance(piece, bytes) for piece in ENCODERS[name].encode(columns))
    with pytest.raises(ValueError, match="closed"):
        next(columns.batches())
