"""Raw BSON event documents to columns.

A table has the columns ``seq_num`` (int64), ``time`` (float64, epoch seconds), one column a field
and, on request, one column ``ts_<field>`` a field with the time its value was taken. A name that
is taken already gets ``_`` put in front, so a data key ``time`` becomes ``_time``, as bluesky's
own tabular writer names it. Rows keep the order of the events read.

- A repeated ``seq_num`` keeps its last event; events without one are all kept. It is repeated
  within one descriptor, or within those that continue each other (`groups`): two devices that were
  read in one stream, each with a descriptor of its own, both begin at 1. The last event may
  repeat the first, so no row leaves before all events are read: columns are held compactly, in
  memory up to ``MEMORY_BYTES`` and in a temporary file beyond. Hence no database cursor ever waits
  for a slow client.
- A column has one type for the whole table, which depends on the values found and not on how they
  were batched: bool → int64 → float64 as numpy promotes (an integer beyond 2**53 beside floats
  is rounded), strings as utf8, inline arrays as nested lists. Anything else, and a mixture of
  these, is text: strings as they are, other values as JSON. Without any value the data key decides.
- A missing key, and an explicit null, is a null in its row. An external field holds the datum id.

Events of one descriptor nearly always share one byte layout, so the values are read as strided
numpy views once every byte that is not a value is known to equal the first document's
(`ByteLayout`); documents of rare layouts are decoded one by one, with the same result.
"""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple, Self

import bson
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON
from numpy.typing import NDArray

from events.columns.layouts import ByteLayout, Bytes, Nulls, Pieces, ValuePath, int32

MEMORY_BYTES = 16 * 2**20
CHUNK_BYTES = 2**20  # smaller raw batches are joined: each chunk costs some fixed time
DESCRIPTOR = ValuePath("", "", "descriptor", pa.string())
LAYOUT_ROWS = 16  # parsing a layout costs about as much as decoding this many documents
RARE_LAYOUTS = 4  # given up after so many that few documents share

RowNumbers = NDArray[np.int64]

_NUMBERS = (pa.bool_(), pa.int64(), pa.float64())
_DECLARED = {"number": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_()}
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


@dataclass(frozen=True)
class Field:
    """A column asked for: a key of the events' ``data``; `dtype` and `shape` as its data key says.

    They only give an empty column its type; the values found decide otherwise.
    """

    name: str
    dtype: str = "number"
    shape: tuple[int, ...] = ()
    external: bool = False

    @classmethod
    def from_data_key(cls, name: str, data_key: Mapping[str, Any]) -> Self:
        """The field of a descriptor's data key; what is missing or odd in it takes defaults."""
        shape = data_key.get("shape")
        return cls(
            name,
            str(data_key.get("dtype", "number")),
            tuple(shape) if isinstance(shape, list) else (),
            bool(data_key.get("external")),
        )

    @property
    def arrow_type(self) -> pa.DataType:
        """The type of the column if no event holds a value."""
        if self.external:
            return pa.string()
        if self.dtype == "array":
            return reduce(lambda inner, _: pa.list_(inner), self.shape or (0,), pa.float64())
        return _DECLARED.get(self.dtype, pa.string())


def _sources(fields: Sequence[Field], timestamps: bool) -> list[ValuePath]:
    names = [field.name for field in fields]
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        raise ValueError(f"fields asked for more than once: {', '.join(repeated)}")
    sources = [
        ValuePath("seq_num", "", "seq_num", pa.int64()),
        ValuePath("time", "", "time", pa.float64()),
    ]
    taken = {"seq_num", "time"}
    # A field whose own name is free keeps it, whatever order the fields are asked for in.
    free = set(names) - taken

    def add(column: str, within: str, key: str, default: pa.DataType) -> None:
        while column in taken or (column in free and (within, column) != ("data", key)):
            column = f"_{column}"
        taken.add(column)
        sources.append(ValuePath(column, within, key, default))

    for wanted in fields:
        add(wanted.name, "data", wanted.name, wanted.arrow_type)
    for wanted in fields if timestamps else ():
        add(f"ts_{wanted.name}", "timestamps", wanted.name, pa.float64())
    return sources


