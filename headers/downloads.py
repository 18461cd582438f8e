"""Where a run's data is to be had, in which formats, and how big that is, roughly."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any
from urllib.parse import quote

from headers.plotting import field_kind, shape_of

TABLE_FORMATS = {
    "csv": 1.6,
    "parquet": 0.6,
    "arrow": 1.0,
    "json": 1.5,
    "ndjson": 2.5,
    "msgpack": 1.2,
}
"""format → bytes in it for a byte of values in memory"""
ARRAY_FORMATS = ("npy", "h5", "octet-stream")
DOCUMENT_FORMATS = {"ndjson": 1.0, "msgpack": 0.8, "bson": 0.9}
EVENT_BYTES = 300
FIELD_BYTES = 70
"""of an event document: the frame, and for each field its value, time and names"""
TEXT_BYTES = 24
ASSUMED_ITEM_BYTES = 4
"""of an array whose data key does not tell its type"""
_NUMPY_NUMBER = re.compile(r"[<>|=]?[biufc](\d{1,2})")


@dataclass(frozen=True)
class Download:
    format: str
    url: str
    bytes: float | None


def run_downloads(run_url: str, streams: list[dict[str, Any]]) -> dict[str, list[Download]]:
    """The whole run: as one file, and as its documents one after the other."""
    inline = sum(
        stream["event_count"]
        * (EVENT_BYTES + FIELD_BYTES * len(stream["fields"]) + _inline(stream))
        for stream in streams
    )
    external = sum(
        stream["event_count"] * (field_bytes(field) or 0)
        for stream in streams
        for field in stream["fields"].values()
        if field["external"]
    )
    files = [
        Download("h5", f"{run_url}export/?format=h5", inline / 4 + external),
        Download("ndjson", f"{run_url}export/?format=ndjson", inline),
    ]
    documents = [
        Download(name, f"{run_url}documents/?format={name}", inline * factor)
        for name, factor in DOCUMENT_FORMATS.items()
    ]
    return {"files": files, "documents": documents}


def table_downloads(stream_url: str, stream: Mapping[str, Any]) -> list[Download]:
    row = 16 + _inline(stream)
    return [
        Download(name, f"{stream_url}table/?format={name}", stream["event_count"] * row * factor)
        for name, factor in TABLE_FORMATS.items()
    ]


def array_downloads(
    stream_url: str, name: str, field: Mapping[str, Any], events: int
) -> list[Download]:
    one = field_bytes(field)
    size = None if one is None else one * events
    url = f"{stream_url}data/{quote(name, safe='')}/"
    return [Download(kind, f"{url}?format={kind}", size) for kind in ARRAY_FORMATS]


def field_bytes(field: Mapping[str, Any]) -> int | None:
    """Bytes of a field in one event; None for an array of unknown shape."""
    match field_kind(field):
        case "number":
            return 8
        case "text" | "unavailable":
            return TEXT_BYTES
    shape = shape_of(field)
    return prod(shape) * _item_bytes(field) if shape else None


def stream_url(run_url: str, stream: str) -> str:
    return f"{run_url}streams/{quote(stream, safe='')}/"


def _inline(stream: Mapping[str, Any]) -> int:
    """Bytes of the values that events of a stream hold themselves."""
    return sum(
        TEXT_BYTES if field["external"] else field_bytes(field) or 0
        for field in stream["fields"].values()
    )


def _item_bytes(field: Mapping[str, Any]) -> int:
    if not field["external"]:
        return 8
    described = _NUMPY_NUMBER.fullmatch(str(field.get("dtype_numpy")))
    return int(described[1]) if described else ASSUMED_ITEM_BYTES
