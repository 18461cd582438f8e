"""Pages of events: of one or several runs, in the order of (time, _id)."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import quote

from broker_site.cursors import read_cursor, write_cursor
from events.arrays.datums import Event, Externals, external_fields
from events.arrays.frames import Allowance
from events.arrays.streamed import Streamed
from events.filling import Filling, outside_fields, streamed_of
from events.left_out import LeftOut
from events.repositories import Events, Place

PER_FIELD = ("data", "timestamps", "filled")


@dataclass(frozen=True)
class PageOfEvents:
    """`events` by position, with `_id`; cursors of the pages beside, None where there is none."""

    events: list[tuple[Events, Event]]
    next: str | None
    previous: str | None


def event_page(
    sources: Sequence[tuple[Events, Sequence[str]]], size: int, *, salt: str, cursor: str | None
) -> PageOfEvents:
    """The page that a cursor points at, or the first one.

    sources: of each run its events, and the descriptors whose events are wanted.
    """
    place, backwards = _read(cursor, salt) if cursor is not None else (None, False)
    found = _merged(sources, size + 1, place, backwards)  # one more tells whether there is more
    further, found = len(found) > size, found[:size]
    if backwards:
        found.reverse()
    if not found:
        return PageOfEvents([], None, None)
    has_next, has_previous = (True, further) if backwards else (further, cursor is not None)
    return PageOfEvents(
        found,
        _write(found[-1][1], salt, backwards=False) if has_next else None,
        _write(found[0][1], salt, backwards=True) if has_previous else None,
    )


def narrowed(event: Event, fields: frozenset[str] | None) -> Event:
    """The event without `_id`, and with these fields only (None: with all)."""
    content = {key: value for key, value in event.items() if key != "_id"}
    if fields is None:
        return content
    for part in PER_FIELD:
        if isinstance(values := content.get(part), dict):
            content[part] = {name: values[name] for name in values if name in fields}
    return content


def page_links(
    root: str, sources: Sequence[Events], page: Sequence[Event], fields: frozenset[str] | None
) -> list[dict[str, str]]:
    """Of each event, where the values of its external fields are served.

    root: address of events/; sources: of each event, where it comes from; fields: see `narrowed`.
    """
    links = list[dict[str, str]]()
    for events, group in groupby(zip(sources, page, strict=True), key=itemgetter(0)):
        descriptors, of_run = events.run.descriptors, [event for _, event in group]
        externals, outside = external_fields(descriptors), outside_fields(descriptors)
        streamed = streamed_of(of_run, outside, Streamed(events))
        for event, placed in zip(of_run, streamed, strict=True):
            names = [name for name in placed if fields is None or name in fields]
            more = {name: field_url(root, event.get("uid"), name) for name in names}
            links.append(field_links(root, event, externals) | more)
    return links


def field_links(root: str, event: Event, externals: Externals) -> dict[str, str]:
    """The same for what stands in the event."""
    fields = externals.get(str(event.get("descriptor")), frozenset())
    data = event.get("data")
    held = [name for name in data if name in fields] if isinstance(data, dict) else []
    return {name: field_url(root, event.get("uid"), name) for name in held}


def field_url(root: str, uid: object, field: str) -> str:
    """The address of one field of one event."""
    return f"{root}{quote(str(uid), safe='')}/data/{quote(field, safe='')}/"


def filled_inline(
    sources: Sequence[Events], page: Sequence[Event], externals: Externals, budget: int
) -> tuple[list[Event], LeftOut]:
    """The same events with their arrays, and what was left out of them.

    sources: of each event, where it comes from.

    Raises
    ------
    TooMuchInline
        The arrays exceed `budget` bytes together; nothing was read.
    TooLarge
        They do, which only showed while they were read.
    AssetError, OutsideDatabase, DatumMissing
        Nothing would be left: the events hold nothing else, and none of it can be served.
    """
    places: dict[Events, list[int]] = {}
    for place, events in enumerate(sources):
        places.setdefault(events, []).append(place)
    results, left_out = list(page), LeftOut()
    allowance = Allowance(budget, budget)
    fillings = {events: Filling(events, externals, allowance) for events in places}
    surveyed = 0
    for events, at in places.items():
        surveyed += fillings[events].survey([page[place] for place in at], spent=surveyed)
    for events, at in places.items():
        filled = list(fillings[events].filled([page[place] for place in at]))
        left_out.include(fillings[events].left_out)
        for place, event in zip(at, filled, strict=True):
            results[place] = event
    return results, left_out


def _merged(
    sources: Sequence[tuple[Events, Sequence[str]]],
    limit: int,
    after: Place | None,
    backwards: bool,
) -> list[tuple[Events, Event]]:
    pages = [
        [(events, event) for event in events.page(uids, limit, after=after, backwards=backwards)]
        for events, uids in sources
    ]
    merged = heapq.merge(*pages, key=_order, reverse=backwards)
    return list(merged)[:limit]


def _order(found: tuple[Events, Event]) -> tuple[Any, ...]:
    return Place.of(found[1]).order


def _write(event: Mapping[str, Any], salt: str, *, backwards: bool) -> str:
    place = Place.of(event)
    return write_cursor({"time": place.time, "id": place.id, "backwards": backwards}, salt)


def _read(cursor: str, salt: str) -> tuple[Place, bool]:
    content = read_cursor(cursor, salt)
    return Place(content["time"], content["id"]), content["backwards"]
