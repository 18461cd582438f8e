"""Documents as the clients take them: events and datums in pages only, NaN as Python writes it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import bson
from rest_framework.request import Request

from broker_site import media_types
from broker_site.encoding import to_json
from events.documents import public
from headers.mongo import CODEC
from tiled import wire

Doc = dict[str, Any]
PAGE = 100
ROWS = ("seq_num", "time", "uid")
MAPS = ("data", "timestamps", "filled")


class SequenceWriter:
    """One record {"name": …, "doc": …} after the other.

    RFC 7464 has a separator in front of each; clients of the first generation know none.
    """

    media_type = media_types.JSON_SEQ

    def __init__(self, *, separated: bool, literals: bool) -> None:
        self._begin = b"\x1e" if separated else b""
        self._literals = literals

    def document(self, name: str, document: Doc) -> bytes:
        if name == "event":
            return self._record("event_page", event_page([document]))
        if name == "datum":
            return self._record("datum_page", datum_page(public(name, document)))
        return self._record(name, public(name, document))

    def event(self, raw: bytes, event: Doc) -> bytes:
        return self.document("event", event)

    def events(self, batch: bytes) -> bytes:
        pages = pages_of(bson.decode_all(batch, CODEC))
        return b"".join(self._record("event_page", event_page(page)) for page in pages)

    def _record(self, name: str, document: Doc) -> bytes:
        return self._begin + self._written({"name": name, "doc": document}) + b"\n"

    def _written(self, record: Doc) -> bytes:
        return _with_literals(record) if self._literals else to_json(record)


class MsgpackSequenceWriter(SequenceWriter):
    """One map after the other."""

    media_type = media_types.X_MSGPACK

    def _record(self, name: str, document: Doc) -> bytes:
        return wire.to_msgpack({"name": name, "doc": document})


def writer_for(request: Request) -> SequenceWriter:
    agent = request.headers.get("User-Agent", "")
    kind = (
        MsgpackSequenceWriter
        if media_types.X_MSGPACK in request.headers.get("Accept", "")
        else SequenceWriter
    )
    return kind(
        separated=not agent.startswith("python-tiled/0.1."),
        literals=agent.startswith("python-tiled"),
    )


def pages_of(events: Iterable[Doc]) -> Iterator[list[Doc]]:
    """Events of one descriptor that follow each other and hold the same keys, 100 at most."""
    for _, found in groupby(events, _likeness):
        group = list(found)
        yield from (group[at : at + PAGE] for at in range(0, len(group), PAGE))


def _likeness(event: Doc) -> Any:
    return str(event.get("descriptor")), [sorted(_map(event, name)) for name in MAPS]


def _map(event: Doc, name: str) -> Mapping[str, Any]:
    found = event.get(name)
    return found if isinstance(found, Mapping) else {}


def event_page(events: list[Doc]) -> Doc:
    """A page of events that hold the same keys."""
    page: Doc = {name: [event.get(name) for event in events] for name in ROWS}
    page["descriptor"] = events[0].get("descriptor")
    for name in MAPS:
        keys = _map(events[0], name)
        page[name] = {key: [_map(event, name)[key] for event in events] for key in keys}
    return page


def datum_page(datum: Doc) -> Doc:
    arguments = datum.get("datum_kwargs")
    found = arguments if isinstance(arguments, Mapping) else {}
    return {
        "resource": datum.get("resource"),
        "datum_id": [datum.get("datum_id")],
        "datum_kwargs": {name: [value] for name, value in found.items()},
    }


def _with_literals(record: Doc) -> bytes:
    """JSON with the literals NaN and Infinity, which Python reads: with null in its place, the
    clients' columns of floats break."""
    plain = json.dumps(record, default=_plain, ensure_ascii=False, separators=(",", ":"))
    return plain.encode("utf-8", "replace")


def _plain(value: Any) -> Any:
    tolist = getattr(value, "tolist", None)
    return tolist() if tolist else json.loads(to_json(value))