# Types of values ---------------------------------------------------------------------------------


def _common(a: pa.DataType | None, b: pa.DataType | None) -> pa.DataType | None:
    """The type that holds values of both types, None if only text does."""
    if a is None or b is None or a == b:
        return a if a == b else None
    if pa.types.is_null(a) or pa.types.is_null(b):
        return b if pa.types.is_null(a) else a
    if a in _NUMBERS and b in _NUMBERS:
        return max(a, b, key=_NUMBERS.index)
    if pa.types.is_list(a) and pa.types.is_list(b):
        inner = _common(a.value_type, b.value_type)
        return None if inner is None else pa.list_(inner)
    return None


_SCALARS: dict[type, pa.DataType] = {
    type(None): pa.null(),
    bool: pa.bool_(),
    int: pa.int64(),
    bson.Int64: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


def _list_type(values: list[Any]) -> pa.DataType | None:
    """The type of a decoded array, None if it can only be text."""
    classes = set(map(type, values))
    types = (_SCALARS.get(cls) for cls in classes - {list})
    lists = [_list_type(value) for value in values if type(value) is list]
    inner = reduce(_common, (*types, *lists), pa.null())
    return None if inner is None else pa.list_(inner)


def _json_default(value: object) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float | list | dict):
        return json.dumps(value, default=_json_default, ensure_ascii=False)
    return _json_default(value)


_PROMOTIONS: dict[pa.DataType, Callable[[Any], Any]] = {
    pa.int64(): int,
    pa.float64(): float,
    pa.string(): _text,
}


def _promoted(value: Any, to: pa.DataType) -> Any:
    """A decoded array, or an item of it, as its type has it."""
    if value is None:
        return None
    if pa.types.is_list(to):
        return [_promoted(item, to.value_type) for item in value]
    return _PROMOTIONS[to](value) if to in _PROMOTIONS else value


def _final_type(kinds: Iterable[pa.DataType], default: pa.DataType) -> pa.DataType:
    found = reduce(_common, kinds, pa.null())
    if found is None:
        return pa.string()
    return default if pa.types.is_null(found) else _with_leaf(found)


def _with_leaf(found: pa.DataType) -> pa.DataType:
    """Lists that were empty in all rows are lists of floats."""
    if pa.types.is_list(found):
        return pa.list_(_with_leaf(found.value_type))
    return pa.float64() if pa.types.is_null(found) else found


def _unified(pieces: Pieces, to: pa.DataType, rows: int) -> pa.Array:
    """The column's values as one array of the type `to`."""
    if not pieces:
        return pa.nulls(rows, to)
    if pa.types.is_string(to) and set(pieces) != {to}:
        values = zip(*(array.to_pylist() for array in pieces.values()), strict=True)
        return pa.array([_text(_first(row)) for row in values], to)
    arrays = [array if kind == to else _cast(array, to) for kind, array in pieces.items()]
    return arrays[0] if len(arrays) == 1 else pc.coalesce(*arrays)


def _first(row: tuple[object, ...]) -> object:
    return next((value for value in row if value is not None), None)


