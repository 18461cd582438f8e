"""Fields as arrays: which slices to ask for, and how their answers become one array."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbservice.errors import BrokerError, MissingExtra
from dbservice.wire import BYTES, Request, Steps, exchange, together

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE = 32 * 2**20
"""bytes of one request"""
CHUNK = 16 * 2**20
"""bytes of one chunk of a lazy array"""
Axis = int | range


@dataclass(frozen=True)
class Extent:
    """What an array will be, before any of it is read."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def itemsize(self) -> int:
        return int(numpy().dtype(self.dtype).itemsize)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.itemsize


def numpy() -> Any:
    """The library, which is loaded when the first data come."""
    try:
        import numpy
    except ImportError:
        raise MissingExtra("numpy", "xarray") from None
    return numpy


def extent(path: str) -> Steps[Extent]:
    """Shape and dtype of an array; the first axis is the event."""
    response = yield from exchange(Request("HEAD", path, {"format": "octet-stream"}, accept=BYTES))
    return _extent(response.headers)


def _extent(headers: Any) -> Extent:
    shape = headers["x-array-shape"]
    return Extent(tuple(map(int, filter(None, shape.split(",")))), headers["x-array-dtype"])


def axes_of(index: object, shape: Sequence[int]) -> list[Axis]:
    """A basic index (numbers, slices, one ellipsis) as one number or range for each axis.

    Raises IndexError as numpy does, TypeError for an index of another kind.
    """
    items = list(index) if isinstance(index, tuple) else [index]
    places = [place for place, item in enumerate(items) if item is Ellipsis]
    if len(places) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if places:
        missing = len(shape) - len(items) + 1
        items[places[0] : places[0] + 1] = [slice(None)] * missing
    if len(items) > len(shape):
        raise IndexError(f"too many indices: the array is {len(shape)}-dimensional")
    items += [slice(None)] * (len(shape) - len(items))
    return [_axis(item, length) for item, length in zip(items, shape, strict=True)]


def _axis(item: object, length: int) -> Axis:
    if isinstance(item, slice):
        return range(*item.indices(length))
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise TypeError(f"{item!r} is no number, slice or ellipsis")
    number = int(item.__index__())
    if not -length <= number < length:
        raise IndexError(f"index {number} is out of bounds for an axis of size {length}")
    return number % length


def shape_of(axes: Sequence[Axis]) -> tuple[int, ...]:
    return tuple(len(axis) for axis in axes if isinstance(axis, range))


def slice_text(axes: Sequence[Axis]) -> str:
    """As the service takes it. axes: not empty ones."""
    return ",".join(str(axis) if isinstance(axis, int) else _range_text(axis) for axis in axes)


def _range_text(axis: range) -> str:
    stop = "" if axis.stop < 0 else str(axis.stop)
    return f"{axis.start}:{stop}:{axis.step}"


Place = tuple[Any, ...]
"""where a piece stands in the result: slices, and an ellipsis"""


def pieces(axes: Sequence[Axis], itemsize: int) -> list[tuple[Place, list[Axis]]]:
    """The index cut along the first axis, or further ones where one event is large by itself."""
    if not axes:
        return [((...,), [])]
    first, rest = axes[0], list(axes[1:])
    if isinstance(first, int):
        return [(place, [first, *part]) for place, part in pieces(rest, itemsize)]
    row = max(1, math.prod(shape_of(rest)) * itemsize)
    if row > PIECE:
        return [
            ((slice(n, n + 1), *place), [first[n : n + 1], *part])
            for n in range(len(first))
            for place, part in pieces(rest, itemsize)
        ]
    step = max(1, PIECE // row)
    starts = range(0, len(first), step)
    return [((slice(n, n + step), ...), [first[n : n + step], *rest]) for n in starts]


def chunks(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """The shape of parts of about a chunk, whole frames where they are not larger."""
    chosen: list[int] = []
    for place, length in enumerate(shape):
        row = max(1, math.prod(shape[place + 1 :]) * itemsize)
        chosen.append(max(1, min(length, CHUNK // row)))
        if row <= CHUNK:
            return (*chosen, *shape[place + 1 :])
    return tuple(chosen)


def read(
    path: str, whole: Extent, index: object, meter: Callable[[int], None] | None = None
) -> Steps[NDArray[Any]]:
    """Part of an array, fetched in pieces, four at a time, into one array.

    A piece that breaks is asked for again, not the others. meter: called with the bytes that came.
    """
    np = numpy()
    axes = axes_of(index, whole.shape)
    result: NDArray[Any] = np.empty(shape_of(axes), whole.dtype)
    if result.size == 0:
        return result
    parts = pieces(axes, whole.itemsize)
    targets = [result[place] for place, _ in parts]
    steps = [_into(t, path, whole, part) for t, (_, part) in zip(targets, parts, strict=True)]
    yield from together(steps, None if meter is None else lambda n: meter(targets[n].nbytes))
    return result


def _into(target: NDArray[Any], path: str, whole: Extent, part: Sequence[Axis]) -> Steps[None]:
    params = {"format": "octet-stream", "slice": slice_text(part)}
    into = _bytes_of(target)
    response = yield from exchange(
        Request("GET", path, params, accept=BYTES, kept="disk", into=into)
    )
    came = _extent(response.headers)
    if came.shape != target.shape or came.dtype != whole.dtype:
        raise BrokerError(
            f"The array is {came.dtype} {list(came.shape)} now and not {whole.dtype}"
            f" {list(target.shape)}: it grows, or was written anew. Read it again."
        )
    if response.content is not into:
        values: NDArray[Any] = numpy().frombuffer(response.content, came.dtype)
        target[...] = values.reshape(target.shape)


def _bytes_of(target: NDArray[Any]) -> memoryview | None:
    """The memory of an array, where it is one piece."""
    if not target.flags.c_contiguous:
        return None
    return target.reshape(-1).view("u1").data
