"""The values of a stream that stand in its events, as the clients take them: without nulls.

They are read from the database once, into a temporary file where they are many, and from there
column by column or batch by batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from events.columns.columns import Columns, read_columns
from events.repositories import Events
from tiled.snapshots import Snapshot

TIME = "time"
ROW = "seq_num"
"""the first axis where there are no events, and so no times"""
Array = NDArray[Any]


class Table:
    """Columns of the events of a stream; to be closed.

    Nulls are NaN and empty texts, as a numpy array holds them. A field of lists has no column.
    """

    def __init__(self, read: Columns, columns: Mapping[str, str], rows: int | None = None) -> None:
        """columns: name here → name in what was read. rows: only the first ones."""
        self._read = read
        self._rows = read.num_rows if rows is None else min(rows, read.num_rows)
        self._columns = {
            name: column
            for name, column in columns.items()
            if not pa.types.is_list(read.schema.field(column).type)
        }
        self.schema = pa.schema([(name, self._type(name)) for name in self._columns])

    @classmethod
    def of(cls, stream: Snapshot, names: Sequence[str], *, timestamps: bool = False) -> Self:
        """`time` and fields of these names, or when the fields' values were taken."""
        fields = [name for name in names if name != TIME]
        read = _read(stream, fields, timestamps)
        at = 2 + (len(fields) if timestamps else 0)
        found = {TIME: TIME} | dict(zip(fields, read.schema.names[at:], strict=False))
        return cls(read, {name: found[name] for name in names if name in found}, stream.rows)

    @classmethod
    def internal(cls, stream: Snapshot, scalars: Sequence[str], names: Sequence[str]) -> Self:
        """`seq_num`, `time`, the values of some fields, and `ts_…` of all, as TiledWriter names
        them. A column whose name begins with `_` the clients do not take.
        """
        read = _read(stream, names, True)
        values, moments = read.schema.names[2 : 2 + len(names)], read.schema.names[2 + len(names) :]
        columns = {"seq_num": "seq_num", TIME: TIME}
        for name, column in zip(names, values, strict=True):
            if name in scalars:
                columns.setdefault(f"{name}_" if name in columns else name, column)
        for name, column in zip(names, moments, strict=True):
            columns.setdefault(f"ts_{name}", column)
        kept = {n: column for n, column in columns.items() if not n.startswith("_")}
        return cls(read, kept, stream.rows)

    def narrowed(self, names: Sequence[str]) -> "Table":
        """Over the same file, with these columns only; KeyError for one that is not there."""
        return Table(self._read, {name: self._columns[name] for name in names}, self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._read.close()

    @property
    def num_rows(self) -> int:
        return self._rows

    def column(self, name: str) -> Iterator[pa.Array]:
        """The values in order, some ten thousand at once."""
        kind = self.schema.field(name).type
        return (_without_nulls(part, kind) for part in self._stored(name))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in order, some ten thousand at once."""
        for parts in zip(*map(self.column, self.schema.names), strict=True):
            yield pa.RecordBatch.from_arrays(list(parts), schema=self.schema)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Of the column as a numpy array: a text is as long as the longest."""
        kind = self.schema.field(name).type
        if not pa.types.is_string(kind):
            found: np.dtype[Any] = np.dtype(kind.to_pandas_dtype()).newbyteorder("<")
            return found
        lengths = (pc.max(pc.utf8_length(part)).as_py() or 0 for part in self.column(name))
        return np.dtype(f"<U{max(1, max(lengths, default=0))}")

    def values(self, name: str) -> "Values":
        kind = self.schema.field(name).type
        return Values(pa.chunked_array(list(self.column(name)), kind), self.dtype(name))

    def _stored(self, name: str) -> Iterator[pa.Array]:
        left = self._rows
        for part in self._read.column(self._columns[name]):
            if left <= 0:
                return
            yield part if len(part) <= left else part.slice(0, left)
            left -= len(part)

    def _type(self, name: str) -> pa.DataType:
        kind = self._read.schema.field(self._columns[name]).type
        if pa.types.is_string(kind) or pa.types.is_floating(kind):
            return kind
        lacks = pa.types.is_null(kind) or any(part.null_count for part in self._stored(name))
        return pa.float64() if lacks else kind


def _read(stream: Snapshot, names: Sequence[str], timestamps: bool) -> Columns:
    batches = Events(stream.run).stream_batches(stream.uids)
    fields = stream.fields(names)
    return read_columns(batches, fields, timestamps=timestamps, groups=stream.groups)


class HeldTable:
    """The same of arrays that are in memory."""

    def __init__(self, columns: Mapping[str, Array]) -> None:
        self._table = pa.table({name: pa.array(values) for name, values in columns.items()})
        self.schema, self.num_rows = self._table.schema, self._table.num_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """There is nothing to free."""

    def column(self, name: str) -> Iterator[pa.Array]:
        return iter(self._table.column(name).chunks)

    def batches(self) -> Iterator[pa.RecordBatch]:
        return iter(self._table.to_batches())


def _without_nulls(part: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(part.type) and part.type != kind:
        part = part.cast(pa.int8())
    part = part if part.type == kind else part.cast(kind, safe=False)
    if not part.null_count:
        return part
    return part.fill_null("" if pa.types.is_string(kind) else float("nan"))


@dataclass(frozen=True)
class Values:
    """One column, of which parts become numpy arrays: texts take much more room there."""

    stored: pa.ChunkedArray
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int]:
        return (len(self.stored),)

    def __getitem__(self, index: Any) -> Array:
        """index: as resolved for one axis."""
        if self.dtype.kind != "U":
            return np.asarray(self.stored.to_numpy()[index])
        places = np.arange(len(self.stored))[index]
        texts = self.stored.take(pa.array(np.atleast_1d(places))).to_pylist()
        return np.array(texts, self.dtype).reshape(places.shape)
