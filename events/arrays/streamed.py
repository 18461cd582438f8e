"""Values that stream_datums place: which rows of which files belong to which events.

A stream_resource names files of one field, and each of its stream_datums says that the events with
these sequence numbers are those rows of them. A stream may have no event documents at all then.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from events.arrays.rows import Rows, RowValues
from events.data_keys import declared_dtype, shape_of
from events.files.assets import Datum, Resource
from events.repositories import Events
from events.stream import Stream
from headers.descriptors import Descriptor, Doc, as_mapping, is_outside

MAX_ROWS = 500_000
"""of one answer: each is looked up by itself"""
NO_NUMBERS = range(0)


class TooManyRows(Exception):
    """More rows than are looked up for one answer."""

    status: ClassVar[int] = 413

    def __init__(self, count: int) -> None:
        super().__init__(
            f"The answer would have {count} rows; at most {MAX_ROWS} are read at once. Ask for"
            f" less, for example slice=0:{MAX_ROWS}"
        )


@dataclass(frozen=True)
class Piece:
    """What a stream_datum says: event `seq_nums[n]` of a descriptor is row `indices[n]`."""

    resource: str
    descriptor: str
    seq_nums: range
    indices: range

    @classmethod
    def of(cls, document: Doc) -> "Piece":
        """Of a stored document; one that is not what it must be places nothing."""
        seq_nums, indices = _span(document.get("seq_nums")), _span(document.get("indices"))
        count = min(len(seq_nums), len(indices))
        resource, descriptor = document.get("stream_resource"), document.get("descriptor")
        return cls(str(resource), str(descriptor), seq_nums[:count], indices[:count])


def _span(value: Any) -> range:
    start, stop = (as_mapping(value).get(end) for end in ("start", "stop"))
    # Integers of 64 bits have a type of their own.
    if isinstance(start, int) and isinstance(stop, int) and 0 <= start <= stop:
        return range(int(start), int(stop))
    return NO_NUMBERS


class Streamed:
    """The fields of a run whose values are where stream_datums say. Asks for what is new to it."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._all = dict[str, list[Piece]]()
        self._files = dict[str, Resource]()
        self._first = dict[str, Mapping[str, int]]()

    @cached_property
    def resources(self) -> Mapping[str, Mapping[str, Doc]]:
        """The stream_resources by field and uid. No command where no field may have any."""
        found = dict[str, dict[str, Doc]]()
        if any(Descriptor(document).outside for document in self._events.run.descriptors):
            for document in self._events.stream_resources():
                uid, field = document.get("uid"), document.get("data_key")
                if type(uid) is str and type(field) is str:
                    found.setdefault(field, {})[uid] = document
        return found

    def datums(
        self, field: str, data_key: Doc, descriptors: Collection[str], wanted: Collection[int]
    ) -> dict[int, Datum]:
        """By `seq_num`, those that are wanted, of the events of these descriptors."""
        numbers, found = set(wanted), dict[int, Datum]()
        if not numbers or field not in self.resources:
            return found
        shape, dtype = list(shape_of(data_key)), declared_dtype(data_key).str
        for piece in self._pieces(field, range(min(numbers), max(numbers) + 1)):
            if piece.descriptor not in descriptors:
                continue
            first = self._firsts(field).get(piece.resource, 0)
            resource = self._file(field, piece.resource)
            for number in _within(numbers, piece.seq_nums):
                index = piece.indices[piece.seq_nums.index(number)] - first
                kwargs = {"index": index, "shape": shape, "dtype": dtype}
                found[number] = Datum(resource, kwargs)
        return found

    def numbers(self, fields: Iterable[str], descriptors: Collection[str]) -> list[range]:
        """The sequence numbers of which there are rows of any of these fields, rising."""
        pieces = (piece for field in fields for piece in self._every(field))
        return merged(piece.seq_nums for piece in pieces if piece.descriptor in descriptors)

    # -- how -------------------------------------------------------------------------------

    def _pieces(self, field: str, wanted: range) -> Sequence[Piece]:
        """Those of a field that are about these numbers, and perhaps more."""
        resources = self.resources[field]
        if field in self._all or len(resources) > 1:  # whose rows may be counted on
            return self._every(field)
        return _in_order(self._events.stream_datums(list(resources), wanted))

    def _every(self, field: str) -> Sequence[Piece]:
        if field not in self._all:
            documents = self._events.stream_datums(list(self.resources.get(field, ())))
            self._all[field] = _in_order(documents)
        return self._all[field]

    def _firsts(self, field: str) -> Mapping[str, int]:
        """By resource, the index that is the first row of its files.

        Of several resources of a field, some writers begin anew with each, and some count on.
        """
        if field not in self._first:
            of_one = len(self.resources[field]) < 2
            self._first[field] = {} if of_one else self._counted(field)
        return self._first[field]

    def _counted(self, field: str) -> Mapping[str, int]:
        firsts, counts = dict[str, int](), dict[str, int]()
        for piece in self._every(field):
            firsts.setdefault(piece.resource, piece.indices.start)
            counts[piece.resource] = counts.get(piece.resource, 0) + len(piece.indices)
        found, before, places = dict[str, int](), 0, set[str]()
        for uid, first in firsts.items():
            place = str(self.resources[field][uid].get("uri"))
            goes_on = first == before and place not in places
            found[uid] = first if goes_on else 0
            before += counts[uid]
            places.add(place)
        return found

    def _file(self, field: str, uid: str) -> Resource:
        if uid not in self._files:
            self._files[uid] = file_of(self.resources[field][uid])
        return self._files[uid]


