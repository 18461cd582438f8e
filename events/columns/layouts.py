"""Values of BSON documents as numpy views, where documents share one byte layout.

Events of one descriptor nearly always do. The bytes that are not values are compared once with
those of the first document; then a column is a strided view of the raw batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
from bson.errors import InvalidBSON
from numpy.typing import NDArray

BLOCK_BYTES = 2**18  # compared at once, so that it stays in the processor's cache

Bytes = NDArray[np.uint8]
Pieces = dict[pa.DataType, pa.Array]
"""Values of one column by the type they were stored with; each of full length, null elsewhere."""


class ValuePath(NamedTuple):
    """Where a column's values are in an event: `key` of the subdocument `within` (``""``: top)."""

    column: str
    within: str
    key: str
    default: pa.DataType


_DOUBLE, _STRING, _DOCUMENT, _ARRAY, _BINARY = 0x01, 0x02, 0x03, 0x04, 0x05
_BOOL, _NULL, _REGEX, _DBPOINTER, _INT32, _INT64 = 0x08, 0x0A, 0x0B, 0x0C, 0x10, 0x12
_FIXED_SIZES = {_DOUBLE: 8, 0x06: 0, 0x07: 12, _BOOL: 1, 0x09: 8, _NULL: 0, _INT32: 4, 0x11: 8}
_FIXED_SIZES |= {_INT64: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}
# Bytes that come on top of the length a value begins with.
_LENGTH_EXTRAS = {_STRING: 4, _DOCUMENT: 0, _ARRAY: 0, _BINARY: 5, _DBPOINTER: 16, 0x0D: 4}
_LENGTH_EXTRAS |= {0x0E: 4, 0x0F: 0}
_VIEWS: dict[int, tuple[str, pa.DataType]] = {
    _DOUBLE: ("<f8", pa.float64()),
    _INT32: ("<i4", pa.int64()),
    _INT64: ("<i8", pa.int64()),
    _BOOL: ("?", pa.bool_()),
}


class _Element(NamedTuple):
    """One element of a BSON document; its value is ``document[start:end]``."""

    key: bytes
    type: int
    start: int
    end: int

    def free(self, mask: Bytes) -> None:
        """Let the value's bytes vary, except those that decide where the next element is."""
        if self.type in _LENGTH_EXTRAS:
            mask[self.start + 4 : self.end] = 0
        elif self.type != _REGEX:
            mask[self.start : self.end] = 0


def int32(document: bytes, at: int) -> int:
    return int.from_bytes(document[at : at + 4], "little", signed=True)


def _value_size(document: bytes, kind: int, start: int) -> int:
    if kind in _FIXED_SIZES:
        return _FIXED_SIZES[kind]
    if kind in _LENGTH_EXTRAS:
        return int32(document, start) + _LENGTH_EXTRAS[kind]
    if kind == _REGEX:
        return document.index(0, document.index(0, start) + 1) + 1 - start
    raise InvalidBSON(f"unknown BSON type {kind:#x}")


def _elements(document: bytes, start: int) -> Iterator[_Element]:
    end = start + int32(document, start) - 1
    at = start + 4
    while at < end:
        key_end = document.index(0, at)
        stop = key_end + 1 + _value_size(document, document[at], key_end + 1)
        yield _Element(document[at + 1 : key_end], document[at], key_end + 1, stop)
        at = stop


class _Numbers(NamedTuple):
    """Numbers at `offsets`; more than one are the items of an array of the given shape."""

    type: int
    offsets: list[int]
    shape: tuple[int, ...]

    def read(self, rows: Bytes) -> pa.Array:
        code, kind = _VIEWS[self.type]
        size = np.dtype(code).itemsize
        count, length = rows.shape
        if not self.shape:
            view = np.ndarray((count,), code, rows, self.offsets[0], (length,))
            return pa.array(np.ascontiguousarray(view), kind)
        every = np.ndarray((count, length - size + 1), code, rows, 0, (length, 1))
        array = pa.array(every[:, self.offsets].ravel(), kind)
        for size in reversed(self.shape):
            offsets = pa.array(np.arange(0, len(array) + 1, size, dtype=np.int32))
            array = pa.ListArray.from_arrays(offsets, array)
        return array


