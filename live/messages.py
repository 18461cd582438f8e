"""Documents as server-sent events (WHATWG HTML, section 9.2)."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from broker_site import media_types
from broker_site.encoding import to_json
from events.paging import narrowed
from headers.repositories import Run
from headers.streams import stream_name
from live.pages import Item
from live.positions import Position

Doc = dict[str, Any]

MEDIA_TYPE = media_types.EVENT_STREAM
RETRY = b"retry: 2000\n\n"
"""milliseconds after which a browser connects anew"""
HEARTBEAT = b": nothing new\n\n"
GONE = b"event: gone\ndata: {}\n\n"
PER_FIELD = ("data", "timestamps", "filled")


@dataclass(frozen=True)
class Narrowing:
    """What of a run's documents a reader wants; None: all."""

    fields: frozenset[str] | None = None
    streams: frozenset[str] | None = None


def message(event: str, content: Any, id: str = "") -> bytes:
    """One event. JSON has no line breaks."""
    head = f"id: {id}\n" if id else ""
    return f"{head}event: {event}\ndata: ".encode() + to_json(content) + b"\n\n"


def identified(id: str) -> bytes:
    """No event, but an id to come again with."""
    return f"id: {id}\n\n".encode()


def write(run: Run, position: Position, items: Sequence[Item], choice: Narrowing) -> bytes:
    """Documents that come behind a position."""
    streams = {d.get("uid"): stream_name(d) for d in run.descriptors}
    messages = []
    for group in _grouped(items):
        for name, document in group:
            position = position.and_then(name, document)
        content = _chosen(group, streams, choice)
        if content is not None:
            name = "event_page" if group[0][0] == "event" else group[0][0]
            position, id = position.with_id(run)
            messages.append(message(name, content, id))
    return b"".join(messages)


def end(run: Run, position: Position, missing: Mapping[str, int]) -> bytes:
    """The last event of a complete run. Who comes back with its id is told that there is no more.

    missing: by stream, how many events the stop document counts that do not exist.
    """
    content: Doc = {"reason": "stop"} | ({"missing": missing} if missing else {})
    return message("end", content, replace(position, ended=True).id(run))


def _grouped(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Single documents, and events of one descriptor and shape that come one after the other."""
    group: list[Item] = []
    for item in items:
        if group and not _belong_together(group[-1], item):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _belong_together(one: Item, other: Item) -> bool:
    if one[0] != "event" or other[0] != "event":
        return False
    first, second = one[1], other[1]
    return first["descriptor"] == second["descriptor"] and _shape(first) == _shape(second)


def _shape(event: Doc) -> list[Collection[str]]:
    """The keys of an event, and of what it has for each field."""
    parts = (event.get(part) for part in PER_FIELD)
    return [event.keys(), *(part.keys() if isinstance(part, dict) else () for part in parts)]


def _chosen(group: Sequence[Item], streams: dict[Any, str], choice: Narrowing) -> Doc | None:
    """The content of an event; None where the reader does not want it."""
    name = group[0][0]
    document: Doc = group[0][1]
    own = "uid" if name == "descriptor" else "descriptor"
    uid = document.get(own) if name in ("descriptor", "event", "stream_datum") else None
    if uid is not None and choice.streams is not None and streams[uid] not in choice.streams:
        return None
    if name != "event":
        return document
    return _event_page([narrowed(event, choice.fields) for _, event in group])


def _event_page(events: Sequence[Doc]) -> Doc:
    """Events of one descriptor as one document, with a list for each key."""
    page: Doc = {"descriptor": events[0]["descriptor"]}
    for key in events[0]:
        if key in PER_FIELD and isinstance(events[0][key], dict):
            page[key] = {name: [event[key][name] for event in events] for name in events[0][key]}
        elif key != "descriptor":
            page[key] = [event[key] for event in events]
    return page
