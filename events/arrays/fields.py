"""A field as an array: of the rows of a stream, or of one event, which is a stream of one row.

A field is of one of two kinds, and tells the same of either: `layout`, what the array will be,
before values are sent; and `blocks`, the values, in the order of the rows and in bounded memory.

`FileField`: its values are in files, and their shape is that of the file of the first row asked
for. `InlineField`: they are in the event documents, and their shape is their own. The type of the
latter follows from the data key, so that all slices of a field have the same: number → float64,
integer → int64, boolean → bool, arrays as `dtype_numpy` says or else float64. Only where values do
not fit that, they keep their own.

A row without a value is NaN among floats. Integers and booleans have no such value: refused.
"""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from types import EllipsisType
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from events.arrays.datums import array_reader, recorded_datums
from events.arrays.formats import ArrayFormat, Picture, UnsupportedArray
from events.arrays.rows import Rows, RowValues
from events.arrays.streamed import Streamed
from events.arrays.values import holds, is_numeric, leaves, row_shape, stacked
from events.data_keys import DataKey, declared_dtype, is_array, shape_of, shape_warning, value_shape
from events.files.assets import Datum, Layout, OutsideDatabase
from events.files.reader import ArrayData, ArrayReader
from events.files.slices import Axis, Item, Selection, SliceError, check_budget, resolve
from events.repositories import LOOKUP_IDS, Events
from headers.descriptors import is_outside

Array = NDArray[Any]
Dtype = np.dtype[Any]
Shape = tuple[int, ...]
NO_ROWS = range(0)


class NoValue(Exception):
    """A row or an event has no value, and the type has no value that says so."""

    status: ClassVar[int] = 409


class Unrecorded(Exception):
    """Events refer to something that the run does not have."""

    status: ClassVar[int] = 410


@dataclass(frozen=True)
class FieldLayout:
    """What an array is: shape and little-endian type.

    warning: text of a ``Warning`` header, if files or values differ from what is declared.
    """

    shape: Shape
    dtype: Dtype
    warning: str | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Cut:
    """What a slice takes of rows, and of each row once the shape of a value is known.

    ``slice=2:9:3,0`` of 10 rows (`axes` is (10,)) takes the `rows` 2, 5 and 8; of values of shape
    (4, 6) it then selects an array of shape (3, 6). One event adds no axis (`axes` is ()): there
    ``slice=0`` selects shape (6,) of its one value.
    """

    items: Sequence[Item]
    axes: Shape
    axis: Axis
    """of the rows; a number if the slice takes away their axis, or there is none"""
    budget: int
    """bytes"""

    @classmethod
    def of(cls, items: Sequence[Item], rows: Rows, budget: int) -> "Cut":
        axes = rows.axes
        axis = _row_axis(items, axes[0], 1 + len(shape_of(rows.data_key))) if axes else 0
        return cls(items, axes, axis, budget)

    @classmethod
    def whole(cls, count: int) -> "Cut":
        """So many rows, all of each."""
        return cls((), (count,), range(count), sys.maxsize)

    @property
    def is_stacked(self) -> bool:
        """Does the result have an axis of rows?"""
        return isinstance(self.axis, range)

    @property
    def rows(self) -> range:
        """The numbers of the rows that are taken."""
        return self.axis if isinstance(self.axis, range) else range(self.axis, self.axis + 1)

    def selection(self, inner: Shape, itemsize: int) -> Selection:
        """The slice applied to the whole array, `inner` being the shape of a value.

        Raises
        ------
        SliceError, OverBudget
            It does not fit the array, or the budget.
        """
        selection = resolve(self.items, (*self.axes, *inner))
        if self.axes and selection.axes[0] != self.axis:
            shape = [*self.axes, *inner]
            raise SliceError(f"The array has shape {shape}: begin the slice with `:`, not `...`.")
        check_budget(selection, itemsize, self.budget)
        return selection

    def inner(self, selection: Selection) -> Selection:
        """The part of a selection that is of each value."""
        return Selection(selection.axes[len(self.axes) :])


def _row_axis(items: Sequence[Item], count: int, axes: int) -> Axis:
    """What the slice takes of the rows, before the other axes are known.

    axes: how many the array should have; it only matters for a slice that begins with ``...``.
    """
    first: Item = items[0] if items else slice(None)
    if isinstance(first, EllipsisType):
        first = items[1] if len(items) == axes + 1 else slice(None)
    return resolve([first], (count,)).axes[0]


