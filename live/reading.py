"""What of a run lies behind a position: its documents in the order of their emission.

That order is the one of `events.documents`, as far as the documents are there when they are read.
An event of a page still has its `_id`, which is its place.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from events.arrays.datums import datum_ids, external_fields
from events.data_keys import DataKey, shape_of
from events.documents import public
from events.repositories import Events, Place, Reference
from headers.descriptors import Descriptor
from headers.repositories import Run, renewed, streamed_counts
from headers.streams import recorded_counts, stream_name, uids_of
from live import streamed
from live.messages import Narrowing, end, identified, write
from live.pages import Following, Item
from live.positions import RECENT, Mark, Position
from live.streamed import StreamDocumentsBehind

Doc = dict[str, Any]
ROWS = 500
"""events of a page at the most"""
PAGE_BYTES = 2**20
"""of a page's events, by what their descriptors say of them"""
MANY_DESCRIPTORS = 60
"""of more, one query finds what is new instead of one for each"""
PATIENCE_SECONDS = 5.0
"""how long events that a stop document counts may be stored after it"""


@dataclass(frozen=True, kw_only=True)
class RunFollowing(Following):
    """Documents of a run, at most ROWS events among them."""

    run: Run
    """as it was when the page was read"""
    before: Position
    after: Position

    @property
    def is_end(self) -> bool:
        return self.after.stopped

    def further(self) -> "RunFollowing":
        return read(self.run, self.after)

    def text(self, choice: Narrowing) -> bytes:
        return write(self.run, self.before, self.items, choice)

    def opening(self) -> bytes:
        # Who begins in the middle shall not begin later when the connection breaks.
        return b"" if self.after.whole else identified(self.after.id(self.run))

    def end(self) -> bytes:
        return end(self.run, self.after, lacking(self.run, self.after))


def begun_at(run: Run, position: Position) -> RunFollowing:
    """Nothing, behind which the documents of a run come that lie behind a position."""
    return RunFollowing(run=run, before=position, items=(), after=position, is_last=False)


def read(run: Run, position: Position) -> RunFollowing:
    """The next page behind a position."""
    run = renewed(run)
    events, is_last = _events_behind(run, position)
    emission = _Emission(run, position)
    is_last = is_last and emission.streamed.is_last
    items = list(emission.items(events, is_last))
    if is_last and (stop := _next_stop(run, emission.position)):
        items += emission.emit("stop", stop)
    after = emission.position
    if len(run.descriptors) > MANY_DESCRIPTORS:
        after = after.summed_up(run)
    return RunFollowing(run=run, before=position, items=items, after=after, is_last=is_last)


def lacking(run: Run, position: Position) -> dict[str, int]:
    """By stream, how many events the stop document counts that there are not."""
    names = {stream_name(descriptor) for descriptor in run.descriptors}
    recorded = recorded_counts(run.stop, names) if position.whole else None
    sent = dict.fromkeys(names, 0)
    for descriptor in run.descriptors:
        sent[stream_name(descriptor)] += position.mark(descriptor.get("uid")).count
    if recorded and any(recorded[name] > count for name, count in sent.items()):
        # Of some streams only stream_datums tell.
        for name, count in streamed_counts(run).items():
            sent[name] = max(sent[name], count)
    missing = {name: count - sent[name] for name, count in (recorded or {}).items()}
    return {name: count for name, count in missing.items() if count > 0}


def from_now(run: Run) -> Position:
    """The position of who wants to see no events that are there already."""
    events, position = Events(run), Position(whole=False)
    for uid in uids_of(run.descriptors):
        newest = events.page([uid], RECENT + 1, backwards=True, only_timed=True)
        mark = Mark()
        for event in reversed(newest):
            mark = mark.and_event(Place.of(event))
        if newest:
            position = position.with_mark(uid, mark)
    if any(Descriptor(document).outside for document in run.descriptors):
        position = streamed.from_now(events, position)
    return position


# -- Events behind a position --------------------------------------------------------------------


