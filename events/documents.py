"""The bluesky documents of a run in the order of their emission.

    start
    descriptors, each before the first event of its stream, else by time
    events by time, those of several streams interlaced
    resources and datums, each once, just before the first event that refers to them
    stream_resources and stream_datums before the first event that they are about, else at the end
    stop, if the run has one

This is the order of databroker's `header.documents()`, except that a descriptor of a later stream
comes when it was made and not at the beginning.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any, Protocol

import bson
import numpy as np

from broker_site import media_types
from broker_site.encoding import to_json
from events.arrays.datums import datum_ids, external_fields
from events.filling import Filling
from events.repositories import Events, Reference
from events.wire import array_map, to_msgpack
from headers.descriptors import Descriptor
from headers.mongo import CODEC
from headers.streams import uids_of

Doc = dict[str, Any]
FILLED_AT_ONCE = 100
"""events whose files are looked at together"""


class Writer(Protocol):
    """Writes documents in one wire format."""

    media_type: str

    def document(self, name: str, document: Doc) -> bytes: ...

    def event(self, raw: bytes, event: Doc) -> bytes:
        """An event that was decoded already."""
        ...

    def events(self, batch: bytes) -> bytes:
        """All events of a batch of concatenated BSON documents."""
        ...


class NdjsonWriter:
    """One JSON list [name, document] a line."""

    media_type = media_types.NDJSON

    def document(self, name: str, document: Doc) -> bytes:
        return to_json([name, public(name, document)]) + b"\n"

    def event(self, raw: bytes, event: Doc) -> bytes:
        return self.document("event", event)

    def events(self, batch: bytes) -> bytes:
        return b"".join([to_json(["event", event]) + b"\n" for event in _decoded(batch)])


class MsgpackWriter:
    """One msgpack list [name, document] after the other."""

    media_type = media_types.MSGPACK

    def document(self, name: str, document: Doc) -> bytes:
        return to_msgpack([name, public(name, document)])

    def event(self, raw: bytes, event: Doc) -> bytes:
        return self.document("event", event)

    def events(self, batch: bytes) -> bytes:
        return b"".join([to_msgpack(["event", event]) for event in _decoded(batch)])


class BsonWriter:
    """One BSON document {name, doc} after the other; events are the bytes that are stored."""

    media_type = media_types.BSON

    def document(self, name: str, document: Doc) -> bytes:
        return bson.encode({"name": name, "doc": _storable(document)}, codec_options=CODEC)

    def event(self, raw: bytes, event: Doc) -> bytes:
        return _framed(len(raw)) + raw + b"\0"

    def events(self, batch: bytes) -> bytes:
        frames: dict[int, bytes] = {}
        parts: list[bytes] = []
        for raw in split(batch):
            size = len(raw)
            frame = frames.get(size) or frames.setdefault(size, _framed(size))
            parts += (frame, raw, b"\0")
        return b"".join(parts)


WRITERS: dict[str, type[Writer]] = {
    "ndjson": NdjsonWriter,
    "msgpack": MsgpackWriter,
    "bson": BsonWriter,
}


class Emission:
    """The documents of one run, written one after the other.

    filling: puts the arrays of the files in the place of references to them.
    """

    def __init__(self, events: Events, writer: Writer, filling: Filling | None = None) -> None:
        self._events = events
        self._run = events.run
        self._writer = writer
        self._externals = external_fields(self._run.descriptors)
        self._filling = filling
        self._pending = deque(self._run.descriptors)
        self._sent: set[tuple[str, str]] = set()
        self._streamed = StreamDocuments(events)

    def __iter__(self) -> Generator[bytes, None, None]:
        yield self._writer.document("start", self._run.start)
        if uids := uids_of(self._run.descriptors):
            with closing(self._events.stream_batches(uids)) as batches:
                for batch in batches:
                    yield from self._batch(batch)
        while self._pending:
            yield self._writer.document("descriptor", self._pending.popleft())
        for name, document in self._streamed.rest():
            yield self._writer.document(name, document)
        if self._run.stop is not None:
            yield self._writer.document("stop", self._run.stop)

    def _batch(self, batch: bytes) -> Iterator[bytes]:
        first = batch[: int.from_bytes(batch[:4], "little")]
        yield from self._descriptors(bson.decode(first, CODEC))
        if self._pending or any(self._externals.values()):
            raws = split(batch)
            step = FILLED_AT_ONCE if self._filling else len(raws)
            for begin in range(0, len(raws), step):
                yield from self._one_by_one(raws[begin : begin + step])
        else:
            yield self._writer.events(batch)

    def _one_by_one(self, raws: Sequence[bytes]) -> Iterator[bytes]:
        events = [bson.decode(raw, CODEC) for raw in raws]
        wanted = [datum_ids(event, self._externals) for event in events]
        new = [id for ids in wanted for id in ids.values() if ("datum", id) not in self._sent]
        references = self._events.references(new)
        filled = self._filling.filled(events) if self._filling else iter(events)
        self._streamed.look(events)
        for raw, event, ids in zip(raws, events, wanted, strict=True):
            yield from self._descriptors(event)
            for datum_id in ids.values():
                if datum_id in references:
                    yield from self._reference(references[datum_id])
            for name, document in self._streamed.before(event):
                yield self._writer.document(name, document)
            whole = next(filled)
            if whole is event:
                yield self._writer.event(raw, event)
            else:
                yield self._writer.document("event", whole)

    def _descriptors(self, event: Doc) -> Iterator[bytes]:
        """The descriptors that come before this event."""
        time, own = event.get("time"), event.get("descriptor")
        for descriptor in [d for d in self._pending if d.get("uid") == own or _before(d, time)]:
            self._pending.remove(descriptor)
            yield self._writer.document("descriptor", descriptor)

    def _reference(self, reference: Reference) -> Iterator[bytes]:
        for name, document in (("resource", reference.resource), ("datum", reference.datum)):
            key = (name, identity(name, document))
            if key not in self._sent:
                self._sent.add(key)
                yield self._writer.document(name, document)


class StreamDocuments:
    """The stream_resources and stream_datums of a run, each once, a resource before its datums."""

    def __init__(self, events: Events) -> None:
        self._events = events
        outside = (doc for doc in map(Descriptor, events.run.descriptors) if doc.outside)
        self._seen = {doc.uid: -1 for doc in outside if doc.uid is not None}
        """by descriptor, up to which first sequence number they were looked for"""
        self._next = {uid: deque[Doc]() for uid in self._seen}

    @cached_property
    def _resources(self) -> dict[str, Doc]:
        """Those that are still to come."""
        found = self._events.stream_resources() if self._seen else []
        return {doc["uid"]: doc for doc in found if type(doc.get("uid")) is str}

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self._resources)

    def look(self, events: Sequence[Doc]) -> None:
        """Looks for those that come before these events."""
        for uid in self._seen:
            numbers = (e.get("seq_num") for e in events if e.get("descriptor") == uid)
            last = max((number for number in numbers if isinstance(number, int)), default=-1)
            self._look(uid, last)

    def _look(self, descriptor: str, until: float) -> None:
        above = self._seen[descriptor]
        if until > above and self._known:
            found = self._events.stream_datums_between(descriptor, above, until)
            self._next[descriptor] += [d for d in found if d.get("stream_resource") in self._known]
            self._seen[descriptor] = int(until) if until < math.inf else above

    def before(self, event: Doc) -> Iterator[tuple[str, Doc]]:
        """Those that come before an event."""
        waiting, number = self._next.get(str(event.get("descriptor"))), event.get("seq_num")
        while waiting and isinstance(number, int) and waiting[0]["seq_nums"]["start"] <= number:
            yield from self._with_resource(waiting.popleft())

    def rest(self) -> Iterator[tuple[str, Doc]]:
        """Those that are about no event."""
        for uid, waiting in self._next.items():
            self._look(uid, math.inf)
            while waiting:
                yield from self._with_resource(waiting.popleft())
        yield from (("stream_resource", document) for document in self._resources.values())

    def _with_resource(self, datum: Doc) -> Iterator[tuple[str, Doc]]:
        if (resource := self._resources.pop(datum["stream_resource"], None)) is not None:
            yield "stream_resource", resource
        yield "stream_datum", datum


def public(name: str, document: Doc) -> Doc:
    """The document without the database's own key, which only old documents need."""
    if name == "resource":
        document = document | {"uid": identity(name, document)}
    elif name == "datum":
        document = document | {"resource": str(document.get("resource"))}
    document.pop("_id", None)
    return document


