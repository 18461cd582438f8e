"""Raw BSON batches to columns: the fast way must always agree with decoding every document."""

import math
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import bson
import numpy as np
import pyarrow as pa
import pytest
from bson.errors import InvalidBSON
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from events.columns import columns as module
from events.columns import layouts
from events.columns.columns import Columns, Field, read_columns
from events.columns.layouts import ByteLayout

Event = dict[str, Any]

FIELDS = [
    Field("det"),
    Field("motor", "integer"),
    Field("a.b c", "string"),
    Field("image", "array"),
]
NAMES = [field.name for field in FIELDS]


def event(seq_num: object = 1, time: object = 1.0, **data: object) -> Event:
    """An event as suitcase-mongo stores it."""
    return {
        "_id": bson.ObjectId(),
        "uid": "a" * 36,
        "descriptor": "d" * 36,
        "seq_num": seq_num,
        "time": time,
        "data": data,
        "timestamps": dict.fromkeys(data, time),
        "filled": {},
    }


def raw(events: Sequence[Event]) -> bytes:
    return b"".join(map(bson.encode, events))


def table(
    events: Sequence[Event], *fields: Field, timestamps: bool = False
) -> dict[str, list[Any]]:
    """All columns, as Python values."""
    with read_columns([raw(events)], fields, timestamps=timestamps) as columns:
        return {
            n: [v for a in columns.column(n) for v in a.to_pylist()] for n in columns.schema.names
        }


@contextmanager
def tuned(*, layout_rows: int, memory: int = module.MEMORY_BYTES, chunk: int = 1) -> Iterator[None]:
    """Make small batches take the ways that large ones take."""
    with (
        mock.patch.multiple(
            module, LAYOUT_ROWS=layout_rows, MEMORY_BYTES=memory, CHUNK_BYTES=chunk
        ),
        mock.patch.object(layouts, "BLOCK_BYTES", 1024),
    ):
        yield


ALWAYS_FAST, ALWAYS_SLOW = 1, 10**9

# Events of all sorts -----------------------------------------------------------------------------

FLOATS = st.floats(width=64)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=3)
LISTS = st.one_of(
    st.lists(FLOATS, min_size=2, max_size=2),
    st.lists(st.lists(INT32, min_size=2, max_size=2), min_size=3, max_size=3),
    st.lists(st.booleans(), max_size=3),
    st.lists(st.lists(FLOATS, max_size=2), max_size=2),
    st.lists(st.one_of(INT64, FLOATS, st.none(), TEXT, st.booleans()), max_size=3),
    st.lists(TEXT, max_size=2),
    st.lists(st.lists(st.lists(st.one_of(FLOATS, TEXT)) | INT32 | st.none()), max_size=2),
)
ODD = st.one_of(
    st.dictionaries(st.sampled_from("xy"), st.one_of(FLOATS, TEXT), max_size=2),
    st.binary(max_size=3),
    st.datetimes(timezones=st.just(UTC)).map(lambda t: t.replace(microsecond=0)),
    st.builds(bson.ObjectId, st.binary(min_size=12, max_size=12)),
    st.builds(bson.Regex, st.just("^a"), st.just(0)),
)
SORTS = [FLOATS, INT32, INT64, st.booleans(), TEXT, st.none(), LISTS, ODD]
ABSENT = len(SORTS)


@st.composite
def batches(draw: st.DrawFn) -> list[list[Event]]:
    """Batches of events that come in a few layouts, as those of a run do."""
    sort = st.integers(0, ABSENT)
    layouts = draw(st.lists(st.tuples(*[sort] * len(NAMES)), min_size=1, max_size=3))
    return draw(st.lists(st.lists(events_of(layouts), max_size=6), max_size=4))


@st.composite
def events_of(draw: st.DrawFn, layouts: list[tuple[int, ...]]) -> Event:
    layout = draw(st.sampled_from(layouts))
    values = {n: draw(SORTS[sort]) for n, sort in zip(NAMES, layout, strict=True) if sort != ABSENT}
    made = event(draw(SEQ_NUMS), draw(TIMES), **values, ignored=draw(st.one_of(TEXT, LISTS)))
    for key in draw(st.sets(st.sampled_from(["seq_num", "time", "timestamps", "filled"]))):
        del made[key]
    return made


