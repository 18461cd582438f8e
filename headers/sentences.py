"""A run told in one sentence: what was scanned, from where to where, how long, and when."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headers.descriptors import Descriptor, as_mapping
from headers.repositories import Run
from headers.summaries import Summary, label, summarize

MOST = 3
"""motors or detectors that are named; of more is told how many there are"""
LONGEST_NAME = 60
DEVICE_NAME = re.compile(r"\bname='([^']{1,60})'")
ENDINGS = {"fail": "failed after {}", "abort": "aborted after {}"}


@dataclass(frozen=True)
class Axis:
    """Where a motor went: from its first position to its last one."""

    motor: str
    first: float
    last: float
    points: int | None = None
    """None: not told of the motor alone"""


def sentence(run: Run) -> str:
    """Of a scan: A scan of theta from 20 to 22.6 deg in 31 points, 28 seconds, on 18 November …"""
    summary = summarize(run)
    parts = [_what(run, summary), _lasted(summary), _day(summary.began)]
    return f"{', '.join(filter(None, parts))}."


def _what(run: Run, summary: Summary) -> str:
    plan = summary.plan.replace("_", " ") or "run"
    article = "An" if plan[:1].lower() in "aeiou" else "A"
    axes = list(axes_of(run.start))
    if axes:
        of = " of " + _listed([_way(axis, _unit(run, axis.motor)) for axis in axes])
    else:
        of = _of_names(run.start)
    points = _points(run.start, axes)
    return f"{article} {plan}{of}{f' in {points}' if points else ''}"


def _way(axis: Axis, unit: str) -> str:
    return f"{axis.motor} from {axis.first:g} to {axis.last:g}{f' {unit}' if unit else ''}"


def _of_names(start: dict[str, Any]) -> str:
    names = _names(start.get("motors")) or _names(start.get("detectors"))
    return f" of {_listed(names)}" if names else ""


def _listed(words: Sequence[str]) -> str:
    shown = list(words[:MOST])
    if len(words) > MOST:
        shown.append(f"{len(words) - MOST} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _points(start: dict[str, Any], axes: Sequence[Axis]) -> str:
    counts = [axis.points for axis in axes]
    if len(counts) > 1 and all(counts):
        return " × ".join(map(str, counts)) + " points"
    number = start.get("num_points")
    if type(number) is not int or number < 1:
        return ""
    return "1 point" if number == 1 else f"{number} points"


# -- Axes --------------------------------------------------------------------------------------


def axes_of(start: dict[str, Any]) -> Iterator[Axis]:
    """What the arguments of the plan tell of its motors, in their order.

    Of `[motor, 0, 10]` and `[motor, [0, 3, 10]]` the way from 0 to 10, of
    `[motor, 0, 10, 5, snake]` the five points of a grid, too.
    """
    motors = _names(start.get("motors"))
    groups = list(_grouped(_arguments(start)))
    known = len(motors) == len(groups)
    # A grid has a number of points for each motor, other plans one for all of them.
    counted = start.get("plan_pattern") == "outer_product"
    for at, (name, values) in enumerate(groups):
        motor = motors[at] if known else name
        if motor and len(values) >= 2:
            last = values[1] if counted else values[-1]
            yield Axis(motor, values[0], last, _count(values) if counted else None)


def _count(values: Sequence[float]) -> int | None:
    return int(values[2]) if len(values) > 2 and values[2] >= 1 else None


def _arguments(start: dict[str, Any]) -> list[Any]:
    for name in ("plan_pattern_args", "plan_args"):
        arguments = as_mapping(start.get(name)).get("args")
        if isinstance(arguments, list):
            return arguments
    return []


def _grouped(arguments: Sequence[Any]) -> Iterator[tuple[str, list[float]]]:
    """Each motor's text and the numbers behind it."""
    name, values = "", list[float]()
    for item in arguments:
        if isinstance(item, str):
            if name:
                yield name, values
            name, values = _device(item), []
        else:
            values += _numbers(item)
    if name:
        yield name, values


def _numbers(item: Any) -> list[float]:
    items = item if isinstance(item, list) else [item]
    return [value for value in items if type(value) in (int, float)]


def _device(text: str) -> str:
    """The name of a device that was recorded as Python shows it."""
    found = DEVICE_NAME.search(text)
    return found[1] if found else label(text, LONGEST_NAME)


def _names(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [name for item in items if (name := label(item, LONGEST_NAME))]


def _unit(run: Run, motor: str) -> str:
    for descriptor in run.descriptors:
        key = Descriptor(descriptor).data_keys.get(motor)
        if key is not None and (unit := label(key.get("units"), 20)):
            return unit
    return ""


# -- Times -------------------------------------------------------------------------------------


def _lasted(summary: Summary) -> str:
    if summary.status == "open":
        return "not ended yet"
    if summary.seconds is None:
        return ""
    return ENDINGS.get(summary.status, "{}").format(lasting(summary.seconds))


def lasting(seconds: float) -> str:
    """A time span as one says it: 28 seconds, 5 minutes, 2 hours 5 minutes."""
    if seconds < 90:
        return _counted(round(seconds, 1 if seconds < 10 else None), "second")
    minutes = round(seconds / 60)
    if minutes < 120:
        return _counted(minutes, "minute")
    hours, rest = divmod(minutes, 60)
    return " ".join([_counted(hours, "hour"), *([_counted(rest, "minute")] if rest else [])])


def _counted(number: float, word: str) -> str:
    return f"{number:g} {word}{'' if number == 1 else 's'}"


def _day(began: datetime | None) -> str:
    return f"on {began.day} {began:%B %Y} at {began:%H:%M}" if began else ""
