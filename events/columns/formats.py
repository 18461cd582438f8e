"""Columns to the wire formats of a table, streamed.

=========  =======================================================================================
format     is
=========  =======================================================================================
arrow      IPC stream of record batches
parquet    zstd-compressed, row groups of about ``ROW_GROUP_BYTES``
csv        header row; nulls are empty, lists JSON, NaN ``nan``, ±Inf ``inf`` and ``-inf``. A text
           cell that a spreadsheet might take for a formula has ``'`` put in front; numbers never
json       ``{"seq_num": […], "time": […], …}``; NaN and ±Inf are null
ndjson     one object a row; NaN and ±Inf are null
msgpack    the same map of lists as json, with NaN and ±Inf as they are
=========  =======================================================================================

Every encoder is a generator that closes the columns it is given when it ends or is closed.
"""

import io
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import msgpack
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from broker_site import media_types
from events.columns.columns import Columns

ROW_GROUP_BYTES = 8 * 2**20
PYTHON_BYTES = 2**19  # of Arrow values made into Python objects at once

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_FORMULA = r"(\A|;)\s*[=+\-@＝＋－＠]|\A[\t\r\n]"
"""Also signs of full width, which some spreadsheets take for the usual ones, and such a sign behind
`;`, at which others divide cells."""


class _Outbox(io.RawIOBase):
    """A file to write that hands over what was written so far."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._taken = 0
        self._length = 0

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        self._length += len(data)
        return len(data)

    def tell(self) -> int:
        return self._length

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _arrow(columns: Columns) -> Generator[bytes, None, None]:
    with columns:
        yield columns.schema.serialize().to_pybytes()
        for batch in columns.batches():
            yield batch.serialize().to_pybytes()
        yield _END_OF_STREAM


def _parquet(columns: Columns) -> Generator[bytes, None, None]:
    with columns:
        outbox = _Outbox()
        options = {"compression": "zstd", "compression_level": 1, "use_dictionary": _texts(columns)}
        with pa.parquet.ParquetWriter(outbox, columns.schema, **options) as writer:
            for table in _row_groups(columns):
                writer.write_table(table)
                yield outbox.take()
        yield outbox.take()


def _texts(columns: Columns) -> list[str]:
    """The columns in which values are likely to recur; measurements do not."""
    return [field.name for field in columns.schema if pa.types.is_string(field.type)]


def _row_groups(columns: Columns) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    for batch in columns.batches():
        waiting.append(batch)
        if sum(part.nbytes for part in waiting) >= ROW_GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting)


def _csv(columns: Columns) -> Generator[bytes, None, None]:
    with columns:
        yield _csv_lines([pa.array([name]) for name in columns.schema.names])
        for batch in columns.batches():
            yield _csv_lines(batch.columns)


def _csv_lines(columns: list[pa.Array]) -> bytes:
    names = [str(position) for position in range(len(columns))]
    cells = pa.RecordBatch.from_arrays(list(map(_csv_cells, columns)), names)
    out = pa.BufferOutputStream()
    pa.csv.write_csv(cells, out, pa.csv.WriteOptions(include_header=False))
    return bytes(out.getvalue())


def _csv_cells(column: pa.Array) -> pa.Array:
    if pa.types.is_list(column.type):
        column = pa.array([None if v is None else _json(v).decode() for v in column.to_pylist()])
    if pa.types.is_string(column.type):
        quoted = pc.binary_join_element_wise("'", column, "")
        return pc.if_else(pc.match_substring_regex(column, _FORMULA), quoted, column)
    return column


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _slices(array: pa.Array | pa.RecordBatch) -> Iterator[pa.Array | pa.RecordBatch]:
    """Parts small enough to be made into Python objects."""
    step = max(1, PYTHON_BYTES * len(array) // max(1, array.nbytes))
    return (array.slice(start, step) for start in range(0, len(array), step))


def _json_cells(array: pa.Array) -> list[bytes]:
    """Every value as JSON. array: not empty."""
    if pa.types.is_floating(array.type):
        array = array.fill_null(float("nan"))
    if pa.types.is_primitive(array.type) and not array.null_count:
        return _json(array.to_numpy(zero_copy_only=False))[1:-1].split(b",")
    return [_json(value) for value in array.to_pylist()]


def _json_columns(columns: Columns) -> Generator[bytes, None, None]:
    with columns:
        for position, name in enumerate(columns.schema.names):
            yield (b"," if position else b"{") + _json(name) + b":"
            separator = b"["
            for array in columns.column(name):
                for part in _slices(array):
                    yield separator + b",".join(_json_cells(part))
                    separator = b","
            yield b"]" if separator == b"," else b"[]"
        yield b"}"


def _ndjson(columns: Columns) -> Generator[bytes, None, None]:
    with columns:
        keys = [_json(name).replace(b"%", b"%%") + b":%b" for name in columns.schema.names]
        row = b"{" + b",".join(keys) + b"}\n"
        for batch in columns.batches():
            for part in _slices(batch):
                cells = zip(*map(_json_cells, part.columns), strict=True)
                yield b"".join([row % values for values in cells])


def _msgpack(columns: Columns) -> Generator[bytes, None, None]:
    with columns:
        packer = msgpack.Packer()
        yield packer.pack_map_header(len(columns.schema))
        for name in columns.schema.names:
            yield packer.pack(name) + packer.pack_array_header(columns.num_rows)
            for array in columns.column(name):
                for part in _slices(array):
                    yield b"".join(map(packer.pack, part.to_pylist()))


@dataclass(frozen=True)
class TableFormat:
    """A wire format; `encode` closes the columns it is given."""

    media_type: str
    extension: str
    encode: Callable[[Columns], Generator[bytes, None, None]]


ENCODERS = {
    "arrow": TableFormat(media_types.ARROW_STREAM, "arrows", _arrow),
    "parquet": TableFormat(media_types.PARQUET, "parquet", _parquet),
    "csv": TableFormat(media_types.CSV, "csv", _csv),
    "json": TableFormat(media_types.JSON, "json", _json_columns),
    "ndjson": TableFormat(media_types.NDJSON, "ndjson", _ndjson),
    "msgpack": TableFormat(media_types.MSGPACK, "msgpack", _msgpack),
}
