"""Streams of open runs as they were when somebody looked: their first rows.

The clients ask for the shapes of arrays first and for values then, one request after the other,
while events come. So that these fit each other, the links to the values say how many rows there
were: `…/primary;rows=51/data`.
"""

import re
from dataclasses import dataclass, replace
from typing import Self

from events.columns.columns import read_columns
from events.repositories import Events
from events.stream import NoSuchName, Stream
from headers.descriptors import is_outside
from headers.repositories import Run

SEGMENT = re.compile(r"(.+);rows=(\d{1,9})", re.DOTALL)


@dataclass(frozen=True)
class Snapshot(Stream):
    """A stream, or the first `rows` rows of it."""

    rows: int | None = None

    @classmethod
    def named(cls, run: Run, segment: str) -> Self:
        """What a segment of a path names. NoSuchName if the run has no such stream."""
        named = SEGMENT.fullmatch(segment)
        try:
            found, rows = Stream.of(run, segment), None
        except NoSuchName:
            if named is None:
                raise
            found, rows = Stream.of(run, named[1]), int(named[2])
        return cls(run, found.name, found.descriptors, rows)

    @property
    def segment(self) -> str:
        return self.name if self.rows is None else f"{self.name};rows={self.rows}"

    def frozen(self) -> Self:
        """Of an open run, the rows that there are now; a complete one stays as it is."""
        if self.run.stop is not None or self.rows is not None:
            return self
        batches = Events(self.run).stream_batches(self.uids)
        with read_columns(batches, [], groups=self.groups) as columns:
            count = columns.num_rows
        # Without events, stream_datums may tell the rows.
        outside = not count and any(map(is_outside, self.data_keys.values()))
        return self if outside else replace(self, rows=count)

    def bounded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an array of which there may be more rows by now."""
        return shape if self.rows is None else (min(shape[0], self.rows), *shape[1:])

    def linked(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """The path of a node below it, as links to its values have it."""
        at = path.index(str(self.run.key)) + 1
        return (*path[:at], self.segment, *path[at + 1 :])