SEQ_NUMS = st.one_of(st.integers(1, 6), INT64, st.floats(1, 6), st.none(), st.just(3.0), TEXT)
TIMES = st.one_of(st.floats(0, 2e9), INT32, st.none(), TEXT)


def exact(value: Any) -> Any:
    """Something that is equal for equal values only: NaN to NaN, 1 not to 1.0."""
    if isinstance(value, list):
        return [exact(item) for item in value]
    return (type(value).__name__, repr(value))


def content(columns: Columns) -> tuple[pa.Schema, list[Any]]:
    with columns:
        rows = [row for batch in columns.batches() for row in batch.to_pylist()]
        assert len(rows) == columns.num_rows
        by_column = [
            value
            for name in columns.schema.names
            for a in columns.column(name)
            for value in a.to_pylist()
        ]
        assert exact(by_column) == exact([row[n] for n in columns.schema.names for row in rows])
        return columns.schema, [exact(list(row.values())) for row in rows]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches())
def test_viewing_gives_what_decoding_gives(found: list[list[Event]]) -> None:
    data = [raw(events) for events in found]
    with tuned(layout_rows=ALWAYS_SLOW, chunk=10**9):
        slow = content(read_columns(data, FIELDS, timestamps=True))
    with tuned(layout_rows=ALWAYS_FAST, memory=64):
        fast = content(read_columns(data, FIELDS, timestamps=True))
    with tuned(layout_rows=2):
        mixed = content(read_columns(data, FIELDS, timestamps=True))
    assert fast == slow
    assert mixed == slow


# A second, plain implementation ------------------------------------------------------------------


def plain_seq_num(found: Event) -> int | None:
    value = found.get("seq_num")
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if isinstance(value, int | float) else None


def plain_rows(events: list[Event]) -> list[Event]:
    last = {plain_seq_num(found): position for position, found in enumerate(events)}
    return [
        found
        for position, found in enumerate(events)
        if plain_seq_num(found) is None or last[plain_seq_num(found)] == position
    ]


NUMBERS = st.one_of(FLOATS, INT32, INT64, st.booleans(), st.none())


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(SEQ_NUMS, TIMES, st.one_of(FLOATS, st.none()), NUMBERS, TEXT), max_size=20),
    st.integers(1, 5),
    st.sampled_from([ALWAYS_FAST, ALWAYS_SLOW]),
)
@example([(1, 0.0, 1.0, 1, "")] * 3, 2, ALWAYS_FAST)
def test_rows_and_values_are_those_of_a_plain_implementation(
    made: list[tuple[Any, ...]], batch_size: int, layout_rows: int
) -> None:
    events = [event(s, t, det=d, motor=m, text=x) for s, t, d, m, x in made]
    data = [raw(events[i : i + batch_size]) for i in range(0, len(events), batch_size)]
    with tuned(layout_rows=layout_rows, memory=64):
        _, rows = content(read_columns(data, [Field("det"), Field("motor"), Field("text")]))
    kept = plain_rows(events)
    motors = [found["data"]["motor"] for found in kept]
    kinds = {type(found["data"]["motor"]) for found in events} - {type(None)}
    number = float if float in kinds or not kinds else int if int in kinds else bool
    expected = [
        [
            plain_seq_num(found),
            float(found["time"]) if isinstance(found["time"], int | float) else None,
            found["data"]["det"],
            None if motor is None else number(motor),
            found["data"]["text"],
        ]
        for found, motor in zip(kept, motors, strict=True)
    ]
    assert rows == exact(expected)


# Layouts -----------------------------------------------------------------------------------------


def count_decoded(events: Sequence[Event], *fields: Field) -> int:
    """How many documents had to be decoded one by one."""
    with mock.patch("bson.decode_all", wraps=bson.decode_all) as decode_all:
        read_columns([raw(events)], fields).close()
    return sum(
        data.count(b"descriptor") for data, _ in (call.args for call in decode_all.mock_calls)
    )


def test_events_of_one_layout_are_not_decoded() -> None:
    events = [
        event(i, float(i), det=i * 0.5, name=f"{i:04}", image=[[1, i]] * 3) for i in range(99)
    ]
    assert count_decoded(events, Field("det"), Field("name"), Field("image")) == 0


