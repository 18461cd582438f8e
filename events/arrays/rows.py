"""The rows of a field, by number: which events are read for which of them.

A row is an event, one for each `seq_num` (the last by time), in the order of time: as the table
has them. Events whose (time, seq_num) are (1.0, 1), (2.0, 2), (3.0, 1), (4.0, 3) make three rows:
row 0 is seq_num 2, row 1 is seq_num 1 as recorded at 3.0, row 2 is seq_num 3.

Which events are repeated is only certain when all are read. So all are, unless a run is complete,
its stop document counts as many events as there are, and those asked for have the sequence numbers
that their rows call for (row 0 is seq_num 1, row 1 is 2, …): then nothing was repeated, and only
these are read.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import bson
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from events.columns.columns import Columns, read_columns
from events.repositories import Events
from events.sources import PAGE_EVENTS
from events.stream import Stream
from headers.descriptors import as_mapping
from headers.mongo import CODEC
from headers.streams import recorded_counts

MAX_REMEMBERED = 10_000
_complete: dict[tuple[object, ...], int | None] = {}
"""Of complete runs, which do not change: by run, stop and stream, how many events there are; None
if some are repeated."""
SHORT, MAX_SHORT = 5_000, 500
_times: dict[tuple[object, ...], NDArray[np.float64] | None] = {}
"""Of some of these streams that are short, the times of all events; None if their order is not
certain."""


def repeats_warning(dropped: int) -> str:
    """Text of a ``Warning`` header."""
    return f'199 - "{dropped} events left out: a later event has the same seq_num"'


class RowValues(NamedTuple):
    """The values of some rows that were asked for; `rows` may run backwards."""

    rows: range
    values: pa.Array


class Rows:
    """The rows of one field of a stream. Close it to free what was read.

    every: all of them, if they are there already.
    """

    is_in_memory: ClassVar[bool] = False
    elsewhere: ClassVar[str] = "Ask the table route for it (csv, json, arrow …)."
    """where a caller finds values that make no array"""

    def __init__(self, stream: Stream, field: str, every: Columns | None = None) -> None:
        self.stream = stream
        self.field = field
        self.data_key = stream.data_keys[field]
        self._events = Events(stream.run)
        self._every = every
        self._some: tuple[int, Columns] | None = None
        # A stop's uid may be anything, even what cannot be hashed.
        stop = repr((stream.run.stop or {}).get("uid"))
        self._key = (stream.run.catalog.name, stream.run.uid, stop, stream.name)
        self._counted = None if every else self._count_if_regular()

    def __len__(self) -> int:
        return self._all().num_rows if self._counted is None else self._counted

    @property
    def axes(self) -> tuple[int, ...]:
        """The lengths of the axes that the rows add to those of a value."""
        return (len(self),)

    def close(self) -> None:
        for columns in (self._every, self._some and self._some[1]):
            if columns:
                columns.close()

    @property
    def dropped(self) -> int:
        """How many events were left out because a later one repeats their sequence number."""
        return self._every.dropped if self._every is not None else 0

    def called(self, row: int) -> str:
        """What a caller knows a row as."""
        return f"Row {row}"

    def hold(self, wanted: range) -> bool:
        """Read these rows. False if that showed that there are not as many rows as was thought."""
        before = len(self)
        if wanted:
            self._holding(wanted)
        return len(self) == before

    def parts(self, wanted: range) -> Iterator[RowValues]:
        """The values of these rows in their order, some ten thousand at once."""
        if not wanted:
            return
        first, columns = self._holding(wanted)
        name = columns.schema.names[2]  # after seq_num and time
        backwards = wanted.step < 0
        begin = first + columns.num_rows if backwards else first
        for array in columns.column(name, backwards=backwards):
            begin -= len(array) if backwards else 0
            if rows := within(wanted, begin, begin + len(array)):
                places = np.arange(rows.start, rows.stop, rows.step) - begin
                yield RowValues(rows, array.take(pa.array(places)))
            begin += 0 if backwards else len(array)

    def seq_nums(self, wanted: range) -> list[int]:
        """The sequence numbers of these rows."""
        first, columns = self._holding(wanted)
        numbers = pa.chunked_array(columns.column("seq_num"), pa.int64()).to_numpy()
        return [int(numbers[row - first]) for row in wanted]

    def _count_if_regular(self) -> int | None:
        """How many rows there are; None if only all events tell."""
        run, name = self.stream.run, self.stream.name
        recorded = recorded_counts(run.stop, [name])
        if recorded is None:
            return None
        if self._key not in _complete:
            counts = self._events.counts()
            if len(_complete) >= MAX_REMEMBERED:
                _complete.clear()
            found = sum(counts.get(uid, 0) for uid in self.stream.uids)
            _complete[self._key] = found if found == recorded[name] else None
        return _complete[self._key]

    def _all(self) -> Columns:
        if self._every is None:
            batches = self._events.stream_batches(self.stream.uids)
            fields = [self.stream.field(self.field)]
            self._every = read_columns(batches, fields, groups=self.stream.groups)
        return self._every

    def _holding(self, wanted: range) -> tuple[int, Columns]:
        """Columns that hold these rows, and the number of their first row."""
        low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1])
        if self._some:
            begin, some = self._some
            if begin <= low and high < begin + some.num_rows:
                return self._some
        if self._every is None and self._counted is not None and high - low < PAGE_EVENTS:
            columns = self._only(low, high - low + 1)
            if columns is not None:
                self._some = (low, columns)
                return self._some
        every = self._all()
        if self._counted != every.num_rows:
            self._counted = _complete[self._key] = None
        return 0, every

    def _only(self, first: int, count: int) -> Columns | None:
        """Just these rows; None if their sequence numbers tell of repeated events."""
        times = self._times_of(first, count)
        if times is None:
            return None
        raw = self._events.between(self.stream.uids, times[0], times[-1])
        columns = read_columns([raw], [self.stream.field(self.field)])
        numbers = pa.chunked_array(columns.column("seq_num"), pa.int64())
        if numbers.equals(pa.chunked_array([pa.array(range(first + 1, first + count + 1))])):
            return columns
        columns.close()
        _times.pop(self._key, None)
        return None

    def _times_of(self, first: int, count: int) -> Sequence[float] | None:
        """When these events were recorded; None if that is not certain."""
        total = len(self)
        if total > SHORT:
            return self._events.times(self.stream.uids, first, count)
        try:
            times = _times[self._key]
        except KeyError:
            found = self._events.times(self.stream.uids, 0, total)
            times = None if found is None else np.array(found, np.float64)
            if len(_times) >= MAX_SHORT:
                _times.clear()
            _times[self._key] = times
        return None if times is None else times[first : first + count].tolist()


class EventRow(Rows):
    """One event as a stream of one row, which is read already and adds no axis.

    Its value goes through the same reader as a stream's, and so gets the same type.
    """

    axes = ()
    is_in_memory = True
    elsewhere = "It is in the event document."

    def __init__(self, stream: Stream, field: str, event: Mapping[str, Any]) -> None:
        self._uid, self._seq_num = event.get("uid"), event.get("seq_num")
        value = as_mapping(event.get("data")).get(field)
        raw = bson.encode({"data": {field: value}}, codec_options=CODEC)
        super().__init__(stream, field, read_columns([raw], [stream.field(field)]))

    def called(self, row: int) -> str:
        return f"Event {self._uid}"

    def seq_nums(self, wanted: range) -> list[int]:
        return [self._seq_num for _ in wanted if isinstance(self._seq_num, int)]


def within(rows: range, low: int, high: int) -> range:
    """Those of the rows that are at least `low` and less than `high`.

    Of rows 10, 8, 6, 4, those in 5 ≤ row < 9 are 8, 6.
    """
    if rows.step > 0:
        begin, end = low - rows.start, high - rows.start
        return rows[max(0, -(-begin // rows.step)) : max(0, -(-end // rows.step))]
    step = -rows.step
    begin, end = rows.start - high + 1, rows.start - low
    return rows[max(0, -(-begin // step)) : max(0, end // step + 1)]