@dataclass(frozen=True)
class ArrayField(ABC):
    """What a slice takes of a field."""

    data_key: DataKey
    cut: Cut

    @property
    @abstractmethod
    def of_row(self) -> tuple[Shape, Dtype]:
        """The shape of a row's value and the type of all. Raises as `layout`."""

    @cached_property
    def selection(self) -> Selection:
        shape, dtype = self.of_row
        return self.cut.selection(shape, dtype.itemsize)

    def layout(self) -> FieldLayout:
        """What the array is.

        Raises
        ------
        SliceError, OverBudget, UnsupportedArray
            The slice does not fit the array, the array not the budget, or the values are none.
        NoValue, AssetError
            Values that are missing, or a file that cannot be served.
        """
        shape, dtype = self.of_row
        differs = is_array(self.data_key) or self.data_key.get("external")
        warning = shape_warning(self.data_key, shape) if differs else None
        return FieldLayout(self.selection.shape, dtype, warning)

    @abstractmethod
    def blocks(self) -> Iterator[Array]:
        """The values, as `ArrayData` has them. Raises as `layout`, and Unrecorded."""

    def encoded(
        self, kind: ArrayFormat, opened: ExitStack, picture: Picture | None = None
    ) -> Generator[bytes, None, None]:
        """The array in a wire format, piece by piece. opened: closed with the last one."""
        with opened:
            layout = self.layout()
            data = ArrayData(layout.shape, layout.dtype, self.blocks())
            yield from kind.encode(data, picture)


def field_of(rows: Rows, items: Sequence[Item], budget: int, *, head: bool = False) -> ArrayField:
    """The field of these rows, of the kind that its values are.

    Nothing but the first row's layout is looked at if `head`.

    Raises
    ------
    SliceError, OverBudget, UnsupportedArray
        It does not fit the rows, the `budget` of bytes as declared, or is a text.
    NoValue, Unrecorded, OutsideDatabase
        Values that are missing, or that are not in this database.
    """
    key = rows.data_key
    if not key.get("external") and key.get("dtype") == "string":
        raise UnsupportedArray(f"Texts are no array. {rows.elsewhere}")
    cut = Cut.of(items, rows, budget)
    declared = _declared(rows, cut)
    if head and declared and not is_array(key):
        return declared
    if not rows.hold(cut.rows[:1] if head else cut.rows):
        cut = Cut.of(items, rows, budget)
    looked_at = cut.rows[:1] if head else cut.rows
    part = next(rows.parts(looked_at), None)
    if part is None or part.values.null_count == len(part.values):
        if part is not None and is_outside(key):
            return _stream_field(rows, cut, looked_at, head=head)
        _check_missing(rows, part)
    # Old runs may have the values in their events although the data key says otherwise.
    if part is not None and key.get("external") and pa.types.is_string(part.values.type):
        return _file_field(rows, cut, looked_at, head=head)
    return InlineField(key, cut, rows, looked_at)


def _declared(rows: Rows, cut: Cut) -> ArrayField | None:
    """The field as declared, before a value is read: far too much is refused then already."""
    key = rows.data_key
    if not rows.is_in_memory and not key.get("external") and all(value_shape(key)):
        with suppress(SliceError):  # declared wrongly, or else told when values were read
            field = InlineField(key, cut, rows, NO_ROWS)
            field.layout()
            return field
    return None


def _check_missing(rows: Rows, part: RowValues | None) -> None:
    """Refuse a field without a single value, unless there is an array of no values."""
    if rows.data_key.get("external") and (part is not None or rows.axes == (0,)):
        _require_reference(rows)
    if part is not None and not rows.axes:
        raise NoValue(f"{rows.called(0)} has no value of {rows.field!r}.")


def _require_reference(rows: Rows) -> None:
    """For a field without a value; its data key alone proves nothing, as events may name datums."""
    if is_outside(rows.data_key):
        raise OutsideDatabase(rows.field)


# In the event documents ----------------------------------------------------------------------