def test_alternating_layouts_are_not_decoded() -> None:
    events = [event(i, float(i), det=i if i % 3 else i * 0.5, ok=bool(i % 2)) for i in range(99)]
    assert count_decoded(events, Field("det"), Field("ok")) == 0


def test_layouts_of_the_same_length_are_told_apart() -> None:
    events = [event(i, float(i), det=bson.Int64(i) if i % 2 else float(i)) for i in range(99)]
    assert count_decoded(events, Field("det")) == 0
    assert table(events, Field("det"))["det"] == [float(i) for i in range(99)]


def test_only_the_documents_that_differ_are_decoded() -> None:
    events = [event(i, float(i), det=float(i)) for i in range(1000)]
    events[500]["data"] = {}
    events[700]["data"] = {"det": "broken"}
    assert count_decoded(events, Field("det")) == 2


def test_what_is_not_asked_for_may_differ() -> None:
    events = [event(i, float(i), det=float(i), note=str(i % 7), log={"n": i}) for i in range(99)]
    assert count_decoded(events, Field("det")) == 0


def test_one_changed_byte_outside_of_the_values_is_another_layout() -> None:
    document = bson.encode(event(1, 1.0, det=2.0))
    layout = ByteLayout.of(document, module._sources([Field("det")], timestamps=False))
    documents = np.frombuffer(document * len(document), np.uint8).reshape(-1, len(document)).copy()
    np.fill_diagonal(documents, np.diagonal(documents) + 1)
    identity = 12 + 37 + 37  # _id, uid, descriptor
    values = 4 + 8 + 8  # seq_num, time, det
    not_asked_for = 14 + 1  # timestamps and filled, all but their lengths
    assert np.count_nonzero(layout.matches(documents)) == identity + values + not_asked_for


def test_a_repeated_key_keeps_its_last_value_either_way() -> None:
    data = bson.encode({"det": 1.0})[4:-1] + bson.encode({"det": 2.0})[4:-1]
    nested = (len(data) + 5).to_bytes(4, "little") + data + b"\0"
    body = b"\x03data\0" + nested
    document = (len(body) + 5).to_bytes(4, "little") + body + b"\0"
    for layout_rows in (ALWAYS_FAST, ALWAYS_SLOW):
        with tuned(layout_rows=layout_rows), read_columns([document], [Field("det")]) as columns:
            assert [a.to_pylist() for a in columns.column("det")] == [[2.0]]


def test_text_that_is_not_utf8_is_read_with_replacements() -> None:
    data = bson.encode(event(1, 1.0, name="xx")).replace(b"xx", b"\xff\xfe") * 50
    with read_columns([data], [Field("name")]) as columns:
        assert next(columns.column("name")).to_pylist() == ["\ufffd\ufffd"]


@pytest.mark.parametrize("data", [b"\x05", raw([event()])[:-1], b"\xff\xff\xff\xff" * 3])
def test_a_batch_that_is_no_sequence_of_documents_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidBSON):
        read_columns([data], [])


