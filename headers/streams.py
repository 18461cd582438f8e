"""What the streams of a run hold, told from its descriptors."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

Doc = Mapping[str, Any]

STREAM_REFERENCE = "STREAM:"
"""`external` of data that was recorded without any reference in MongoDB"""


def stream_name(descriptor: Doc) -> str:
    """Old descriptors have no name; they are of the only stream there was, primary."""
    name = descriptor.get("name")
    return name if type(name) is str and name else "primary"


def uids_of(descriptors: Iterable[Doc]) -> list[str]:
    """The uids that are texts; others cannot be asked for, and JavaScript code not be hashed."""
    return [uid for descriptor in descriptors if type(uid := descriptor.get("uid")) is str]


def describe_streams(
    descriptors: Iterable[Doc],
    counts: Mapping[str, int],
    referenced: Collection[tuple[str, str]] = (),
) -> list[dict[str, Any]]:
    """Each stream with its descriptors, number of events and fields, in order of appearance.

    counts: the number of events by stream name. referenced: by descriptor uid and name, the fields
    recorded elsewhere (`outside_fields`) to whose files an event refers all the same. Of a field
    that several descriptors have, the last one tells.
    """
    streams: dict[str, dict[str, Any]] = {}
    for descriptor in descriptors:
        name = stream_name(descriptor)
        empty = {"name": name, "descriptors": [], "event_count": counts.get(name, 0), "fields": {}}
        stream = streams.setdefault(name, empty)
        stream["descriptors"].append(descriptor.get("uid"))
        stream["fields"] |= _fields(descriptor, referenced)
    return list(streams.values())


def outside_fields(descriptor: Doc) -> list[str]:
    """The fields whose data keys say that they were recorded without a reference in MongoDB."""
    keys = descriptor.get("data_keys")
    return [
        name
        for name, key in (keys.items() if isinstance(keys, Mapping) else ())
        if isinstance(key, Mapping) and str(key.get("external") or "").startswith(STREAM_REFERENCE)
    ]


def recorded_counts(stop: Doc | None, names: Iterable[str]) -> dict[str, int] | None:
    """Events by stream as the stop document tells them, None unless it does for every stream."""
    recorded = (stop or {}).get("num_events")
    if not isinstance(recorded, Mapping):
        return None
    counts = {name: recorded.get(name) for name in names}
    whole = {name: count for name, count in counts.items() if type(count) is int}
    return whole if len(whole) == len(counts) else None


def _fields(descriptor: Doc, referenced: Collection[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    keys = descriptor.get("data_keys")
    if not isinstance(keys, Mapping):
        return {}
    uid = descriptor.get("uid")
    outside = {name for name in outside_fields(descriptor) if (uid, name) not in referenced}
    return {
        name: _field(key, available=name not in outside)
        for name, key in keys.items()
        if isinstance(key, Mapping)
    }


def _field(key: Mapping[str, Any], *, available: bool) -> dict[str, Any]:
    external = key.get("external")
    return {
        "dtype": key.get("dtype"),
        "shape": key.get("shape"),
        "units": key.get("units"),
        "source": key.get("source"),
        "external": external,
        "available": available,
    }
