"""Arrays from files one by one, where there may be some that cannot be served.

Those of one shape are a `FileField`; its blocks are cut into one array a datum here.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from events.arrays.fields import Cut, FileField
from events.files.assets import AssetError, Datum, RaggedEvents
from events.files.reader import ArrayReader
from events.left_out import LeftOut

Array = NDArray[Any]


class TooLarge(Exception):
    """An answer would hold more than it may; the text says what to do instead."""

    status: ClassVar[int] = 413

    def __init__(self, nbytes: int, limit: int) -> None:
        super().__init__(
            f"The arrays are {nbytes} bytes or more; at most {limit} are served so. Read them"
            " by the array route, in slices: headers/RUN/streams/STREAM/data/FIELD/?slice=0:10"
        )
        self.nbytes, self.limit = nbytes, limit


class Allowance:
    """How many bytes of arrays may still be read, told from their true shapes before they are.

    together: of all; each: of one array, which is held in memory as a whole.
    """

    def __init__(self, together: int, each: int) -> None:
        self.together, self._each, self.taken = together, each, 0

    def take(self, nbytes: int) -> None:
        """Raises TooLarge if an array of so many bytes may not be read."""
        self.taken += nbytes
        for size, limit in ((nbytes, self._each), (self.taken, self.together)):
            if size > limit:
                raise TooLarge(size, limit)


def served_frames(
    reader: ArrayReader,
    datums: Sequence[Datum],
    allowance: Allowance,
    field: str,
    left_out: LeftOut,
) -> Iterator[Array | None]:
    """One array a datum, in order; None, and noted, where a file holds none for it."""
    done = 0
    try:
        for array in frames_of(reader, datums, allowance):
            done += 1
            yield array
    except AssetError as error:
        if len(datums) == 1:
            left_out.add(field, error)
            yield None
            return
        for datum in datums[done:]:
            yield from served_frames(reader, [datum], allowance, field, left_out)


def frames_of(
    reader: ArrayReader, datums: Sequence[Datum], allowance: Allowance
) -> Iterator[Array]:
    """One array per datum, in order, in memory one at a time. Their shapes may differ.

    Raises
    ------
    TooLarge
        The next one is more than is allowed; it was not read.
    """
    if not datums:
        return
    done = 0
    field = FileField({}, Cut.whole(len(datums)), reader, datums)
    layout = field.layout()
    shape = layout.shape[1:]
    nbytes = math.prod(shape) * layout.dtype.itemsize
    allowance.take(nbytes)
    try:
        for array in _split(field.blocks(), shape, layout.dtype, len(datums)):
            if done:
                allowance.take(nbytes)
            done += 1
            yield array
    except RaggedEvents:
        if len(datums) == 1:
            raise
        for datum in datums[done:]:
            yield from frames_of(reader, [datum], allowance)


def _split(
    blocks: Iterator[Array], shape: tuple[int, ...], dtype: np.dtype[Any], count: int
) -> Iterator[Array]:
    """Blocks of any size, C order, as `count` arrays of `shape`."""
    size = math.prod(shape)
    event, done = np.empty(size, dtype), 0
    for block in blocks if size else ():
        values = block.reshape(-1)
        while len(values):
            taken = values[: size - done]
            event[done : done + len(taken)] = taken
            done, values = done + len(taken), values[len(taken) :]
            if done == size:
                yield event.reshape(shape)
                event, done = np.empty(size, dtype), 0
    if not size:
        yield from repeat(event.reshape(shape), count)