class _String(NamedTuple):
    """Strings of one length, ``document[start:end]``."""

    start: int
    end: int

    def read(self, rows: Bytes) -> pa.Array:
        size = self.end - self.start
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(size)
        content = np.ascontiguousarray(rows[:, self.start : self.end])
        array = pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(content))
        array.validate(full=True)  # UTF-8
        return array


class Nulls(NamedTuple):
    """A key that is missing or null in all documents."""


_Slot = _Numbers | _String | Nulls


def _slot(document: bytes, element: _Element | None, mask: Bytes) -> _Slot | None:
    """How to view the values of an element, None if they have to be decoded."""
    if element is None or element.type == _NULL:
        return Nulls()
    if element.type in _VIEWS:
        return _Numbers(element.type, [element.start], ())
    if element.type == _STRING:
        return _String(element.start + 4, element.end - 1)
    return _array_slot(document, element, mask) if element.type == _ARRAY else None


def _array_slot(document: bytes, array: _Element, mask: Bytes) -> _Numbers | None:
    """The slot of a rectangular array of numbers of one type, None for any other array."""
    mask[array.start : array.end] = 0xFF
    items = list(_elements(document, array.start))
    for item in items:
        item.free(mask)
    slots = [
        slot if isinstance(slot := _slot(document, item, mask), _Numbers) else None
        for item in items
    ]
    alike = {(slot.type, slot.shape) if slot else None for slot in slots}
    if len(alike) != 1 or None in alike:
        return None
    numbers = [slot for slot in slots if slot]
    offsets = [offset for slot in numbers for offset in slot.offsets]
    return _Numbers(numbers[0].type, offsets, (len(numbers), *numbers[0].shape))


@dataclass(frozen=True)
class ByteLayout:
    """The bytes that documents must share for their values to be at the same places.

    mask: 0xFF for bytes that must equal `document`'s, shape (length,). slots: one a source, or
    None if some source's values have to be decoded.
    """

    document: bytes
    mask: Bytes
    slots: list[_Slot] | None

    @classmethod
    def of(cls, document: bytes, sources: Sequence[ValuePath]) -> Self:
        mask = np.full(len(document), 0xFF, np.uint8)
        found: dict[str, dict[bytes, _Element]] = {"": {}}
        for element in _elements(document, 0):
            element.free(mask)
            found[""][element.key] = element  # the last of equal keys counts, as for bson.decode
        for within in {source.within for source in sources} - {""}:
            parent = found[""].get(within.encode())
            found[within] = cls._children(document, parent, mask)
        slots = [
            _slot(document, found[source.within].get(source.key.encode()), mask)
            for source in sources
        ]
        viewable = [slot for slot in slots if slot is not None]
        return cls(document, mask, viewable if len(viewable) == len(slots) else None)

    @staticmethod
    def _children(document: bytes, parent: _Element | None, mask: Bytes) -> dict[bytes, _Element]:
        if parent is None or parent.type != _DOCUMENT:
            return {}
        mask[parent.start : parent.end] = 0xFF
        children = {}
        for element in _elements(document, parent.start):
            element.free(mask)
            children[element.key] = element
        return children

    def matches(self, rows: Bytes) -> NDArray[np.bool_]:
        """Which documents have this layout. rows: shape (documents, length)."""
        template = np.frombuffer(self.document, np.uint8)
        matching = np.ones(len(rows), np.bool_)
        step = max(1, BLOCK_BYTES // len(template))
        for start in range(0, len(rows), step):
            differing = (rows[start : start + step] ^ template) & self.mask
            if differing.any():
                matching[start : start + step] = ~differing.any(axis=1)
        return matching
