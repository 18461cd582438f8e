"""One number of each row instead of its array: the sum, mean, maximum or minimum of a region.

Values that are not finite are left out, and so are those above a limit, as hot and dead pixels
have. Of a row without any other value the number is NaN. Numbers are float64: sums of counts are
exact up to 2**53.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from events.arrays.fields import ArrayField, FieldLayout

Array = NDArray[Any]
Numbers = NDArray[np.float64]
FLOAT = np.dtype("<f8")


class Tally(NamedTuple):
    """Of rows, so far: the number that was asked for, and of how many values. Shape (rows,)."""

    number: Numbers
    kept: NDArray[np.int64]


@dataclass(frozen=True)
class Reduction:
    """How values become one number: by `together`, which begins with `first`, and `last`."""

    together: np.ufunc
    first: float
    last: Callable[[Tally], Numbers] = lambda tally: tally.number

    def of(self, values: Array, above: float | None) -> Tally:
        """The tally of values of shape (rows, values)."""
        kept = np.isfinite(values)
        if above is not None:
            kept &= values <= above
        number = self.together.reduce(values, axis=1, dtype=FLOAT, initial=self.first, where=kept)
        return Tally(number, np.count_nonzero(kept, axis=1))

    def joined(self, one: Tally, other: Tally) -> Tally:
        return Tally(self.together(one.number, other.number), one.kept + other.kept)

    def result(self, tally: Tally) -> Numbers:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(tally.kept, self.last(tally), np.nan)


REDUCTIONS: Mapping[str, Reduction] = {
    "sum": Reduction(np.add, 0.0),
    "mean": Reduction(np.add, 0.0, lambda tally: tally.number / tally.kept),
    "max": Reduction(np.maximum, -np.inf),
    "min": Reduction(np.minimum, np.inf),
}


@dataclass(frozen=True)
class ReducedField(ArrayField):
    """What a slice takes of a field, each row reduced to a number.

    As much is read as the slice takes, and as little at once as if it were sent.
    """

    field: ArrayField
    reduction: Reduction
    above: float | None = None
    watched: Callable[[Iterator[Array]], Iterator[Array]] = iter
    """the same blocks, while somebody waits for their result"""

    @property
    def of_row(self) -> tuple[tuple[int, ...], np.dtype[Any]]:
        return (), FLOAT

    def layout(self) -> FieldLayout:
        read = self.field.layout()
        return FieldLayout(read.shape[: self._row_axes], FLOAT, read.warning)

    def blocks(self) -> Iterator[Array]:
        shape = self.field.layout().shape
        size = math.prod(shape[self._row_axes :])
        if not size:
            yield np.full(shape[: self._row_axes], np.nan)
            return
        for numbers in self._numbers(size):
            yield numbers if self._row_axes else numbers.reshape(())

    @property
    def _row_axes(self) -> int:
        return int(self.cut.is_stacked)

    def _numbers(self, size: int) -> Iterator[Numbers]:
        so_far: Tally | None = None
        for values, is_complete in by_row(self.watched(self.field.blocks()), size):
            tally = self.reduction.of(values, self.above)
            tally = tally if so_far is None else self.reduction.joined(so_far, tally)
            so_far = None if is_complete else tally
            if is_complete:
                yield self.reduction.result(tally)


def by_row(blocks: Iterator[Array], size: int) -> Iterator[tuple[Array, bool]]:
    """Blocks of rows of `size` values, C order, as (rows, values): whole rows, or a part of one.

    With each comes whether it completes its rows.
    """
    done = 0
    for block in blocks:
        values = block.reshape(-1)
        while len(values):
            whole = 0 if done else len(values) // size * size
            taken = whole or min(len(values), size - done)
            done = (done + taken) % size
            yield values[:taken].reshape(-1, size if whole else taken), not done
            values = values[taken:]
