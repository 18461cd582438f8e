"""How a stream is best looked at, told from the hints of its run."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from headers.repositories import Run
from headers.streams import stream_name

Kind = Literal["number", "text", "line", "image", "unavailable"]
NUMBERS = ("number", "integer", "boolean")
MAX_SIGNALS = 12


def field_kind(field: Mapping[str, Any]) -> Kind:
    """What one event holds of a field, as `headers.streams.describe_streams` tells it."""
    if not field["available"]:
        return "unavailable"
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


def plot_plan(run: Run, stream: Mapping[str, Any]) -> dict[str, Any] | None:
    """What to draw of a stream; None if it has no number to draw.

    `kind` is "map" for a rectangular grid (`slow`, `fast`: motors; `shape`: points along each;
    `extents` likewise or null), else "lines" over `x`, a motor or "time".
    """
    numbers = [name for name, field in stream["fields"].items() if field_kind(field) == "number"]
    motors = _motors(run.start, stream["name"], numbers)
    signals = _signals(run.descriptors, stream["name"], numbers, motors)
    if not signals:
        return None
    units = {name: stream["fields"][name]["units"] for name in numbers}
    plan = {"signals": signals, "units": units, "numbers": numbers}
    if grid := _grid(run.start, motors):
        return plan | {"kind": "map", **grid}
    return plan | {"kind": "lines", "x": motors[0] if motors else "time"}


def _motors(start: Mapping[str, Any], stream: str, numbers: list[str]) -> list[str]:
    """The first field of each dimension that the plan scanned in this stream, slowest first."""
    found = []
    for dimension in _list(_mapping(start.get("hints")).get("dimensions")):
        match dimension:
            case [[str(name), *_], str(where)] if where == stream and name in numbers:
                found.append(name)
    return found


def _signals(
    descriptors: Iterable[Mapping[str, Any]], stream: str, numbers: list[str], motors: list[str]
) -> list[str]:
    hinted = [
        name
        for descriptor in descriptors
        if stream_name(descriptor) == stream
        for hint in _mapping(descriptor.get("hints")).values()
        for name in _list(_mapping(hint).get("fields"))
    ]
    wanted = [name for name in numbers if name in hinted and name not in motors]
    return (wanted or [name for name in numbers if name not in motors])[:MAX_SIGNALS]


def _grid(start: Mapping[str, Any], motors: list[str]) -> dict[str, Any] | None:
    shape = _list(start.get("shape"))
    if len(motors) != 2 or len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
        return None
    extents = start.get("extents")
    usable = isinstance(extents, list) and len(extents) == 2 and all(map(_is_range, extents))
    slow, fast = motors
    return {"slow": slow, "fast": fast, "shape": shape, "extents": extents if usable else None}


def _is_range(extent: Any) -> bool:
    return (
        isinstance(extent, list)
        and len(extent) == 2
        and all(type(end) in (int, float) for end in extent)
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []
