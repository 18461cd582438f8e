"""Arrays from files, put into the events that refer to them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from events.arrays.datums import Event, Externals, array_reader, datum_ids, recorded_datums
from events.arrays.frames import Allowance, Array, served_frames
from events.arrays.streamed import Streamed
from events.files.assets import AssetError, Datum, Resource
from events.left_out import DatumMissing, LeftOut
from events.repositories import Events
from headers.descriptors import Descriptor, Doc, as_mapping


class TooMuchInline(Exception):
    """Arrays together exceed what may be inline; `field` of `event` is the first too many."""

    def __init__(self, nbytes: int, event: Doc, field: str) -> None:
        super().__init__(f"the arrays are {nbytes} bytes or more")
        self.nbytes, self.event, self.field = nbytes, event, field


class Filling:
    """Fills the events of one run, and leaves out what cannot be served."""

    def __init__(self, events: Events, externals: Externals, allowance: Allowance) -> None:
        self._events = events
        self._externals = externals
        self._allowance = allowance
        self._reader = array_reader(events.run)
        self._known: dict[Resource, AssetError | None] = {}
        self._streamed = Streamed(events)
        self._outside = outside_fields(events.run.descriptors)
        self.left_out = LeftOut()

    def filled(self, page: Sequence[Event]) -> Iterator[Event]:
        """The same events with their arrays, read while they are asked for.

        `filled` then names the datum an array came from, as event_model's Filler does it; of what
        is left out, it and the data stay as they are.
        """
        datums = self._datums(page)
        names = dict.fromkeys(name for of_event in datums for name in of_event)
        arrays = {
            name: self._arrays(name, [of_event[name] for of_event in datums if name in of_event])
            for name in names
        }
        for event, of_event in zip(page, datums, strict=True):
            values = {name: next(arrays[name]) for name in of_event}
            found = {name: value for name, value in values.items() if value is not None}
            self.left_out.served |= set(found)
            yield _with_arrays(event, found) if found else event

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
                if served := self._served(name, datum):
                    found.setdefault(name, []).append((event, served))
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

    def _datums(self, page: Sequence[Event]) -> list[dict[str, Datum | None]]:
        """Of each event, by field, what it refers to; looked up together."""
        wanted = [datum_ids(event, self._externals) for event in page]
        known = recorded_datums(self._events, (id for ids in wanted for id in ids.values()))
        for ids in wanted:
            for name, datum_id in ids.items():
                if datum_id not in known:
                    self.left_out.add(name, DatumMissing(name, datum_id))
        streamed = streamed_of(page, self._outside, self._streamed)
        self.left_out.streamed |= set(self._streamed.resources)
        for event, found in zip(page, streamed, strict=True):
            self._note_unstreamed(event, found)
        return [
            {**{name: known.get(datum_id) for name, datum_id in ids.items()}, **found}
            for ids, found in zip(wanted, streamed, strict=True)
        ]

    def _note_unstreamed(self, event: Event, found: Mapping[str, Datum]) -> None:
        data = as_mapping(event.get("data"))
        for name in self._outside.get(str(event.get("descriptor")), ()):
            if name in self.left_out.streamed and name not in found and data.get(name) is None:
                number = f"no stream_datum is about seq_num {event.get('seq_num')}"
                self.left_out.add(name, DatumMissing(name, number))

    def _served(self, name: str, datum: Datum | None) -> Datum | None:
        """The datum; None, and noted, if the files of its resource cannot be served.

        They are looked at once for each resource.
        """
        if datum is None:
            return None
        if datum.resource not in self._known:
            try:
                self._reader.describe([datum])
                self._known[datum.resource] = None
            except AssetError as error:
                self._known[datum.resource] = error
        if (problem := self._known[datum.resource]) is None:
            return datum
        self.left_out.add(name, problem)
        return None

    def _arrays(self, name: str, datums: Sequence[Datum | None]) -> Iterator[Array | None]:
        """One array for each, None for what is left out."""
        served = [self._served(name, datum) for datum in datums]
        usable = [datum for datum in served if datum is not None]
        arrays = served_frames(self._reader, usable, self._allowance, name, self.left_out)
        for datum in served:
            yield None if datum is None else next(arrays)


def outside_fields(descriptors: Iterable[Doc]) -> dict[str, dict[str, Doc]]:
    """By descriptor, the data keys of the fields that no event has a value of."""
    return {
        str(descriptor.uid): {name: descriptor.data_keys[name] for name in descriptor.outside}
        for descriptor in map(Descriptor, descriptors)
    }


def streamed_of(
    page: Sequence[Event], outside: Mapping[str, Mapping[str, Doc]], streamed: Streamed
) -> list[dict[str, Datum]]:
    """Of each event, by field, the rows of files that stream_datums place at it.

    outside: by descriptor, the data keys of the fields that may have any.
    """
    found = [dict[str, Datum]() for _ in page]
    for (uid, name), places in _unrecorded(page, outside).items():
        wanted = {page[place]["seq_num"] for place in places}
        datums = streamed.datums(name, outside[uid][name], [uid], wanted)
        for place in places:
            if (datum := datums.get(page[place]["seq_num"])) is not None:
                found[place][name] = datum
    return found


def _unrecorded(
    page: Sequence[Event], outside: Mapping[str, Mapping[str, Doc]]
) -> dict[tuple[str, str], list[int]]:
    """The places of the events that have no value themselves, by descriptor and field."""
    found = dict[tuple[str, str], list[int]]()
    for place, event in enumerate(page):
        uid, data = str(event.get("descriptor")), as_mapping(event.get("data"))
        if isinstance(event.get("seq_num"), int):
            for name in outside.get(uid, ()):
                if data.get(name) is None:
                    found.setdefault((uid, name), []).append(place)
    return found


def _with_arrays(event: Event, values: Mapping[str, Array]) -> Event:
    # What no datum is of has no id to be named by.
    data = as_mapping(event.get("data"))
    named = {name: data.get(name) or True for name in values}
    filled = dict(as_mapping(event.get("filled"))) | named
    return event | {"data": {**data, **values}, "filled": filled}