def _events_behind(run: Run, position: Position) -> tuple[list[Doc], bool]:
    """The next events in their order, and whether these are all."""
    events, found = Events(run), list[Doc]()
    described = [d for d in run.descriptors if Descriptor(d).uid is not None]
    groups = _by_floor(described, position)
    each = max(1, min(_rows(described), 4 * ROWS // max(1, len(groups))))
    bounds = []
    for floor, uids in groups:
        limit = each + sum(len(position.mark(uid).recent) for uid in uids)
        batch = events.page(uids, limit, after=floor, only_timed=run.stop is None)
        if len(batch) == limit:
            bounds.append(Place.of(batch[-1]).order)
        found += (event for event in batch if not position.includes("event", event))
    found.sort(key=_order)
    if bounds:  # behind the first end of a batch, there may be others between
        found = [event for event in found if _order(event) <= min(bounds)]
    return found[:each], not bounds and len(found) <= each


def _by_floor(described: Iterable[Doc], position: Position) -> list[tuple[Place | None, list[str]]]:
    """The uids of descriptors whose next events are behind the same place, to be asked together."""
    found = dict[Any, tuple[Place | None, list[str]]]()
    for descriptor in described:
        floor = position.mark(descriptor["uid"]).floor
        found.setdefault(floor and floor.order, (floor, []))[1].append(descriptor["uid"])
    return list(found.values())


def _order(event: Doc) -> tuple[Any, ...]:
    return Place.of(event).order


def _rows(descriptors: Iterable[Doc]) -> int:
    """How many events make a page, so that arrays inside of them do not make it huge."""
    largest = max((_row_bytes(descriptor) for descriptor in descriptors), default=1)
    return max(1, min(ROWS, PAGE_BYTES // largest))


def _row_bytes(descriptor: Doc) -> int:
    return 400 + sum(map(_value_bytes, Descriptor(descriptor).data_keys.values()))


def _value_bytes(key: DataKey) -> int:
    lengths = [] if key.get("external") else [length for length in shape_of(key) if length]
    return 40 + 10 * math.prod(lengths)


# -- In the order of emission --------------------------------------------------------------------


def _next_stop(run: Run, position: Position) -> Doc | None:
    """The stop document where it is next: the events that it counts are there, or will not come."""
    if run.stop is None or position.stopped:
        return None
    stopped = run.stop.get("time")
    is_fresh = isinstance(stopped, int | float) and time.time() - stopped < PATIENCE_SECONDS
    return None if is_fresh and lacking(run, position) else run.stop


class _Emission:
    """Puts in front of events what belongs there, and keeps the position."""

    def __init__(self, run: Run, position: Position) -> None:
        self._run = run
        self.position = position
        self._pending = [
            d
            for d in run.descriptors
            if Descriptor(d).uid is not None and not position.includes("descriptor", d)
        ]
        self._externals = external_fields(run.descriptors)
        self.streamed = StreamDocumentsBehind(run, position)

    def items(self, events: Sequence[Doc], is_last: bool) -> Iterator[Item]:
        if not self.position.started:
            yield from self.emit("start", self._run.start)
        wanted = [datum_ids(event, self._externals) for event in events]
        references = Events(self._run).references(id for ids in wanted for id in ids.values())
        for event, ids in zip(events, wanted, strict=True):
            yield from self._descriptors(event)
            for datum_id in ids.values():
                if datum_id in references:
                    yield from self._reference(references[datum_id])
            yield from self._emitted(self.streamed.before(event))
            yield from self.emit("event", event)
        if is_last:
            yield from self._described(list(self._pending))
            yield from self._emitted(self.streamed.rest())

    def _emitted(self, items: Iterable[Item]) -> Iterator[Item]:
        for name, document in items:
            yield from self.emit(name, document)

    def emit(self, name: str, document: Doc) -> Iterator[Item]:
        self.position = self.position.and_then(name, document)
        yield name, document

    def _descriptors(self, event: Doc) -> Iterator[Item]:
        """Those that come before this event: its own, and those that were made before it."""
        own, moment = event["descriptor"], event.get("time")
        yield from self._described(
            [d for d in self._pending if d["uid"] == own or _made_before(d, moment)]
        )

    def _described(self, descriptors: Iterable[Doc]) -> Iterator[Item]:
        for descriptor in descriptors:
            self._pending.remove(descriptor)
            yield from self.emit("descriptor", descriptor)

    def _reference(self, reference: Reference) -> Iterator[Item]:
        if self.position.includes("datum", reference.datum):
            return
        for name, document in (("resource", reference.resource), ("datum", reference.datum)):
            if not self.position.includes(name, document):
                yield from self.emit(name, public(name, dict(document)))


def _made_before(descriptor: Doc, moment: Any) -> bool:
    made = descriptor.get("time")
    return isinstance(made, int | float) and isinstance(moment, int | float) and made <= moment
