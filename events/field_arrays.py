"""A field as an array: of a stream, first axis = its rows; or of one event.

The shape of a field in files is that of the file of the first event asked for; of a field in the
event documents, that of the value itself. The type of the latter follows from the data key, so
that all slices of a field have the same: number → float64, integer → int64, boolean → bool, arrays
as `dtype_numpy` says or else float64. Only where values do not fit that, they keep their own.

A row without a value is NaN among floats. Integers and booleans have no such value: refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import EllipsisType
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from events.arrays import UnsupportedArray, array_of
from events.files.assets import Datum, Layout, OutsideDatabase, is_served
from events.files.reader import ArrayData, ArrayReader
from events.files.slices import Axis, Item, Selection, SliceError, check_budget, resolve
from events.filling import Event, array_reader, as_datum, datum_ids
from events.repositories import LOOKUP_IDS, Events
from events.rows import Part, Rows
from events.sources import shape_of, shape_warning
from events.stream import Stream
from headers.streams import STREAM_REFERENCE

Array = NDArray[Any]
Dtype = np.dtype[Any]
Shape = tuple[int, ...]
DTYPES = {"number": np.dtype("<f8"), "integer": np.dtype("<i8"), "boolean": np.dtype("?")}
TABLE = "Ask the table route for it (csv, json, arrow …)."


class NoValue(Exception):
    """A row or an event has no value, and the type has no value that says so."""

    status: ClassVar[int] = 409


class Unrecorded(Exception):
    """Events refer to something that the run does not have."""

    status: ClassVar[int] = 410


@dataclass(frozen=True)
class FieldArray:
    """What was asked for, known before its values are read.

    warning: text of a ``Warning`` header, if files or values differ from what is declared.
    """

    shape: Shape
    dtype: Dtype
    warning: str | None
    read: Callable[[], ArrayData]

    def with_warning(self, text: str | None) -> "FieldArray":
        """The same, with a further warning if there is one."""
        return replace(self, warning=", ".join(filter(None, (self.warning, text))) or None)


# A stream ----------------------------------------------------------------------------------------


def of_stream(
    rows: Rows, stream: Stream, field: str, items: Sequence[Item], budget: int, *, head: bool
) -> FieldArray:
    """Some rows of a field; nothing but the first one's shape is looked at if `head`.

    Raises
    ------
    SliceError, OverBudget, UnsupportedArray
        It does not fit the array, the `budget` of bytes, or no array at all.
    NoValue, Unrecorded, OutsideDatabase, AssetError
        Values that are missing, or files that cannot be served.
    """
    key = stream.data_keys[field]
    external, is_array = bool(key.get("external")), key.get("dtype") == "array"
    if not external and key.get("dtype") == "string":
        raise UnsupportedArray(f"Texts are no array. {TABLE}")
    asked = _Asked.of(items, rows, key, budget)
    if not external and all(_value_shape(key)):
        # What is declared tells whether it is far too much, before a single value is read.
        with suppress(SliceError):  # declared wrongly, or else told below
            declared = asked.declared(key)
            if head and not is_array:
                return declared
    if not rows.hold(asked.rows[:1] if head else asked.rows):
        asked = _Asked.of(items, rows, key, budget)
    if not asked.rows:
        if external and not asked.count:
            _require_reference(key, field)
        return asked.declared(key)
    # Old runs may have the arrays in their events although the data key says otherwise.
    part = next(rows.parts(asked.rows[:1] if head else asked.rows))
    if external and part.values.null_count == len(part.values):
        _require_reference(key, field)
    if external and not pa.types.is_list(part.values.type):
        try:
            return _external(rows, stream, asked, key, head)
        except Unrecorded:
            _require_reference(key, field)
            raise
    return _inline(rows, asked, key, head)


@dataclass(frozen=True)
class _Asked:
    """The rows asked for: what the slice says, and as a list of rows."""

    items: Sequence[Item]
    count: int
    axis: Axis
    rows: range
    budget: int

    @classmethod
    def of(cls, items: Sequence[Item], rows: Rows, key: Mapping[str, Any], budget: int) -> "_Asked":
        axis = _event_axis(items, len(rows), 1 + len(shape_of(key)))
        listed = axis if isinstance(axis, range) else range(axis, axis + 1)
        return cls(items, len(rows), axis, listed, budget)

    def selection(self, inner: Shape, itemsize: int) -> Selection:
        """The slice applied to the whole array, once the shape of an event is known."""
        selection = resolve(self.items, (self.count, *inner))
        if selection.axes[0] != self.axis:
            shape = [self.count, *inner]
            raise SliceError(f"The array has shape {shape}: begin the slice with `:`, not `...`.")
        check_budget(selection, itemsize, self.budget)
        return selection

    def declared(self, key: Mapping[str, Any]) -> FieldArray:
        """An array as it is declared, without values."""
        dtype = declared_dtype(key)
        shape = self.selection(_value_shape(key), dtype.itemsize).shape
        return FieldArray(shape, dtype, None, lambda: ArrayData(shape, dtype, iter(())))


def _event_axis(items: Sequence[Item], count: int, axes: int) -> Axis:
    """What the slice takes of the event axis, before the others are known.

    axes: how many the array should have; it only matters for a slice that begins with ``...``.
    """
    first: Item = items[0] if items else slice(None)
    if isinstance(first, EllipsisType):
        first = items[1] if len(items) == axes + 1 else slice(None)
    return resolve([first], (count,)).axes[0]


def _external(
    rows: Rows, stream: Stream, asked: _Asked, key: Mapping[str, Any], head: bool
) -> FieldArray:
    events, reader = Events(stream.run), array_reader(stream.run)
    ids = list(_ids(rows, asked.rows[:1] if head else asked.rows))
    datums = _datums(events, asked.rows, ids[:LOOKUP_IDS])
    if len(asked.rows) == 1:
        layout, values = _glance(reader, datums[0], asked.items, (asked.count,), head)
    else:
        layout, values = reader.describe(datums[:1]), None
    selection = asked.selection(layout.shape, layout.dtype.itemsize)
    inner, stacked = Selection(selection.axes[1:]), isinstance(asked.axis, range)

    def read() -> ArrayData:
        if values is not None:
            return array_of(values.reshape(selection.shape))
        every = datums + _datums(events, asked.rows[LOOKUP_IDS:], ids[LOOKUP_IDS:])
        return reader.read(every, inner, layout, stacked=stacked)

    return FieldArray(selection.shape, layout.dtype, shape_warning(key, layout.shape), read)


def _ids(rows: Rows, wanted: range) -> Iterator[str]:
    for part in rows.parts(wanted):
        for row, value in zip(part.rows, part.values.to_pylist(), strict=True):
            if not isinstance(value, str):
                raise NoValue(f"Row {row} has no value: leave it out by a slice.")
            yield value


def _datums(events: Events, rows: Sequence[int], ids: Sequence[str]) -> list[Datum]:
    references = events.references(ids)
    for row, datum_id in zip(rows, ids, strict=False):
        if datum_id not in references:
            raise Unrecorded(f"Row {row}: what it refers to is not recorded with this run.")
    return [as_datum(references[datum_id]) for datum_id in ids]


def _inline(rows: Rows, asked: _Asked, key: Mapping[str, Any], head: bool) -> FieldArray:
    survey = _Survey.of(rows.parts(asked.rows[:1] if head else asked.rows), key)
    selection = asked.selection(survey.shape, survey.dtype.itemsize)
    inner = Selection(selection.axes[1:]).index

    def blocks() -> Iterator[Array]:
        for part in rows.parts(asked.rows):
            block = _values(part.values, survey.shape, survey.dtype)[(slice(None), *inner)]
            yield np.array(block if isinstance(asked.axis, range) else block[0], order="C")

    def read() -> ArrayData:
        return ArrayData(selection.shape, survey.dtype, blocks())

    warning = shape_warning(key, survey.shape) if key.get("dtype") == "array" else None
    return FieldArray(selection.shape, survey.dtype, warning, read)


@dataclass(frozen=True)
class _Survey:
    """Of values in event documents: the shape of one, and a type that holds all."""

    shape: Shape
    dtype: Dtype

    @classmethod
    def of(cls, parts: Iterator[Part], key: Mapping[str, Any]) -> "_Survey":
        declared, shapes, found, hole = declared_dtype(key), set[Shape](), set[Dtype](), None
        fits = True
        for part in parts:
            leaves, has_holes = _leaves(part.values)
            if has_holes and hole is None:
                hole = part.rows[0] if len(part.rows) == 1 else part.rows[_first_null(part.values)]
            if len(leaves) or part.values.null_count < len(part.values):
                shapes.add(_shape_of(part.values))
                found.add(leaves.dtype)
                fits = fits and _fits(leaves, declared)
        if len(shapes) > 1:
            raise UnsupportedArray(f"Rows have different shapes. {TABLE}")
        shape = next(iter(shapes), _value_shape(key))
        dtype = declared if fits else np.result_type(*found)
        if hole is not None and dtype.kind != "f":
            raise NoValue(f"Row {hole} has no value, and {dtype} none that says so. {TABLE}")
        return cls(shape, dtype)


def _first_null(values: pa.Array) -> int:
    """The first value that is null, or has a null in it if none is."""
    if not values.null_count:
        return next(at for at, value in enumerate(values) if _leaves(pa.array([value]))[1])
    return int(np.argmax(np.asarray(values.is_null())))


def _shape_of(values: pa.Array) -> Shape:
    """The shape of every value; they must be alike."""
    shape = []
    while pa.types.is_list(values.type):
        lengths = pc.unique(pc.list_value_length(values).drop_null()).to_pylist()
        if len(lengths) > 1:
            raise UnsupportedArray(f"Rows have different shapes. {TABLE}")
        shape.append(lengths[0] if lengths else 0)
        values = values.flatten()
    return tuple(shape)


def _leaves(values: pa.Array) -> tuple[Array, bool]:
    """All numbers in a row, without nulls, and whether there were nulls."""
    holes = values.null_count
    while pa.types.is_list(values.type):
        values = values.flatten()
        holes += values.null_count
    kind = values.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise UnsupportedArray(f"Some values are texts or no numbers. {TABLE}")
    return values.drop_null().to_numpy(zero_copy_only=False), bool(holes)


def _fits(values: Array, dtype: Dtype) -> bool:
    """Whether the type holds these values as they are."""
    if values.dtype == dtype:
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        return np.array_equal(values.astype(dtype), values, equal_nan=True)


def _values(values: pa.Array, shape: Shape, dtype: Dtype) -> Array:
    """Surveyed values, shape (rows, *shape); those that are missing are NaN."""
    present = np.asarray(values.is_valid())
    numbers = values.drop_null()
    while pa.types.is_list(numbers.type):
        numbers = numbers.flatten()
    out = np.full((len(values), *shape), np.nan if dtype.kind == "f" else 0, dtype)
    # Nulls within lists become NaN here; a type without NaN has none, as was surveyed.
    found = numbers.to_numpy(zero_copy_only=False)
    out[present] = found.reshape(np.count_nonzero(present), *shape)
    return out


# One event ---------------------------------------------------------------------------------------


def of_event(
    events: Events,
    event: Event,
    key: Mapping[str, Any],
    field: str,
    items: Sequence[Item],
    budget: int,
    *,
    head: bool,
) -> FieldArray:
    """A field, of this data key, of one event; no values if `head`. Raises as `of_stream` does."""
    data = event.get("data")
    value = data.get(field) if isinstance(data, Mapping) else None
    if key.get("external"):
        externals = {str(event.get("descriptor")): frozenset({field})}
        if ids := list(datum_ids(event, externals).values()):
            try:
                return _file_of_event(events, event, key, ids, items, budget, head)
            except Unrecorded:
                _require_reference(key, field)
                raise
    if value is None:
        if key.get("external"):
            _require_reference(key, field)
        raise NoValue(f"Event {event.get('uid')} has no value of {field!r}.")
    if isinstance(value, str):
        raise UnsupportedArray("A text is no array: it is in the event document.")
    whole = array_of(value)
    array = next(iter(whole.blocks))
    declared = declared_dtype(key)
    if _fits(array, declared):
        array = array.astype(declared)
    selection = resolve(items, array.shape)
    check_budget(selection, array.itemsize, budget)
    warning = shape_warning(key, array.shape) if key.get("dtype") == "array" else None
    chosen = array[selection.index]
    return FieldArray(selection.shape, array.dtype, warning, lambda: array_of(chosen))


def _file_of_event(
    events: Events,
    event: Event,
    key: Mapping[str, Any],
    ids: list[str],
    items: Sequence[Item],
    budget: int,
    head: bool,
) -> FieldArray:
    reader = array_reader(events.run)
    references = events.references(ids)
    if ids[0] not in references:
        raise Unrecorded(f"Event {event.get('uid')} refers to what is not recorded with this run.")
    datum = as_datum(references[ids[0]])
    layout, values = _glance(reader, datum, items, (), head)
    selection = resolve(items, layout.shape)
    check_budget(selection, layout.dtype.itemsize, budget)

    def read() -> ArrayData:
        if values is not None:
            return array_of(values)
        return reader.read([datum], selection, layout, stacked=False)

    return FieldArray(selection.shape, layout.dtype, shape_warning(key, layout.shape), read)


# Both --------------------------------------------------------------------------------------------


def _glance(
    reader: ArrayReader, datum: Datum, items: Sequence[Item], before: Shape, head: bool
) -> tuple[Layout, Array | None]:
    """`ArrayReader.glance`, without values for who wants the headers only."""
    return (reader.describe([datum]), None) if head else reader.glance(datum, items, before)


def declared_dtype(key: Mapping[str, Any]) -> Dtype:
    """The type of a field as its data key tells it, little-endian."""
    with suppress(TypeError, ValueError, SyntaxError):
        if isinstance(declared := key.get("dtype_numpy"), str):
            dtype = np.dtype(declared).newbyteorder("<")
            if is_served(dtype):
                return dtype
    return DTYPES.get(str(key.get("dtype")), np.dtype("<f8"))


def _value_shape(key: Mapping[str, Any]) -> Shape:
    """The shape of one value as it is declared; a number has none, whatever its data key says."""
    return shape_of(key) if key.get("dtype") == "array" else ()


def _require_reference(key: Mapping[str, Any], field: str) -> None:
    """For a field without a value; its data key alone proves nothing, as events may name datums."""
    if str(key["external"]).startswith(STREAM_REFERENCE):
        raise OutsideDatabase(field)