def _cast(array: pa.Array, to: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(array.type):  # has no cast to floats in Arrow
        array = array.cast(pa.int8())
    return array.cast(to, safe=False)  # safe would refuse integers beyond 2**53


# A chunk of documents to columns -----------------------------------------------------------------


class _Part(NamedTuple):
    """Values of the given rows of a chunk, all of one stored type."""

    rows: RowNumbers
    values: pa.Array


def _offsets(data: bytes) -> tuple[RowNumbers, RowNumbers]:
    """Where the documents begin and how long they are."""
    first = int32(data, 0)
    if first >= 5 and len(data) % first == 0:
        count = len(data) // first
        lengths = np.ndarray((count,), "<i4", data, 0, (first,))
        if (lengths == first).all():
            return np.arange(count, dtype=np.int64) * first, np.full(count, first, np.int64)
    starts, at = [], 0
    while at < len(data):
        starts.append(at)
        at += max(int32(data, at), 5)
    if at != len(data):
        raise InvalidBSON("a batch ends within a document")
    offsets = np.array(starts, np.int64)
    return offsets, np.diff(offsets, append=len(data))


def _same_length(data: bytes, offsets: RowNumbers, length: int) -> Bytes:
    """The documents at these offsets, shape (documents, length); a view if they are adjacent."""
    start = int(offsets[0])
    if int(offsets[-1]) - start == (len(offsets) - 1) * length:
        stop = start + len(offsets) * length
        return np.frombuffer(data, np.uint8)[start:stop].reshape(-1, length)
    anywhere = np.ndarray((len(data) - length + 1,), f"V{length}", data, 0, (1,))
    return anywhere[offsets].view(np.uint8).reshape(-1, length)


class _Chunk:
    """Collects, for the documents of one chunk, each column's values by stored type."""

    def __init__(self, data: bytes, sources: Sequence[ValuePath]) -> None:
        self.data = data
        self.sources = sources
        self.offsets, self.lengths = _offsets(data)
        self.parts: list[dict[pa.DataType, list[_Part]]] = [{} for _ in sources]

    def columns(self) -> Iterator[Pieces]:
        """One dict a source, in order."""
        slow = [self._view_length(int(length)) for length in np.unique(self.lengths)]
        self._decode(np.sort(np.concatenate(slow)))
        for parts in self.parts:
            yield {kind: self._whole(parts[kind]) for kind in parts}

    def _whole(self, parts: list[_Part]) -> pa.Array:
        """The values of the parts in all rows of the chunk, null in rows that have none."""
        total = len(self.offsets)
        if len(parts) == 1 and len(parts[0].rows) == total:
            return parts[0].values
        rows = np.concatenate([part.rows for part in parts])
        where = np.full(total, -1, np.int64)
        where[rows] = np.arange(len(rows))
        values = pa.concat_arrays([part.values for part in parts])
        return values.take(pa.array(where, mask=where < 0))

    def _view_length(self, length: int) -> RowNumbers:
        """View what shares a common layout; returns the rows that do not."""
        rows = np.flatnonzero(self.lengths == length)
        rare, allowed = 0, min(RARE_LAYOUTS, 1 + len(rows) // 128)
        while len(rows) >= LAYOUT_ROWS and rare < allowed:
            documents = _same_length(self.data, self.offsets[rows], length)
            layout = ByteLayout.of(documents[0].tobytes(), self.sources)
            matching = layout.matches(documents)
            self._view(layout, rows, documents, matching)
            rare += int(np.count_nonzero(matching) < max(LAYOUT_ROWS, len(rows) // 32))
            rows = rows[~matching]
        return rows

    def _view(
        self, layout: ByteLayout, rows: RowNumbers, documents: Bytes, matching: NDArray[np.bool_]
    ) -> None:
        if not matching.all():
            rows, documents = rows[matching], documents[matching]
        if layout.slots is None:
            self._decode(rows)
            return
        try:
            values = [
                None if isinstance(slot, Nulls) else slot.read(documents) for slot in layout.slots
            ]
        except pa.ArrowInvalid:  # not UTF-8, which decoding replaces
            self._decode(rows)
            return
        for column, array in enumerate(values):
            if array is not None:
                self._add(column, rows, array)

    def _add(self, column: int, rows: RowNumbers, values: pa.Array) -> None:
        self.parts[column].setdefault(values.type, []).append(_Part(rows, values))

    def _decode(self, rows: RowNumbers) -> None:
        """The slow way."""
        ends = self.offsets + self.lengths
        raw = b"".join([self.data[self.offsets[row] : ends[row]] for row in rows])
        documents = bson.decode_all(raw, _CODEC) if raw else []
        for column, source in enumerate(self.sources):
            parents = [doc.get(source.within) for doc in documents] if source.within else documents
            values = [p.get(source.key) if isinstance(p, dict) else None for p in parents]
            self._add_values(column, rows, values)

    def _add_values(self, column: int, rows: RowNumbers, values: list[Any]) -> None:
        classes = list(map(type, values))
        for cls in set(classes) - {type(None)}:
            places = [place for place, found in enumerate(classes) if found is cls]
            found, at = [values[place] for place in places], rows[places]
            if cls in _SCALARS:
                self._add(column, at, pa.array(found, _SCALARS[cls]))
            elif cls is list:
                self._add_lists(column, at, found)
            else:
                self._add(column, at, pa.array(map(_text, found), pa.string()))

    def _add_lists(self, column: int, rows: RowNumbers, values: list[list[Any]]) -> None:
        places: dict[pa.DataType, list[int]] = {}
        for place, value in enumerate(values):
            places.setdefault(_list_type(value) or pa.string(), []).append(place)
        for kind, at in places.items():
            cells = [_promoted(values[place], kind) for place in at]
            self._add(column, rows[at], pa.array(cells, kind))


def _seq_num(pieces: Pieces) -> Pieces:
    """Sequence numbers as int64; what is not a whole number is null."""
    whole = {kind: pieces[kind] for kind in pieces if kind == pa.int64()}
    if pa.float64() in pieces:
        floats = pieces[pa.float64()]
        fits = pc.and_(pc.equal(floats, pc.floor(floats)), pc.less(pc.abs(floats), 2.0**63))
        integers = pc.if_else(fits, floats, pa.scalar(None, pa.float64())).cast(pa.int64())
        whole[pa.int64()] = pc.coalesce(*whole.values(), integers)
    return whole


def _time(pieces: Pieces) -> Pieces:
    """Times as float64; what is not a number is null."""
    numbers = {kind: pieces[kind] for kind in pieces if kind in (pa.int64(), pa.float64())}
    if not numbers:
        return {}
    return {pa.float64(): _unified(numbers, pa.float64(), 0)}


# Many chunks -------------------------------------------------------------------------------------


def _joined(batches: Iterable[bytes]) -> Iterator[bytes]:
    """The same documents in batches of at least ``CHUNK_BYTES``, but for the last."""
    waiting: list[bytes] = []
    for batch in batches:
        waiting.append(batch)
        if sum(map(len, waiting)) >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting = []
    if rest := b"".join(waiting):
        yield rest


class _Stored(NamedTuple):
    """Where in the spool an array is."""

    offset: int
    size: int


class _Spool:
    """Arrow arrays written once and read often, in memory while they are small."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 (closed by `close`)

    def write(self, array: pa.Array) -> _Stored:
        buffer = pa.RecordBatch.from_arrays([array], [""]).serialize()
        offset = self._file.seek(0, 2)
        self._file.write(memoryview(buffer))
        return _Stored(offset, buffer.size)

    def read(self, stored: _Stored, kind: pa.DataType) -> pa.Array:
        self._file.seek(stored.offset)
        buffer = pa.py_buffer(self._file.read(stored.size))
        return pa.ipc.read_record_batch(buffer, pa.schema([("", kind)])).column(0)

    def close(self) -> None:
        self._file.close()


@dataclass
class _StoredChunk:
    rows: int
    columns: list[dict[pa.DataType, _Stored]] = field(default_factory=list)


class _SequenceNumbers:
    """Notices, while chunks are read, whether a sequence number may have been repeated."""

    def __init__(self) -> None:
        self.increasing = True
        self.lowest, self.highest = 2**63 - 1, -(2**63)

    def add(self, numbers: NDArray[np.int64]) -> None:
        if not len(numbers):
            return
        rising = bool((numbers[1:] > numbers[:-1]).all())  # a difference might overflow
        self.increasing &= rising and int(numbers[0]) > self.highest
        self.lowest = min(self.lowest, int(numbers.min()))
        self.highest = max(self.highest, int(numbers.max()))


class Columns:
    """The table of some events, to be read any number of times until it is closed.

    schema: Arrow schema. num_rows: rows that are left when repeated sequence numbers are dropped.
    dropped: how many these were.
    """

    def __init__(self, sources: Sequence[ValuePath], groups: Mapping[str, int]) -> None:
        self._groups = groups if len(set(groups.values())) > 1 else {}
        # Whose event a row is, is only looked at where it matters; it is no column of the table.
        self._read_sources = [*sources, DESCRIPTOR] if self._groups else sources
        self._sources = sources
        self._spool = _Spool()
        self._chunks: list[_StoredChunk] = []
        self._keep: list[NDArray[np.bool_]] | None = None  # per chunk; None keeps all
        self._numbers = _SequenceNumbers()
        self.schema = pa.schema([])
        self.num_rows = self.dropped = 0
        self._places: dict[str, int] = {}
        self._types: list[pa.DataType] = []  # Arrow makes those of the schema anew each time

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the temporary file, if any."""
        self._spool.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in order, some ten thousand at once, all batches of the same schema."""
        for index in range(len(self._chunks)):
            arrays = [self._array(index, column) for column in range(len(self._sources))]
            if len(arrays[0]):
                yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def column(self, name: str, *, backwards: bool = False) -> Iterator[pa.Array]:
        """One column's values in order, without reading the others.

        `backwards` begins with the last part; each part itself stays in order.
        """
        column = self._places[name]
        places = range(len(self._chunks))
        arrays = (self._array(place, column) for place in (places[::-1] if backwards else places))
        return (array for array in arrays if len(array))

    def _array(self, index: int, column: int) -> pa.Array:
        chunk = self._chunks[index]
        pieces = self._read(chunk, column)
        array = _unified(pieces, self._types[column], chunk.rows)
        return array if self._keep is None else array.filter(pa.array(self._keep[index]))

    def _read(self, chunk: _StoredChunk, column: int) -> Pieces:
        stored = chunk.columns[column]
        return {kind: self._spool.read(stored[kind], kind) for kind in stored}

    def _append(self, data: bytes) -> None:
        chunk = _Chunk(data, self._read_sources)
        stored = _StoredChunk(len(chunk.offsets))
        for source, found in zip(self._read_sources, chunk.columns(), strict=True):
            pieces = found if source.within else _normal(source, found)
            if source.column == "seq_num":
                self._numbers.add(_valid(pieces))
            stored.columns.append({kind: self._spool.write(pieces[kind]) for kind in pieces})
        self._chunks.append(stored)

    def _finish(self) -> None:
        """Decide, once all events are known, on types and rows."""
        for column, source in enumerate(self._sources):
            kinds = {kind for chunk in self._chunks for kind in chunk.columns[column]}
            self._types.append(_final_type(kinds, source.default))
        names = [source.column for source in self._sources]
        self.schema = pa.schema(list(zip(names, self._types, strict=True)))
        self._places = {name: place for place, name in enumerate(names)}
        self.num_rows = total = sum(chunk.rows for chunk in self._chunks)
        if not self._numbers.increasing:
            self._keep = self._last_of_groups() if self._groups else self._last_of_each()
            self.num_rows = sum(int(np.count_nonzero(keep)) for keep in self._keep)
        self.dropped = total - self.num_rows

    def _last_of_groups(self) -> list[NDArray[np.bool_]]:
        """The same, of each group of descriptors by itself. Takes some 40 bytes a row.

        Of descriptors a (group 0) and b (group 1), the rows a1 b1 a2 b2 a2 b3 lose the first a2.
        """
        numbers = [self._read(chunk, 0) for chunk in self._chunks]
        valid = [_is_valid(pieces, c.rows) for pieces, c in zip(numbers, self._chunks, strict=True)]
        of_groups = [self._groups_of(chunk) for chunk in self._chunks]
        groups = np.concatenate([of[at] for of, at in zip(of_groups, valid, strict=True)])
        _, ranks = np.unique(np.concatenate([_valid(n) for n in numbers]), return_inverse=True)
        pairs = ranks * (int(groups.max()) + 1) + groups if len(groups) else ranks
        _, pairs = np.unique(pairs, return_inverse=True)
        last = _unseen(pairs, np.zeros(len(pairs), np.bool_))
        keeps, begin = [], 0
        for at in valid:
            keep = np.ones(len(at), np.bool_)
            end = begin + int(np.count_nonzero(at))
            keep[at] = last[begin:end]
            keeps.append(keep)
            begin = end
        return keeps

    def _groups_of(self, chunk: _StoredChunk) -> NDArray[np.int64]:
        uids = _unified(self._read(chunk, len(self._sources)), pa.string(), chunk.rows)
        codes = uids.dictionary_encode()
        known = [self._groups.get(uid, 0) for uid in codes.dictionary.to_pylist()] or [0]
        at = codes.indices.fill_null(0).to_numpy(zero_copy_only=False)
        numbers: NDArray[np.int64] = np.asarray(known, np.int64)[at]
        return numbers

    def _last_of_each(self) -> list[NDArray[np.bool_]]:
        """Per chunk the rows whose sequence number no later row repeats; backwards, from the last.

        Of two chunks with the numbers 1 2 and 2 3, the first keeps its 1 and the second both.
        Takes a byte a number between the lowest and the highest; only where they are sparse, the
        numbers themselves.
        """
        base, span = self._numbers.lowest, self._numbers.highest - self._numbers.lowest + 1
        distinct = None
        if span > 16 * self.num_rows:
            distinct = np.unique(np.concatenate([_valid(self._read(c, 0)) for c in self._chunks]))
            span = len(distinct)
        seen = np.zeros(span, np.bool_)
        keeps = []
        for chunk in reversed(self._chunks):
            keep = np.ones(chunk.rows, np.bool_)
            if pieces := self._read(chunk, 0):
                numbers = _valid(pieces)
                ranks = numbers - base if distinct is None else np.searchsorted(distinct, numbers)
                keep[np.asarray(pieces[pa.int64()].is_valid())] = _unseen(ranks, seen)
            keeps.append(keep)
        return keeps[::-1]


def _normal(source: ValuePath, pieces: Pieces) -> Pieces:
    normal = {"seq_num": _seq_num, "time": _time}.get(source.key)
    return normal(pieces) if normal else pieces


def _is_valid(pieces: Pieces, rows: int) -> NDArray[np.bool_]:
    """Which rows have a sequence number."""
    array = pieces.get(pa.int64())
    return np.zeros(rows, np.bool_) if array is None else np.asarray(array.is_valid())


def _valid(pieces: Pieces) -> NDArray[np.int64]:
    """The sequence numbers there are, without nulls."""
    array = pieces.get(pa.int64(), pa.array([], pa.int64()))
    numbers: NDArray[np.int64] = array.drop_null().to_numpy()
    return numbers


def _unseen(ranks: NDArray[np.int64], seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of these ranks are the last of their kind and not `seen`; marks them as seen."""
    distinct, from_end = np.unique(ranks[::-1], return_index=True)
    last = np.zeros(len(ranks), np.bool_)
    last[len(ranks) - 1 - from_end] = True
    last &= ~seen[ranks]
    seen[distinct] = True
    return last


def read_columns(
    batches: Iterable[bytes],
    fields: Sequence[Field],
    *,
    timestamps: bool = False,
    groups: Mapping[str, int] | None = None,
) -> Columns:
    """Read all events into columns; close the result to free its temporary file.

    batches: concatenated BSON event documents, as ``find_raw_batches`` yields them, in the order
    of (time, _id); a few MiB each, since several copies of one are alive while it is received.
    fields: the columns wanted, in order, beside ``seq_num`` and ``time``.
    groups: descriptor uid → number of the group within which a sequence number is repeated; of
    events of one group, or of descriptors that are not named, it need not be given.
    Raises ValueError for a field asked for twice and ``bson.errors.InvalidBSON`` for batches that
    are no sequence of documents.
    """
    columns = Columns(_sources(fields, timestamps), groups or {})
    try:
        for data in _joined(batches):
            columns._append(data)
        columns._finish()
    except BaseException:
        columns.close()
        raise
    return columns
