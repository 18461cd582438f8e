"""What the adapters take from the other apps: values of streams as numpy arrays."""

import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import pyarrow as pa
from django.conf import settings
from numpy.typing import NDArray

from broker_site.encoding import to_json
from broker_site.problems import Problem
from events.arrays.fields import NoValue, Unrecorded, field_of
from events.arrays.formats import FORMATS, UnsupportedArray
from events.arrays.rows import Rows
from events.columns.columns import read_columns
from events.data_keys import declared_dtype, is_array, shape_of
from events.files.assets import AssetError, OutsideDatabase
from events.files.slices import Item, resolve
from events.repositories import Events
from events.stream import Stream

Array = NDArray[Any]
TIME = "time"
NOT_SERVED = (AssetError, OutsideDatabase, NoValue, Unrecorded)


def is_column(stream: Stream, field: str) -> bool:
    """Is the field declared to have one value an event, which stands in the event itself?"""
    key = stream.data_keys[field]
    return not key.get("external") and not is_array(key)


def columns(stream: Stream, names: Sequence[str], *, timestamps: bool) -> dict[str, Array]:
    """`time` and these fields, or when their values were taken; one value a row of the table.

    A field whose values are lists is left out.
    """
    batches = Events(stream.run).stream_batches(stream.uids)
    fields = stream.fields(names)
    read = read_columns(batches, fields, timestamps=timestamps, groups=stream.groups)
    with closing(read):
        _check_size(read.num_rows * 8 * (len(names) + 1))
        found = {TIME: _as_numpy(read, TIME)}
        at = 2 + (len(names) if timestamps else 0)
        for name, column in zip(names, read.schema.names[at:], strict=False):
            if not pa.types.is_list(read.schema.field(column).type):
                found[name] = _as_numpy(read, column)
    return found


def _as_numpy(read: Any, column: str) -> Array:
    kind = read.schema.field(column).type
    values = pa.chunked_array(list(read.column(column)), kind)
    if pa.types.is_string(kind):
        texts = ["" if text is None else text for text in values.to_pylist()]
        return np.array(texts, dtype=np.str_) if texts else np.array([], "<U1")
    if pa.types.is_null(kind):
        return np.full(len(values), np.nan)
    if values.null_count and not pa.types.is_floating(kind):
        values = values.cast(pa.int8()) if pa.types.is_boolean(kind) else values
        values = values.cast(pa.float64(), safe=False)
    return np.asarray(values.to_numpy())


def _check_size(nbytes: int) -> None:
    if nbytes > settings.RESPONSE_BYTES:
        limit = settings.RESPONSE_BYTES
        raise Problem(413, f"This is {nbytes} bytes; at most {limit} are served. Ask for less.")


def shape_and_dtype(stream: Stream, field: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """What reading an array field will give; as declared where it cannot be read.

    None: its values are no array.
    """
    with closing(Rows(stream, field)) as rows:
        try:
            layout = field_of(rows, (), sys.maxsize, head=True).layout()
        except UnsupportedArray:
            return None
        except NOT_SERVED:
            key = rows.data_key
            return (*rows.axes, *shape_of(key)), declared_dtype(key)
        return layout.shape, layout.dtype


def slice_of(
    stream: Stream, field: str, items: Sequence[Item]
) -> tuple[int, Generator[bytes, None, None]]:
    """Number of bytes of a part of an array field, and they: little-endian in C order."""
    with ExitStack() as opened:
        rows = opened.enter_context(closing(Rows(stream, field)))
        found = field_of(rows, items, settings.RESPONSE_BYTES)
        size = found.layout().nbytes
        return size, found.encoded(FORMATS["octet-stream"], opened.pop_all())


def part_of(array: Array, items: Sequence[Item]) -> Array:
    return np.asarray(array[resolve(items, array.shape).index])


def little_endian(array: Array) -> Array:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def configured(values: Sequence[Any]) -> Array:
    """Configuration values, one a descriptor; texts where they are of no common type."""
    try:
        array = np.array(["" if value is None else value for value in values])
    except ValueError:  # lists of different lengths
        array = np.array([], object)
    if array.dtype.kind in "biufU" and len(array) == len(values):
        return array if array.dtype.kind != "U" or _all_texts(values) else _texts(values)
    return _texts(values)


def _all_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str | None) for value in values)


def _texts(values: Sequence[Any]) -> Array:
    return np.array([v if isinstance(v, str) else to_json(v).decode() for v in values], np.str_)
