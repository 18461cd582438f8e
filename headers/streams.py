"""What the streams of a run hold, told from its descriptors."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from headers.descriptors import Descriptor, Doc, as_mapping

FIELD_PARTS = ("dtype", "shape", "units", "source", "external")
"""of a data key, what is told of its field"""


def stream_name(descriptor: Doc) -> str:
    """The name of a descriptor's stream."""
    return Descriptor(descriptor).name


def uids_of(descriptors: Iterable[Doc]) -> list[str]:
    """The uids that can be asked for."""
    return [
        uid for descriptor in map(Descriptor, descriptors) if (uid := descriptor.uid) is not None
    ]


def describe_streams(
    descriptors: Iterable[Doc],
    counts: Mapping[str, int],
    referenced: Collection[tuple[str, str]] = (),
) -> list[dict[str, Any]]:
    """Each stream with its descriptors, number of events and fields, in order of appearance.

    counts: the number of events by stream name. referenced: by descriptor uid and name, those of
    `Descriptor.outside` to whose files an event refers all the same. Of a field that several
    descriptors have, the last one tells.
    """
    streams: dict[str, dict[str, Any]] = {}
    for descriptor in map(Descriptor, descriptors):
        name = descriptor.name
        empty = {"name": name, "descriptors": [], "event_count": counts.get(name, 0), "fields": {}}
        stream = streams.setdefault(name, empty)
        stream["descriptors"].append(descriptor.document.get("uid"))
        stream["fields"] |= _fields(descriptor, referenced)
    return list(streams.values())


def recorded_counts(stop: Doc | None, names: Iterable[str]) -> dict[str, int] | None:
    """Events by stream as the stop document tells them, None unless it does for every stream."""
    recorded = as_mapping((stop or {}).get("num_events"))
    counts = {name: recorded.get(name) for name in names}
    whole = {name: count for name, count in counts.items() if type(count) is int}
    return whole if len(whole) == len(counts) else None


def _fields(
    descriptor: Descriptor, referenced: Collection[tuple[str, str]]
) -> dict[str, dict[str, Any]]:
    uid = descriptor.uid
    outside = {name for name in descriptor.outside if (uid, name) not in referenced}
    return {
        name: {part: key.get(part) for part in FIELD_PARTS} | {"available": name not in outside}
        for name, key in descriptor.data_keys.items()
    }
