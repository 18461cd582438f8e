"""Arrays from files, put into the events that refer to them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from events.files.assets import AssetError, Datum, RaggedEvents, Resource, Roots
from events.files.reader import ArrayReader, pool_for
from events.files.slices import whole
from events.left_out import DatumMissing, LeftOut
from events.repositories import Events, Reference
from events.sources import bytes_per_event
from headers.repositories import Run
from headers.streams import Doc

Array = NDArray[Any]
Event = dict[str, Any]
Externals = Mapping[str, frozenset[str]]
"""descriptor uid → its fields that are kept in files"""


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


class TooMuchInline(Exception):
    """Arrays together exceed what may be inline; `field` of `event` is the first too many."""

    def __init__(self, nbytes: int, event: Doc, field: str) -> None:
        super().__init__(f"the arrays are {nbytes} bytes or more")
        self.nbytes, self.event, self.field = nbytes, event, field


def external_fields(descriptors: Iterable[Doc]) -> dict[str, frozenset[str]]:
    """Of each descriptor, by uid, the fields whose values are kept in files."""
    return {str(doc.get("uid")): frozenset(_externals(doc)) for doc in descriptors}


def _externals(descriptor: Doc) -> Iterator[str]:
    keys = descriptor.get("data_keys")
    for name, key in keys.items() if isinstance(keys, Mapping) else ():
        if isinstance(key, Mapping) and key.get("external"):
            yield name


def datum_ids(event: Doc, externals: Externals) -> dict[str, str]:
    """The fields of an event that refer to a datum, and its id."""
    data = event.get("data")
    filled = event.get("filled")
    done = filled if isinstance(filled, Mapping) else {}
    fields = externals.get(str(event.get("descriptor")), frozenset())
    if not fields or not isinstance(data, Mapping):
        return {}
    return {
        name: data[name]
        for name in data
        if name in fields and isinstance(data[name], str) and done.get(name) is not True
    }


def external_bytes(descriptor: Doc) -> int:
    """Bytes in files of one event, as the data keys declare them."""
    return sum(bytes_per_event(descriptor["data_keys"][name]) for name in _externals(descriptor))


def array_reader(run: Run) -> ArrayReader:
    """Reads the files of a run, as far as its reader may, in the processes of this worker."""
    catalog = run.catalog
    roots = Roots(catalog.root_map, catalog.allowed_roots, catalog.file_proposal)
    folders = {folder for known in settings.CATALOGS for folder in known.allowed_roots}
    pool = pool_for(tuple(sorted(folders)))
    return ArrayReader(roots, catalog.handlers, pool, run.admits_file_of)


def as_datum(reference: Reference) -> Datum:
    """What the reader needs to know of a datum."""
    kwargs = reference.datum.get("datum_kwargs")
    resource = Resource.from_document(reference.resource)
    return Datum(resource, kwargs if isinstance(kwargs, dict) else {})


class Filling:
    """Fills the events of one run, and leaves out what cannot be served."""

    def __init__(self, events: Events, externals: Externals, allowance: Allowance) -> None:
        self._events = events
        self._externals = externals
        self._allowance = allowance
        self._reader = array_reader(events.run)
        self._known: dict[Resource, AssetError | None] = {}
        self.left_out = LeftOut()

    def filled(self, page: Sequence[Event]) -> Iterator[Event]:
        """The same events with their arrays, read while they are asked for.

        `filled` then names the datum an array came from, as event_model's Filler does it; of what
        is left out, it and the data stay as they are.
        """
        columns = self._columns(page)
        arrays = {name: self._arrays(name, datums) for name, datums in columns.items()}
        for event in page:
            ids = datum_ids(event, self._externals)
            values = {name: next(arrays[name]) for name in ids}
            found = {name: value for name, value in values.items() if value is not None}
            self.left_out.served |= set(found)
            yield _with_arrays(event, ids, found) if found else event

    def survey(
        self, page: Sequence[Event], counts: Mapping[str, int] | None = None, spent: int = 0
    ) -> int:
        """Bytes of the arrays of these events, told without reading values; what cannot be served
        is noted as left out.

        counts: descriptor uid → how many events like the one of `page` there are; else 1.
        spent: bytes that others take of the same allowance.

        Raises
        ------
        TooMuchInline, without counts
            They are more bytes than are allowed.
        """
        total = 0
        for name, found in self._by_field(page).items():
            for nbytes, event in self._sizes(name, found):
                times = 1 if counts is None else counts.get(str(event.get("descriptor")), 0)
                total += times * nbytes
                if counts is None and spent + total > self._allowance.together:
                    raise TooMuchInline(spent + total, event, name)
        return total

    def _by_field(self, page: Sequence[Event]) -> dict[str, list[tuple[Event, Datum]]]:
        found: dict[str, list[tuple[Event, Datum]]] = {}
        for event, datums in zip(page, self._datums(page), strict=True):
            for name, datum in datums.items():
                if datum is None:
                    continue
                if (problem := self._problem(datum)) is not None:
                    self.left_out.add(name, problem)
                else:
                    found.setdefault(name, []).append((event, datum))
        return found

    def _sizes(
        self, name: str, found: Sequence[tuple[Event, Datum]]
    ) -> Iterator[tuple[int, Event]]:
        """Bytes of each array, and its event; of those that are alike asked for together."""
        try:
            layout = self._reader.describe([datum for _, datum in found])
        except AssetError as error:
            if len(found) > 1:
                for one in found:
                    yield from self._sizes(name, [one])
            else:
                self.left_out.add(name, error)
            return
        self.left_out.served.add(name)
        nbytes = math.prod(layout.shape) * layout.dtype.itemsize
        yield from ((nbytes, event) for event, _ in found)

    def _columns(self, page: Sequence[Event]) -> dict[str, list[Datum | None]]:
        """By field, what the events refer to, in order; None for what is not recorded."""
        found: dict[str, list[Datum | None]] = {}
        for datums in self._datums(page):
            for name, datum in datums.items():
                found.setdefault(name, []).append(datum)
        return found

    def _datums(self, page: Sequence[Event]) -> list[dict[str, Datum | None]]:
        """Of each event, by field, what it refers to; looked up together."""
        wanted = [datum_ids(event, self._externals) for event in page]
        references = self._events.references(id for ids in wanted for id in ids.values())
        for ids in wanted:
            for name, datum_id in ids.items():
                if datum_id not in references:
                    self.left_out.add(name, DatumMissing(name, datum_id))
        known = {datum_id: as_datum(found) for datum_id, found in references.items()}
        return [{name: known.get(datum_id) for name, datum_id in ids.items()} for ids in wanted]

    def _problem(self, datum: Datum) -> AssetError | None:
        """Why the files of its resource cannot be served; looked at once for each resource."""
        if datum.resource not in self._known:
            try:
                self._reader.describe([datum])
                self._known[datum.resource] = None
            except AssetError as error:
                self._known[datum.resource] = error
        return self._known[datum.resource]

    def _arrays(self, name: str, datums: Sequence[Datum | None]) -> Iterator[Array | None]:
        """One array for each, None for what is left out."""
        usable: list[Datum] = []
        for datum in datums:
            problem = None if datum is None else self._problem(datum)
            if problem is not None:
                self.left_out.add(name, problem)
            elif datum is not None:
                usable.append(datum)
        arrays = served_arrays(self._reader, usable, self._allowance, name, self.left_out)
        for datum in datums:
            yield None if datum is None or self._known[datum.resource] else next(arrays)


def served_arrays(
    reader: ArrayReader,
    datums: Sequence[Datum],
    allowance: Allowance,
    field: str,
    left_out: LeftOut,
) -> Iterator[Array | None]:
    """One array a datum, in order; None, and noted, where a file holds none for it."""
    done = 0
    try:
        for array in arrays_of(reader, datums, allowance):
            done += 1
            yield array
    except AssetError as error:
        if len(datums) == 1:
            left_out.add(field, error)
            yield None
            return
        for datum in datums[done:]:
            yield from served_arrays(reader, [datum], allowance, field, left_out)


def arrays_of(
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
    layout = reader.describe(datums[:1])
    nbytes = math.prod(layout.shape) * layout.dtype.itemsize
    allowance.take(nbytes)
    try:
        data = reader.read(datums, whole(layout.shape), layout)
        for array in _split(data.blocks, layout.shape, data.dtype, len(datums)):
            if done:
                allowance.take(nbytes)
            done += 1
            yield array
    except RaggedEvents:
        if len(datums) == 1:
            raise
        for datum in datums[done:]:
            yield from arrays_of(reader, [datum], allowance)


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


def _with_arrays(event: Event, ids: dict[str, str], values: Mapping[str, Array]) -> Event:
    stored = event.get("filled")
    filled = dict(stored) if isinstance(stored, Mapping) else {}
    named = {name: ids[name] for name in values}
    return event | {"data": event["data"] | values, "filled": filled | named}
