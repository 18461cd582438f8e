"""What the adapters take from the other apps: values of streams as numpy arrays."""

import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
from django.conf import settings

from broker_site.encoding import to_json
from events.arrays.fields import NoValue, Unrecorded, field_of
from events.arrays.formats import ArrayFormat, UnsupportedArray
from events.arrays.streamed import StreamedRows, rows_of
from events.data_keys import declared_dtype, is_array, shape_of
from events.files.assets import AssetError, OutsideDatabase
from events.files.slices import Item, resolve
from events.stream import Stream
from headers.descriptors import is_outside
from tiled.snapshots import Snapshot
from tiled.tables import Array, Values

NOT_SERVED = (AssetError, OutsideDatabase, NoValue, Unrecorded)


def is_column(stream: Stream, field: str) -> bool:
    """Is the field declared to have one value an event, which stands in the event itself?"""
    key = stream.data_keys[field]
    return not key.get("external") and not is_array(key)


def shape_and_dtype(stream: Snapshot, field: str) -> tuple[tuple[int, ...], np.dtype[Any]] | None:
    """What reading an array field will give; as declared where it cannot be read.

    None: its values are no array.
    """
    with closing(rows_of(stream, field)) as rows:
        try:
            layout = field_of(rows, (), sys.maxsize, head=True).layout()
        except UnsupportedArray:
            return None
        except NOT_SERVED:
            key = rows.data_key
            return stream.bounded((*rows.axes, *shape_of(key))), declared_dtype(key)
        return stream.bounded(layout.shape), layout.dtype


def has_events(stream: Stream, field: str) -> bool:
    """Are the rows of the field events, or are there files alone?"""
    if not is_outside(stream.data_keys[field]):
        return True
    with closing(rows_of(stream, field)) as rows:
        return not isinstance(rows, StreamedRows)


def slice_of(
    stream: Snapshot, field: str, items: Sequence[Item], kind: ArrayFormat
) -> tuple[int | None, Generator[bytes, None, None]]:
    """A part of an array field in a format, and how many bytes that is, if known."""
    with ExitStack() as opened:
        rows = opened.enter_context(closing(rows_of(stream, field)))
        found = field_of(rows, items, settings.RESPONSE_BYTES)
        layout = found.layout()
        kind.check(layout.shape, layout.dtype)
        size = kind.length(layout.shape, layout.dtype)
        return size, found.encoded(kind, opened.pop_all())


def part_of(array: Array | Values, items: Sequence[Item]) -> Array:
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