def _in_order(documents: Iterable[Doc]) -> list[Piece]:
    pieces = [piece for piece in map(Piece.of, documents) if piece.seq_nums]
    return sorted(pieces, key=lambda piece: (piece.seq_nums.start, piece.indices.start))


def _within(numbers: set[int], span: range) -> Iterable[int]:
    """The span is what somebody wrote, and may be of any length."""
    if len(span) > len(numbers):
        return (number for number in numbers if number in span)
    return (number for number in span if number in numbers)


def merged(spans: Iterable[range]) -> list[range]:
    """The same numbers as spans that rise and do not touch."""
    found: list[range] = []
    for span in sorted(spans, key=lambda span: span.start):
        if found and span.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, span.stop))
        elif span:
            found.append(span)
    return found


def media_type(document: Doc) -> str:
    """The media type of a stream_resource as one text: `a/b;c=d`."""
    return str(document.get("mimetype")).replace(" ", "").lower()


def file_of(document: Doc) -> Resource:
    """The file of a stream_resource, as if it were that of a resource.

    What is no address of a file has a path that is refused.
    """
    uri, kwargs = str(document.get("uri")), as_mapping(document.get("parameters"))
    try:
        parts = urlsplit(uri)
    except ValueError:
        return Resource(str(document["uid"]), media_type(document), "", f"://{uri}", kwargs)
    if parts.scheme not in ("file", "") or parts.query or parts.fragment:
        return Resource(str(document["uid"]), media_type(document), "", f"://{uri}", kwargs)
    folder, _, name = unquote(parts.path).rpartition("/")
    return Resource(str(document["uid"]), media_type(document), folder, name, kwargs)


# -- The rows of a stream without events ----------------------------------------------------------


class StreamedRows(Rows):
    """The rows that stream_datums name, by sequence number."""

    elsewhere = "It is in files."

    def __init__(self, stream: Stream, field: str, numbers: Sequence[range]) -> None:
        self.stream, self.field, self.data_key = stream, field, stream.data_keys[field]
        self._numbers = numbers
        self._every = self._some = None

    def __len__(self) -> int:
        return sum(map(len, self._numbers))

    def hold(self, wanted: range) -> bool:
        """TooManyRows where there are."""
        if len(wanted) > MAX_ROWS:
            raise TooManyRows(len(wanted))
        return True

    def parts(self, wanted: range) -> Iterator[RowValues]:
        """No event has a value."""
        if wanted:
            yield RowValues(wanted, pa.nulls(len(wanted), pa.string()))

    def seq_nums(self, wanted: range) -> list[int]:
        found, spans, before = dict[int, int](), iter(self._numbers), 0
        span = next(spans, NO_NUMBERS)
        for row in sorted(wanted):
            while row >= before + len(span):
                before += len(span)
                span = next(spans)
            found[row] = span[row - before]
        return [found[row] for row in wanted]


def rows_of(stream: Stream, field: str) -> Rows:
    """The rows of a field: its events or, where the stream has none, what stream_datums name."""
    rows = Rows(stream, field)
    if not is_outside(rows.data_key) or len(rows):
        return rows
    numbers = streamed_numbers(stream, field)
    if not numbers:
        return rows
    rows.close()
    return StreamedRows(stream, field, numbers)


def streamed_numbers(stream: Stream, field: str) -> list[range]:
    """The sequence numbers of a stream without events, up to the last that the field has.

    Those of all its fields together: a row is one moment for each of them. Other fields may be
    ahead while the run is being taken.
    """
    streamed = Streamed(Events(stream.run))
    own = streamed.numbers([field], stream.uids)
    if not own:
        return []
    outside = [name for name, key in stream.data_keys.items() if is_outside(key)]
    every = streamed.numbers(outside, stream.uids)
    return [span for s in every if (span := range(s.start, min(s.stop, own[-1].stop)))]
