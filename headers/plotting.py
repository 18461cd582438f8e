"""How a stream is best looked at, told from the hints of its run."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from headers.descriptors import Descriptor, as_list, as_mapping
from headers.repositories import Run

Kind = Literal["number", "text", "line", "image", "unavailable"]
NUMBERS = ("number", "integer", "boolean")
MAX_SIGNALS = 12
BASELINE = "baseline"
"""The stream that is read before and after a plan: to compare, not to draw."""
_RING_CURRENT = re.compile(
    r"((?<!st)ring|beam|machine|(?<![a-z])sr)[\W_]*(beam[\W_]*)?curr|dcct|(?<![a-z])i_?ring",
    re.IGNORECASE,
)
_TEXT_OR_OBJECT = re.compile(r"[<>|=]?[OSUaMmV]")


def field_kind(field: Mapping[str, Any]) -> Kind:
    """What one event holds of a field, as `headers.streams.describe_streams` tells it.

    `dtype_numpy` and `holds_text` are used where they are there.
    """
    if not field["available"]:
        return "unavailable"
    if field.get("holds_text") or _TEXT_OR_OBJECT.match(str(field.get("dtype_numpy") or "")):
        return "text"
    axes = [n for n in shape_of(field) if n != 1]
    if len(axes) >= 2:
        return "image"
    if axes or field["dtype"] == "array":
        return "image" if field["external"] and not axes else "line"
    return "number" if field["dtype"] in NUMBERS else "text"


def shape_of(field: Mapping[str, Any]) -> list[int]:
    """The described shape without the zeros that old area-detector code put into it."""
    shape = field.get("shape")
    return [n for n in shape if type(n) is int and n > 0] if isinstance(shape, list) else []


def is_undescribed(field: Mapping[str, Any]) -> bool:
    """Whether only its values tell if an array in the events is one of numbers or of texts."""
    inline = field_kind(field) in ("line", "image") and not field["external"]
    return inline and not field.get("dtype_numpy")


def holds_text(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and any(map(holds_text, value)))


def plot_plan(run: Run, stream: Mapping[str, Any]) -> dict[str, Any] | None:
    """What to draw of a stream; None if it has no number to draw, and of a baseline.

    `kind` is "map" for a scan of two motors (`slow`, `fast`): a map where the measured positions
    make a grid, else lines over `x`. `shape` is how many points were planned along each, or None.
    Any other `kind` is "lines" over `x`, a motor or "time".
    """
    if stream["name"] == BASELINE:
        return None
    numbers = [name for name, field in stream["fields"].items() if field_kind(field) == "number"]
    dimensions = _dimensions(run.start, stream["name"])
    motors = [names[0] for names in dimensions if names[0] in numbers]
    scanned = {name for names in dimensions for name in names} | _fields_of_motors(run)
    signals = _signals(run.descriptors, stream["name"], numbers, scanned)
    if not signals:
        return None
    units = {name: stream["fields"][name]["units"] for name in numbers}
    plan = {"signals": signals, "units": units, "numbers": numbers}
    if len(motors) == 2:
        slow, fast = motors
        shape = _planned(run.start)
        return plan | {"kind": "map", "slow": slow, "fast": fast, "shape": shape, "x": "time"}
    return plan | {"kind": "lines", "x": motors[0] if motors else "time"}


def _dimensions(start: Mapping[str, Any], stream: str) -> list[list[str]]:
    """The fields of each dimension that the plan scanned in this stream, slowest first."""
    found = []
    for dimension in as_list(as_mapping(start.get("hints")).get("dimensions")):
        match dimension:
            case [[str(), *_] as names, str(where)] if where == stream:
                found.append([name for name in names if isinstance(name, str)])
    return found


def _fields_of_motors(run: Run) -> set[str]:
    """What the devices read that the plan moved: also those moved along with the first one."""
    motors = {name for name in as_list(run.start.get("motors")) if isinstance(name, str)}
    return {
        field
        for descriptor in run.descriptors
        for device, fields in Descriptor(descriptor).object_keys.items()
        if device in motors
        for field in fields
    }


def _signals(
    descriptors: Iterable[Mapping[str, Any]], stream: str, numbers: list[str], scanned: set[str]
) -> list[str]:
    """Measured numbers, the hinted ones if any; the ring current only if there is no other."""
    own = (doc for doc in map(Descriptor, descriptors) if doc.name == stream)
    hinted = {name for descriptor in own for name in descriptor.hinted}
    measured = [name for name in numbers if name not in scanned]
    signals = [name for name in measured if not _RING_CURRENT.search(name)]
    chosen = [name for name in signals if name in hinted] or signals or measured
    return chosen[:MAX_SIGNALS]


def _planned(start: Mapping[str, Any]) -> list[int] | None:
    shape = as_list(start.get("shape"))
    return shape if len(shape) == 2 and all(type(n) is int and n > 0 for n in shape) else None