# Types -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([True, 2], [1, 2]),
        ([True, 2.5], [1.0, 2.5]),
        ([2**53 + 1, 0.5], [2.0**53, 0.5]),
        ([2**31, 2], [2**31, 2]),
        (["a", 1], ["a", "1"]),
        (["a", 1.0, True, [1], math.nan], ["a", "1.0", "true", "[1]", "NaN"]),
        ([[1, 2], [1.5]], [[1.0, 2.0], [1.5]]),
        ([[], []], [[], []]),
        ([[], [None, 2]], [[], [None, 2]]),
        ([[True, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([[1], [[2]]], ["[1]", "[[2]]"]),
        ([[1, "a"], [2]], ['[1, "a"]', "[2]"]),
        ([{"x": 1, "é": "ü"}, None], ['{"x": 1, "é": "ü"}', None]),
        ([b"\x00\xff", "a"], ["AP8=", "a"]),
        ([datetime(2026, 7, 4, tzinfo=UTC), "a"], ["2026-07-04T00:00:00+00:00", "a"]),
    ],
)
@pytest.mark.parametrize("layout_rows", [ALWAYS_FAST, ALWAYS_SLOW])
def test_a_column_takes_the_type_that_holds_all_its_values(
    values: list[Any], expected: list[Any], layout_rows: int
) -> None:
    events = [event(i, float(i), det=value) for i, value in enumerate(values)]
    with tuned(layout_rows=layout_rows):
        assert exact(table(events, Field("det"))["det"]) == exact(expected)


ONE_OF_EACH = [True, 2**53 + 1, 0.5, math.nan, "a", None]
LISTS_OF_EACH = [*([v] for v in ONE_OF_EACH), *([[v]] for v in ONE_OF_EACH), [], [[]], [[], None]]


@pytest.mark.parametrize("first", ONE_OF_EACH + LISTS_OF_EACH)
def test_any_two_values_share_a_column(first: Any) -> None:
    for second in ONE_OF_EACH + LISTS_OF_EACH:
        events = [event(i, float(i), det=value) for i, value in enumerate([first, second, first])]
        one, _, three = table(events, Field("det"))["det"]
        assert exact(one) == exact(three)
        assert (one is None) == (first is None)


@pytest.mark.parametrize(
    ("data_key", "expected"),
    [
        ({"dtype": "number", "shape": []}, pa.float64()),
        ({"dtype": "integer", "shape": []}, pa.int64()),
        ({"dtype": "boolean"}, pa.bool_()),
        ({"dtype": "string"}, pa.string()),
        ({"dtype": "array", "shape": [3]}, pa.list_(pa.float64())),
        ({"dtype": "array", "shape": [3, 4]}, pa.list_(pa.list_(pa.float64()))),
        ({"dtype": "array"}, pa.list_(pa.float64())),
        ({"dtype": "array", "shape": [9, 9, 0], "external": "FILESTORE:"}, pa.string()),
        ({}, pa.float64()),
        ({"dtype": None, "shape": 3}, pa.string()),
    ],
)
def test_a_column_without_values_takes_the_type_of_its_data_key(
    data_key: dict[str, Any], expected: pa.DataType
) -> None:
    field = Field.from_data_key("det", data_key)
    for batches in ([], [raw([event()])]):
        with read_columns(batches, [field]) as columns:
            assert columns.schema.field("det").type == expected


def test_a_missing_key_is_a_null_in_its_row() -> None:
    events = [event(i, float(i), det=float(i)) for i in range(40)]
    del events[7]["data"]["det"]
    assert table(events, Field("det"))["det"] == [None if i == 7 else float(i) for i in range(40)]


def test_events_without_usable_subdocuments_are_rows_of_nulls() -> None:
    events = [event(1) | {"data": None}, event(2) | {"data": [1.0]}, {"seq_num": 3}, {}]
    assert table(events, Field("0"), timestamps=True) == {
        "seq_num": [1, 2, 3, None],
        "time": [1.0, 1.0, None, None],
        "0": [None] * 4,
        "ts_0": [None] * 4,
    }


# Rows --------------------------------------------------------------------------------------------


def test_a_repeated_seq_num_keeps_its_last_event() -> None:
    events = [event(s, float(t), det=float(t)) for t, s in enumerate([1, 2, 3, 2, 3, 4])]
    kept = table(events, Field("det"))
    assert kept["seq_num"] == [1, 2, 3, 4]
    assert kept["det"] == [0.0, 3.0, 4.0, 5.0]


def test_the_last_event_may_repeat_the_first() -> None:
    batches = [raw([event(i, float(i))]) for i in (1, 2, 3, 1)]
    with tuned(layout_rows=1), read_columns(batches, []) as columns:
        assert [a.to_pylist() for a in columns.column("time")] == [[2.0], [3.0], [1.0]]


def test_sparse_sequence_numbers_take_no_memory_between_them() -> None:
    events = [event(s, float(t)) for t, s in enumerate([-(2**63), 2**63 - 1, 0, -(2**63)])]
    assert table(events) == {"seq_num": [2**63 - 1, 0, -(2**63)], "time": [1.0, 2.0, 3.0]}


def test_a_repetition_across_the_whole_range_of_integers_is_noticed() -> None:
    events = [event(s, float(t)) for t, s in enumerate([0, 2**62, 2**63 - 1, -(2**62), 0])]
    assert table(events)["time"] == [1.0, 2.0, 3.0, 4.0]


def test_events_without_a_seq_num_are_all_kept() -> None:
    events = [event(s, float(t)) for t, s in enumerate([1, None, 1, None, "1", 1.5])]
    assert table(events)["time"] == [1.0, 2.0, 3.0, 4.0, 5.0]


# Names -------------------------------------------------------------------------------------------


def test_names_that_are_taken_get_an_underscore() -> None:
    data = {"time": 1, "seq_num": 2, "_time": 3, "ts_time": 4}
    made = event(9, 8.0) | {"data": data, "timestamps": dict.fromkeys(data, 8.0)}
    found = table([made], *map(Field, data), timestamps=True)
    assert found == {
        "seq_num": [9],
        "time": [8.0],
        "__time": [1],
        "_seq_num": [2],
        "_time": [3],
        "ts_time": [4],
        "_ts_time": [8.0],
        "ts_seq_num": [8.0],
        "ts__time": [8.0],
        "ts_ts_time": [8.0],
    }


@pytest.mark.parametrize("name", ["a.b", "a b", "é\u202e", "$x", "%s", "", '"', "=1+1"])
def test_any_name_can_be_a_column(name: str) -> None:
    assert table([event(1, 1.0, **{name: 2.0})], Field(name))[name] == [2.0]


def test_a_field_asked_for_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="more than once: det"):
        read_columns([], [Field("det"), Field("det")])


