"""The stream_resources and stream_datums of a run that lie behind a position.

They come before the first event that they are about, or when there is nothing else. How far the
stream_datums of each stream_resource were sent is known by their first sequence number, by which
writers send them.
"""

import math
from collections.abc import Iterator
from typing import Any

from events.documents import public
from events.repositories import Events
from headers.descriptors import Descriptor
from headers.repositories import Run
from live.pages import Item
from live.positions import RECENT, Position, place_of_stream_datum

Doc = dict[str, Any]
EACH = 500
"""stream_datums of a stream_resource"""
LONGEST = 20_000
"""stream_datums in memory"""


class StreamDocumentsBehind:
    """Those that come next, and whether these are all."""

    def __init__(self, run: Run, position: Position) -> None:
        self._position = position
        self._resources, self._waiting, self.is_last = dict[str, Doc](), list[Doc](), True
        if not any(Descriptor(document).outside for document in run.descriptors):
            return
        events = Events(run)
        found = events.stream_resources()
        self._resources = {doc["uid"]: doc for doc in found if type(doc.get("uid")) is str}
        limit = min(LONGEST, EACH * max(1, len(self._resources)))
        starts = {uid: _floor(position, uid) for uid in self._resources}
        datums = events.stream_datums_behind(starts, limit)
        self.is_last = len(datums) < limit
        self._waiting = [d for d in datums if not position.includes("stream_datum", d)]

    def before(self, event: Doc) -> Iterator[Item]:
        """Those about this event, or about earlier ones of its descriptor."""
        number = event.get("seq_num")
        if self._waiting and isinstance(number, int):
            own, last = event["descriptor"], int(number)
            yield from self._taken(
                lambda datum: datum["descriptor"] == own and datum["seq_nums"]["start"] <= last
            )

    def rest(self) -> Iterator[Item]:
        yield from self._taken(lambda datum: True)
        for uid in list(self._resources):
            yield from self._resource(uid)

    def _taken(self, wanted: Any) -> Iterator[Item]:
        taken = [datum for datum in self._waiting if wanted(datum)]
        if taken:
            self._waiting = [datum for datum in self._waiting if not wanted(datum)]
        for datum in taken:
            yield from self._resource(datum["stream_resource"])
            yield "stream_datum", public("stream_datum", datum)

    def _resource(self, uid: str) -> Iterator[Item]:
        resource = self._resources.pop(uid, None)
        if resource is not None and not self._position.includes("stream_resource", resource):
            yield "stream_resource", public("stream_resource", resource)


def _floor(position: Position, resource: str) -> float:
    floor = position.streamed_mark(resource).floor
    return -math.inf if floor is None or floor.time is None else floor.time


def from_now(events: Events, position: Position) -> Position:
    """The position of who wants to see no stream_datums that are there already."""
    for resource in events.stream_resources():
        uid = resource.get("uid")
        newest = events.newest_stream_datums(uid, RECENT + 1) if type(uid) is str else []
        mark = position.streamed_mark(uid)
        for datum in newest:
            mark = mark.and_event(place_of_stream_datum(datum))
        position = position.with_streamed(uid, mark) if newest else position
    return position
