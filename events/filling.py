"""Arrays from files, put into the events that refer to them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, ClassVar

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from events.assets import Datum, OutsideDatabase, RaggedEvents, Resource, Roots
from events.reader import ArrayReader, pool_for
from events.repositories import Events, Reference
from events.slices import whole
from events.sources import bytes_per_event
from headers.repositories import Run
from headers.streams import STREAM_REFERENCE, Doc

Array = NDArray[Any]
Event = dict[str, Any]
Externals = Mapping[str, frozenset[str]]
"""descriptor uid → its fields that are kept in files"""


class DatumMissing(Exception):
    """An event refers to a datum that this run does not have."""

    status: ClassVar[int] = 410

    def __init__(self, event: Doc, field: str) -> None:
        super().__init__(
            f"Event {event.get('uid')}: what its field {field!r} refers to is not recorded "
            "with this run."
        )


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


def require_files(descriptors: Iterable[Doc], fields: frozenset[str] | None = None) -> None:
    """Refuse fields that were recorded outside of this database.

    Raises
    ------
    OutsideDatabase
        One of the fields (None: of all) is, so it cannot be filled.
    """
    for descriptor in descriptors:
        for name in _externals(descriptor):
            external = str(descriptor["data_keys"][name]["external"])
            if external.startswith(STREAM_REFERENCE) and (fields is None or name in fields):
                raise OutsideDatabase(name)


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
    """Fills the events of one run."""

    def __init__(self, events: Events, externals: Externals) -> None:
        self._events = events
        self._externals = externals
        self._reader = array_reader(events.run)

    def filled(self, page: Sequence[Event]) -> Iterator[Event]:
        """The same events with their arrays, read while they are asked for.

        `filled` then names the datum an array came from, as event_model's Filler does it.
        """
        columns = self.columns(page)
        arrays = {name: arrays_of(self._reader, datums) for name, datums in columns.items()}
        for event in page:
            ids = datum_ids(event, self._externals)
            yield _with_arrays(event, ids, arrays) if ids else event

    def columns(self, page: Sequence[Event]) -> dict[str, list[Datum]]:
        """By field, what the events refer to, in order.

        Raises
        ------
        DatumMissing
            An event refers to something that this run does not have.
        """
        wanted = [datum_ids(event, self._externals) for event in page]
        references = self._events.references(id for ids in wanted for id in ids.values())
        found: dict[str, list[Datum]] = {}
        for event, ids in zip(page, wanted, strict=True):
            for name, datum_id in ids.items():
                if datum_id not in references:
                    raise DatumMissing(event, name)
                found.setdefault(name, []).append(as_datum(references[datum_id]))
        return found

    def nbytes(self, page: Sequence[Event], budget: int) -> int:
        """Bytes of the arrays of these events, told without reading values.

        Raises
        ------
        TooMuchInline
            They exceed `budget` bytes.
        """
        total = 0
        for name, datums in self.columns(page).items():
            total += _nbytes(self._reader, datums, budget - total)
            if total > budget:
                event = next(e for e in page if name in datum_ids(e, self._externals))
                raise TooMuchInline(total, event, name)
        return total


def arrays_of(reader: ArrayReader, datums: Sequence[Datum]) -> Iterator[Array]:
    """One array per datum, in order, in memory one at a time. Their shapes may differ."""
    if not datums:
        return
    done = 0
    layout = reader.describe(datums[:1])
    try:
        data = reader.read(datums, whole(layout.shape), layout)
        for array in _split(data.blocks, layout.shape, data.dtype, len(datums)):
            done += 1
            yield array
    except RaggedEvents:
        if len(datums) == 1:
            raise
        for datum in datums[done:]:
            yield from arrays_of(reader, [datum])


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


def _nbytes(reader: ArrayReader, datums: Sequence[Datum], budget: int) -> int:
    """Bytes of the arrays of these datums; only a lower bound where that exceeds the budget."""
    try:
        layout = reader.describe(datums)
        return len(datums) * math.prod(layout.shape) * layout.dtype.itemsize
    except RaggedEvents:
        total = 0
        for datum in datums:
            layout = reader.describe([datum])
            total += math.prod(layout.shape) * layout.dtype.itemsize
            if total > budget:
                break
        return total


def _with_arrays(event: Event, ids: dict[str, str], arrays: Mapping[str, Iterator[Array]]) -> Event:
    values = {name: next(arrays[name]) for name in ids}
    stored = event.get("filled")
    filled = dict(stored) if isinstance(stored, Mapping) else {}
    return event | {"data": event["data"] | values, "filled": filled | ids}