def identity(name: str, document: Doc) -> str:
    """What others call a resource or a datum. Old resources have their `_id` only."""
    if name == "resource":
        return str(document.get("uid") or document.get("_id"))
    return str(document.get("datum_id"))


def _decoded(batch: bytes) -> list[Doc]:
    events = bson.decode_all(batch, CODEC)
    for event in events:
        event.pop("_id", None)
    return events


def split(batch: bytes) -> list[bytes]:
    """The single documents of a batch."""
    found, at = [], 0
    while at < len(batch):
        end = at + int.from_bytes(batch[at : at + 4], "little")
        found.append(batch[at:end])
        at = end
    return found


def _before(descriptor: Doc, time: Any) -> bool:
    made = descriptor.get("time")
    return isinstance(made, int | float) and isinstance(time, int | float) and made <= time


def _framed(size: int) -> bytes:
    """What stands in front of the `size` bytes of a stored event; a NUL stands behind them."""
    head = b"\x02name\0\x06\0\0\0event\0\x03doc\0"
    return (4 + len(head) + size + 1).to_bytes(4, "little") + head


def _storable(document: Doc) -> Doc:
    data = document.get("data")
    if not isinstance(data, dict):
        return document
    maps = {key: array_map(value) for key, value in data.items() if isinstance(value, np.ndarray)}
    return document | {"data": data | maps} if maps else document
