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
_DEVICE = re.compile(r"\bname='([^']{1,200})'")
"""in how Python writes a device, which is what plans keep of their arguments"""
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
    scanned = {name for names in dimensions for name in names} | _fields_of_motors(run, numbers)
    measured = {name: stream["fields"][name] for name in numbers if name not in scanned}
    signals = _signals(run.descriptors, stream["name"], measured)
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


def _fields_of_motors(run: Run, numbers: Iterable[str]) -> set[str]:
    """What the devices read that the plan moved: also those moved along with the first one."""
    fields: dict[str, set[str]] = {motor: set() for motor in _motors(run.start)}
    for descriptor in map(Descriptor, run.descriptors):
        hints = as_mapping(descriptor.document.get("hints"))
        for motor in fields:
            own = descriptor.object_keys.get(motor, [])
            fields[motor] |= {*own, *_names(as_mapping(hints.get(motor)).get("fields"))}
    for motor in (motor for motor, known in fields.items() if not known):
        # Old descriptors do not say which device reads what: fields are named after theirs.
        fields[motor] = {name for name in numbers if re.match(rf"{re.escape(motor)}([_.]|$)", name)}
    return {name for known in fields.values() for name in known}


def _motors(start: Mapping[str, Any]) -> set[str]:
    """The devices that the plan moved, by what it says of itself, else by its arguments."""
    if named := set(_names(start.get("motors"))):
        return named
    arguments = as_mapping(start.get("plan_args"))
    moved = [*as_list(arguments.get("args")), arguments.get("motor")]
    found = [_DEVICE.search(text) for text in moved if isinstance(text, str)]
    return {match[1] for match in found if match}


def _names(value: Any) -> list[str]:
    return [name for name in as_list(value) if isinstance(name, str)]


def _signals(
    descriptors: Iterable[Mapping[str, Any]], stream: str, measured: Mapping[str, Any]
) -> list[str]:
    """Measured numbers, the hinted ones if any; the ring current only if there is no other."""
    own = (doc for doc in map(Descriptor, descriptors) if doc.name == stream)
    hinted = {name for descriptor in own for name in descriptor.hinted}
    signals = [name for name, field in measured.items() if not _is_ring_current(name, field)]
    chosen = [name for name in signals if name in hinted] or signals or list(measured)
    return chosen[:MAX_SIGNALS]


def _is_ring_current(name: str, field: Mapping[str, Any]) -> bool:
    """By its name, or by that of the control system's channel."""
    return any(_RING_CURRENT.search(str(text or "")) for text in (name, field.get("source")))


def _planned(start: Mapping[str, Any]) -> list[int] | None:
    shape = as_list(start.get("shape"))
    return shape if len(shape) == 2 and all(type(n) is int and n > 0 for n in shape) else None
