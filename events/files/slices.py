"""Basic slices as text: parsed, applied to a shape, and weighed, without touching any data.

The grammar is what numpy calls basic indexing, without ``newaxis``: ``0:10,::2,5``, ``...,-1``.
An applied slice is a :class:`Selection`: per axis of the source either an ``int`` (the axis goes)
or a ``range`` (the axis stays). ``range(n)[s]`` has exactly numpy's semantics, so nothing is
computed here that Python does not already know.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

MAX_TEXT = 1_000
MAX_AXES = 32
MAX_NUMBER = 2**63 - 1

Item: TypeAlias = int | slice | EllipsisType
Axis: TypeAlias = int | range

_ITEM = re.compile(r"(?P<dots>\.\.\.)|(?P<at>[+-]?\d+)|(?P<range>[^:]*(?::[^:]*){1,2})", re.ASCII)
_NUMBER = re.compile(r"[+-]?\d+", re.ASCII)


class SliceError(ValueError):
    """A slice that cannot be parsed or does not fit the array; the text says what to do."""

    status = 400


class OverBudget(ValueError):
    """An answer larger than allowed: `shape`, `nbytes`, `budget`, and a `suggestion` that fits."""

    status = 413

    def __init__(self, shape: tuple[int, ...], nbytes: int, budget: int, suggestion: str) -> None:
        super().__init__(
            f"The slice is {list(shape)}, {nbytes} bytes; at most {budget} bytes are read at "
            f"once. Ask for less, for example slice={suggestion}"
        )
        self.shape, self.nbytes, self.budget = shape, nbytes, budget
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Selection:
    """A slice applied to a source shape: one entry per source axis."""

    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return tuple(len(axis) for axis in self.axes if isinstance(axis, range))

    @property
    def index(self) -> tuple[int | slice, ...]:
        """The same selection as an index that numpy takes."""
        return tuple(axis if isinstance(axis, int) else as_slice(axis) for axis in self.axes)

    def __str__(self) -> str:
        return ",".join(_as_text(axis) for axis in self.axes)


def parse(text: str) -> tuple[Item, ...]:
    """The items of a slice; an empty text takes everything.

    Raises
    ------
    SliceError
        The text is too long, is no slice, or has ``...`` twice, step 0, a number beyond 64 bits.
    """
    if len(text) > MAX_TEXT:
        raise SliceError(f"The slice is longer than {MAX_TEXT} characters.")
    if not text.strip():
        return ()
    parts = text.split(",")
    if len(parts) > MAX_AXES:
        raise SliceError(f"The slice has {len(parts)} items; at most {MAX_AXES} are allowed.")
    items = tuple(_item(part.strip()) for part in parts)
    if items.count(...) > 1:
        raise SliceError("`...` may stand only once in a slice.")
    return items


def resolve(items: Sequence[Item], shape: Sequence[int]) -> Selection:
    """Apply parsed items to a source `shape`; axes that no item names are taken whole.

    Raises
    ------
    SliceError
        More items than axes, or an index out of range.
    """
    named = [item for item in items if not isinstance(item, EllipsisType)]
    if len(named) > len(shape):
        raise SliceError(
            f"The slice names {len(named)} axes, the array has {len(shape)}: {list(shape)}."
        )
    position = items.index(...) if ... in items else len(items)
    filling = [slice(None)] * (len(shape) - len(named))
    full = [*named[:position], *filling, *named[position:]]
    return Selection(
        tuple(
            _axis(item, length, number)
            for number, (item, length) in enumerate(zip(full, shape, strict=True))
        )
    )


def whole(shape: Sequence[int]) -> Selection:
    """Everything of an array of this shape."""
    return resolve((), shape)


def as_slice(axis: range) -> slice:
    """The range as a slice; one that runs down to 0 has no stop."""
    if not axis:
        return slice(0, 0)
    return slice(axis.start, axis.stop if axis.stop >= 0 else None, axis.step)


def compose(outer: Axis, inner: Axis) -> Axis:
    """What `inner` takes of an axis of which `outer` was taken already."""
    if isinstance(outer, int):
        raise TypeError("an axis that is gone cannot be sliced again")
    return outer[inner] if isinstance(inner, int) else outer[as_slice(inner)]


def span(axis: Axis) -> int:
    """How many indices the selection spans, those it skips included."""
    if isinstance(axis, int):
        return 1
    return abs(axis[-1] - axis[0]) + 1 if axis else 0


def check_budget(selection: Selection, itemsize: int, budget: int) -> int:
    """Bytes of the result; decided from the shape alone.

    Raises
    ------
    OverBudget
        The result is larger than `budget` bytes.
    """
    nbytes = math.prod(selection.shape) * itemsize
    if nbytes > budget:
        suggestion = str(fitting(selection, itemsize, budget))
        raise OverBudget(selection.shape, nbytes, budget, suggestion)
    return nbytes


def fitting(selection: Selection, itemsize: int, budget: int) -> Selection:
    """The largest beginning of a selection that fits the budget: fewest events first."""
    axes = list(selection.axes)
    for number, axis in enumerate(axes):
        if isinstance(axis, int) or not len(axis):
            continue
        one = math.prod(Selection(tuple(axes[number + 1 :])).shape) * itemsize
        axes[number] = axis[: max(1, budget // max(one, 1))]
        if one <= budget:
            break
    return Selection(tuple(axes))


def _item(text: str) -> Item:
    match = _ITEM.fullmatch(text)
    if match is None:
        raise SliceError(f"{text[:40]!r} is no index: write 5, 0:10, ::2 or `...`.")
    if match["dots"]:
        return ...
    if match["at"]:
        return _number(text)
    bounds = [_number(bound) if bound.strip() else None for bound in text.split(":")]
    if len(bounds) == 3 and bounds[2] == 0:
        raise SliceError("A slice's step must not be 0.")
    return slice(*bounds)


def _number(text: str) -> int:
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise SliceError(f"{text[:40]!r} is no whole number.")
    number = int(text)
    if abs(number) > MAX_NUMBER:
        raise SliceError(f"{text[:40]} is beyond 64 bits.")
    return number


def _axis(item: int | slice, length: int, number: int) -> Axis:
    every = range(length)
    if isinstance(item, slice):
        return every[item]
    if not -length <= item < length:
        raise SliceError(f"Index {item} is out of range: axis {number} has length {length}.")
    return every[item]


def _as_text(axis: Axis) -> str:
    if isinstance(axis, int):
        return str(axis)
    index = as_slice(axis)
    stop = "" if index.stop is None else index.stop
    return f"{index.start}:{stop}" + (f":{index.step}" if index.step not in (None, 1) else "")