@dataclass(frozen=True)
class InlineField(ArrayField):
    """Values that are in the events.

    looked_at: the rows whose values tell the layout; without any, it is as declared.
    """

    rows: Rows
    looked_at: range

    @cached_property
    def of_row(self) -> tuple[Shape, Dtype]:
        declared = declared_dtype(self.data_key)
        shapes, dtype, gap = set[Shape | None](), declared, None
        for part in self.rows.parts(self.looked_at):
            numbers, present = self._numbers(part), part.values.drop_null()
            if gap is None and (numbers.null_count or part.values.null_count):
                gap = part.rows[_first_gap(part.values)]
            if len(present):
                shapes.add(row_shape(present))
                values = numbers.drop_null().to_numpy(zero_copy_only=False)
                dtype = dtype if holds(dtype, values) else values.dtype
        shape = shapes.pop() if shapes else value_shape(self.data_key)
        if shapes or shape is None:
            raise UnsupportedArray(f"Rows have different shapes. {self.rows.elsewhere}")
        if gap is not None and dtype.kind != "f":
            what = f"{self.rows.called(gap)} has no value, and {dtype} none that says so."
            raise NoValue(f"{what} {self.rows.elsewhere}")
        return shape, dtype

    def blocks(self) -> Iterator[Array]:
        shape, dtype = self.of_row
        inner = self.cut.inner(self.selection).index
        for part in self.rows.parts(self.cut.rows):
            block = stacked(part.values, shape, dtype)[(slice(None), *inner)]
            yield np.array(block if self.cut.is_stacked else block[0], order="C")

    def _numbers(self, part: RowValues) -> pa.Array:
        numbers = leaves(part.values)
        if not is_numeric(numbers.type):
            raise UnsupportedArray(f"Some values are texts or no numbers. {self.rows.elsewhere}")
        return numbers


def _first_gap(values: pa.Array) -> int:
    """The first value that is null, or has a null in it if none is."""
    if not values.null_count:
        return next(at for at in range(len(values)) if leaves(values[at : at + 1]).null_count)
    return int(np.argmax(np.asarray(values.is_null())))


# In files ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileField(ArrayField):
    """Values that are in files: one datum a row, all of one shape.

    datums: those of the first rows, at least one; further: gives those of all other rows.
    """

    reader: ArrayReader
    datums: Sequence[Datum]
    further: Callable[[], Sequence[Datum]] = tuple
    head: bool = False

    @property
    def of_row(self) -> tuple[Shape, Dtype]:
        layout, _ = self._first
        return layout.shape, layout.dtype

    def blocks(self) -> Iterator[Array]:
        layout, values = self._first
        if values is not None:
            return iter([values.reshape(self.selection.shape)])
        every, inner = [*self.datums, *self.further()], self.cut.inner(self.selection)
        return self.reader.read(every, inner, layout, stacked=self.cut.is_stacked).blocks

    @cached_property
    def _first(self) -> tuple[Layout, Array | None]:
        """The layout of the first row; what the slice takes of it, too, if that is all and little:
        one question to a reader then instead of two.
        """
        if self.head or len(self.cut.rows) > 1:
            return self.reader.describe(self.datums[:1]), None
        return self.reader.glance(self.datums[0], self.cut.items, self.cut.axes)


def _stream_field(rows: Rows, cut: Cut, looked_at: range, *, head: bool) -> FileField:
    """The field whose values are where stream_datums say. OutsideDatabase: there are none."""
    run = rows.stream.run
    numbers = rows.seq_nums(looked_at)
    known = Streamed(Events(run)).datums(rows.field, rows.data_key, rows.stream.uids, numbers)
    if not known:
        raise OutsideDatabase(rows.field)
    datums = list[Datum]()
    for row, number in zip(looked_at, numbers, strict=True):
        if number not in known:
            raise Unrecorded(f"No stream_datum of the run is about {rows.called(row)}.")
        datums.append(known[number])
    return FileField(rows.data_key, cut, array_reader(run), datums, head=head)


def _file_field(rows: Rows, cut: Cut, looked_at: range, *, head: bool) -> FileField:
    run = rows.stream.run
    events, ids = Events(run), list(_datum_ids(rows, looked_at))

    def datums(part: slice) -> list[Datum]:
        return _datums(rows, events, looked_at[part], ids[part])

    try:
        first = datums(slice(LOOKUP_IDS))
    except Unrecorded:
        _require_reference(rows)
        raise
    further = slice(LOOKUP_IDS, None)
    return FileField(
        rows.data_key, cut, array_reader(run), first, lambda: datums(further), head=head
    )


def _datum_ids(rows: Rows, wanted: range) -> Iterator[str]:
    for part in rows.parts(wanted):
        for row, value in zip(part.rows, part.values.to_pylist(), strict=True):
            if value is None:
                raise NoValue(f"{rows.called(row)} has no value: leave it out by a slice.")
            yield value


def _datums(rows: Rows, events: Events, numbers: range, ids: Sequence[str]) -> list[Datum]:
    found = recorded_datums(events, ids)
    for row, datum_id in zip(numbers, ids, strict=True):
        if datum_id not in found:
            raise Unrecorded(f"{rows.called(row)} refers to what is not recorded with this run.")
    return [found[datum_id] for datum_id in ids]