# Resources ---------------------------------------------------------------------------------------


def test_the_temporary_file_is_closed_when_reading_fails() -> None:
    def failing() -> Iterator[bytes]:
        yield raw([event()])
        raise ConnectionError

    with (
        mock.patch.object(module._Spool, "close") as close,
        pytest.raises(ConnectionError),
    ):
        read_columns(failing(), [])
    close.assert_called_once()


MEMORY = """
    import sys
    import bson, numpy as np
    from events.columns.columns import Field, read_columns
    from events.columns.formats import ENCODERS
    KEYS = ["det", "motor", "i0", "ring"]
    def batches(count):
        document = bson.encode({"uid": "u" * 36, "descriptor": "d" * 36, "seq_num": 7, "time": 1.0,
            "data": dict.fromkeys(KEYS, 2.0), "timestamps": dict.fromkeys(KEYS, 1.0)})
        at = document.index(b"seq_num") + 8
        for start in range(0, count, 10_000):
            rows = np.frombuffer(document * 10_000, np.uint8).reshape(10_000, -1).copy()
            rows[:, at : at + 4] = np.arange(start, start + 10_000, dtype="<i4")[:, None].view("u1")
            yield rows.tobytes()
        yield document
    def run(count):
        columns = read_columns(batches(count), [Field(key) for key in KEYS], timestamps=True)
        return sum(map(len, ENCODERS[sys.argv[1]].encode(columns)))
    def peak():  # ru_maxrss would begin at the parent's
        return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
    run(10)
    before = peak()
    assert run(600_000) > 10**6
    print(peak() - before)
"""


@pytest.mark.parametrize("name", ["arrow", "parquet", "csv", "json", "ndjson", "msgpack"])
def test_memory_does_not_grow_with_the_number_of_events(name: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), name]
    grown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 40 * 1024  # KiB, the columns being 50 MiB


ROWS_OF_GROUPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "unknown"]),
        st.one_of(st.none(), st.integers(-3, 5), st.integers(-(2**62), 2**62)),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(rows=ROWS_OF_GROUPS, at_once=st.integers(1, 20), layout_rows=st.sampled_from([1, 1000]))
def test_a_seq_num_is_repeated_within_its_group_only(
    rows: list[tuple[str, int | None]], at_once: int, layout_rows: int
) -> None:
    """As a dict of the last row by group and number has it; a and b continue each other."""
    groups = {"a": 0, "b": 0, "c": 1}
    events = [
        {**event(number, float(at)), "descriptor": uid} for at, (uid, number) in enumerate(rows)
    ]
    last = {(groups.get(uid, 0), n): at for at, (uid, n) in enumerate(rows) if n is not None}
    kept = [float(at) for at, (_, n) in enumerate(rows) if n is None or at in last.values()]
    batches = [raw(events[at : at + at_once]) for at in range(0, len(events), at_once)]
    with tuned(layout_rows=layout_rows), read_columns(batches, [], groups=groups) as columns:
        assert [t for array in columns.column("time") for t in array.to_pylist()] == kept
        assert columns.dropped == len(rows) - len(kept)
        assert columns.schema.names == ["seq_num", "time"]
