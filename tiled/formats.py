"""In which forms arrays and tables are sent: by the names that the clients give them."""

import csv
import io
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from broker_site import media_types
from broker_site.encoding import to_json
from broker_site.problems import Problem
from events.arrays.formats import FORMATS, ArrayFormat, Picture, Shape, UnsupportedArray
from events.columns.formats import ENCODERS
from events.files.reader import ArrayData
from tiled.tables import Array, Table

HDF5 = media_types.HDF5
RUN_ALIASES = {HDF5: ["h5", "hdf5"], media_types.JSON_SEQ: ["json-seq"]}
MAX_CSV_AXES = 2
SENT_BYTES = 2**20


def _write_csv(data: ArrayData, picture: Picture) -> Generator[bytes, None, None]:
    """A line for each row; one axis: one value a line."""
    for block in data.blocks:
        rows = np.atleast_1d(block)
        width = data.shape[-1] if len(data.shape) == MAX_CSV_AXES else 1
        yield _lines(rows.reshape(-1, width))


def _lines(rows: Array) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows.tolist())
    return out.getvalue().encode()


class _CSV(ArrayFormat):
    def check(self, shape: Shape, dtype: np.dtype[Any]) -> None:
        super().check(shape, dtype)
        if len(shape) > MAX_CSV_AXES:
            raise UnsupportedArray(f"csv has two axes; this is {list(shape)}. Slice it.")


CSV = _CSV(media_types.CSV, "csv", write=_write_csv)
ARRAYS: Mapping[str, ArrayFormat] = {
    **{FORMATS[name].media_type: FORMATS[name] for name in ("octet-stream", "npy", "json", "h5")},
    **{FORMATS[name].media_type: FORMATS[name] for name in ("png", "tiff")},
    media_types.CSV: CSV,
    media_types.TEXT: CSV,
}
ARRAY_ALIASES = {
    media_types.NPY: ["npy"],
    media_types.JSON: ["json"],
    media_types.HDF5: ["h5", "hdf5"],
    media_types.PNG: ["png"],
    media_types.TIFF: ["tif", "tiff"],
    media_types.CSV: ["csv"],
    media_types.TEXT: ["txt", "text"],
}


class Outbox(io.RawIOBase):
    """A file to write to that hands over what was written so far."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def arrow_file(table: Table) -> Generator[bytes, None, None]:
    """Batch by batch; the index of batches, which makes a stream a file, comes last."""
    with table:
        outbox = Outbox()
        with pa.ipc.new_file(pa.PythonFile(outbox, mode="w"), table.schema) as writer:
            for batch in table.batches():
                writer.write_batch(batch)
                yield outbox.take()
        yield outbox.take()


def hdf5(table: Table) -> Generator[bytes, None, None]:
    """A dataset a column, in a file that is written before it is sent."""
    with table, tempfile.NamedTemporaryFile(suffix=".h5") as file:
        with h5py.File(file.name, "w") as h5:
            for field in table.schema:
                _write_column(h5, field, table)
        while piece := file.read(SENT_BYTES):
            yield piece


def _write_column(h5: h5py.File, field: pa.Field, table: Table) -> None:
    text = pa.types.is_string(field.type)
    dtype = h5py.string_dtype() if text else field.type.to_pandas_dtype()
    dataset = h5.create_dataset(field.name, (table.num_rows,), dtype)
    done = 0
    for part in table.column(field.name):
        # Texts in HDF5 end at the first NUL.
        plain = pc.replace_substring(part, "\0", "\ufffd") if text else part
        dataset[done : done + len(part)] = plain.to_numpy(zero_copy_only=False)
        done += len(part)


TABLES: Mapping[str, Callable[[Any], Generator[bytes, None, None]]] = {
    media_types.ARROW_FILE: arrow_file,
    media_types.X_PARQUET: ENCODERS["parquet"].encode,
    media_types.CSV: ENCODERS["csv"].encode,
    media_types.JSON: ENCODERS["json"].encode,
    HDF5: hdf5,
}
TABLE_ALIASES = {
    media_types.ARROW_FILE: ["arrow", "feather"],
    media_types.X_PARQUET: ["parquet"],
    media_types.CSV: ["csv"],
    media_types.JSON: ["json"],
    HDF5: ["h5", "hdf5"],
}


def media_type(asked: str, aliases: Mapping[str, list[str]], default: str) -> str:
    """What a `format` or an Accept header names. Problem (406) lists what there is."""
    names = {alias: kind for kind, found in aliases.items() for alias in found}
    for part in asked.split(","):
        name = part.partition(";")[0].strip().lower()
        if name in ("", "*/*", default):
            return default
        if name in aliases or name in names:
            return names.get(name, name)
    there = ", ".join(sorted([default, *names]))
    raise Problem(406, f"format: {asked[:50]!r} is not served here; there are {there}.")


def encoded(array: Array, kind: ArrayFormat) -> Iterator[bytes]:
    """An array that is in memory."""
    if array.dtype.kind != "U":
        kind.check(array.shape, array.dtype)
        little = np.asarray(array, array.dtype.newbyteorder("<"), "C")
        return kind.encode(ArrayData(little.shape, little.dtype, iter([little])))
    if kind is FORMATS["octet-stream"]:
        return iter([np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()])
    if kind is FORMATS["json"]:
        return iter([to_json(array.tolist())])
    raise UnsupportedArray("Texts are served as octets or json, and in tables.")
