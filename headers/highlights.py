"""What people wrote about a run, before what machines did."""

from collections.abc import Iterator, Mapping
from typing import Any

from broker_site.inert import visible

FIRST = (
    "purpose", "title", "sample", "sample_name", "comment", "comments", "notes", "operator",
    "username", "owner", "group", "project", "proposal", "cycle", "detectors", "motors",
)  # fmt: skip
MACHINES = frozenset({
    "_id", "uid", "time", "scan_id", "plan_name", "versions", "hints", "plan_args", "plan_type",
    "plan_pattern", "plan_pattern_args", "plan_pattern_module", "num_points", "num_intervals",
    "shape", "extents", "snaking", "data_session", "beamline_id",
})  # fmt: skip
"""what is told elsewhere on the page, or to programs"""
MOST, LONGEST = 24, 300


def highlights(start: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, text) of what people wrote, the usual names first, then the beamline's own."""
    names = [name for name in FIRST if name in start]
    names += [name for name in start if name not in MACHINES and name not in FIRST]
    told = ((name, in_words(start[name])) for name in names)
    found = [(_named(name), text) for name, text in told if text]
    return found[:MOST]


def in_words(value: Any) -> str:
    """One line; of a document its scalar values, what names it first. Empty if there are none."""
    if isinstance(value, Mapping):
        text = ", ".join(_of_document(value))
    elif isinstance(value, list):
        text = ", ".join(filter(None, map(_scalar, value)))
    else:
        text = _scalar(value)
    return visible(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def _of_document(value: Mapping[str, Any]) -> Iterator[str]:
    if name := _scalar(value.get("name")):
        yield name
    for key, item in value.items():
        if key != "name" and (text := _scalar(item)):
            yield f"{_named(str(key))}: {text}"


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(str(value).split()) if isinstance(value, str | int | float) else ""


def _named(name: str) -> str:
    return visible(name[:60].replace("_", " "))
