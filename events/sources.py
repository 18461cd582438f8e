"""Event sources: where a field's values are, and which route serves them best.

One table, `RULES`, read from top to bottom; the first rule that applies decides. The thresholds
follow from what the wire formats cost, see docs/wire-formats.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from events.data_keys import bytes_per_event, shape_of
from events.files.assets import ALL_HANDLERS, allowed
from headers.descriptors import STREAM_REFERENCE

SMALL_ARRAY_BYTES = 16 * 2**10
"""Up to here an array travels inside its event document; beyond, by the array route. So many bytes
of float64 take about 1 ms as JSON, less than a request of their own."""

PAGE_EVENTS = 1_000
"""Up to here events are read as documents; a longer column is read as a table."""


class EventSource(StrEnum):
    """Where the values are."""

    SCALAR = "scalar"
    ARRAY = "array"
    FILE = "file"
    STREAM = "stream"
    UNAVAILABLE = "unavailable"


class Route(StrEnum):
    """Which route serves them best."""

    INLINE = "inline"
    ARRAY = "array"
    TABLE = "table"
    NONE = "none"


@dataclass(frozen=True)
class FieldFacts:
    """What is known of a field before any value is read.

    `spec` is the spec of its resource (None if it has none), `events` how many are asked for.
    """

    dtype: str
    shape: tuple[int, ...]
    external: str
    nbytes: int
    spec: str | None
    handlers: frozenset[str]
    events: int


@dataclass(frozen=True)
class SourceRule:
    """If `applies`, the values come from `source`, best through `route`."""

    applies: Callable[[FieldFacts], bool]
    source: EventSource
    route: Route


RULES = (
    SourceRule(
        lambda f: f.external.startswith(STREAM_REFERENCE) and f.spec is None,
        EventSource.STREAM,
        Route.NONE,
    ),
    SourceRule(
        lambda f: bool(f.external) and (f.spec is None or not allowed(f.spec, f.handlers)),
        EventSource.UNAVAILABLE,
        Route.NONE,
    ),
    SourceRule(lambda f: bool(f.external), EventSource.FILE, Route.ARRAY),
    SourceRule(
        lambda f: f.dtype == "array" and f.nbytes > SMALL_ARRAY_BYTES,
        EventSource.ARRAY,
        Route.ARRAY,
    ),
    SourceRule(lambda f: f.dtype == "array", EventSource.ARRAY, Route.INLINE),
    SourceRule(lambda f: f.events > PAGE_EVENTS, EventSource.SCALAR, Route.TABLE),
    SourceRule(lambda f: True, EventSource.SCALAR, Route.INLINE),
)


@dataclass(frozen=True)
class ChosenSource:
    """The event source of a field, its route, and its estimated bytes per event."""

    source: EventSource
    route: Route
    nbytes: int


def choose(
    data_key: Mapping[str, Any],
    *,
    spec: str | None = None,
    handlers: frozenset[str] = frozenset(),
    events: int = 1,
) -> ChosenSource:
    """The event source of a field, from what its data key and resource say."""
    shape, nbytes = shape_of(data_key), bytes_per_event(data_key)
    dtype, external = str(data_key.get("dtype", "")), str(data_key.get("external") or "")
    facts = FieldFacts(dtype, shape, external, nbytes, spec, handlers, events)
    rule = next(rule for rule in RULES if rule.applies(facts))
    return ChosenSource(rule.source, rule.route, nbytes)


ANY_FILE: dict[str, Any] = {"spec": "", "handlers": frozenset({ALL_HANDLERS})}
"""for `choose` before any resource was looked at: whatever file it is, a handler is assumed"""

ARRAY_FORMATS_OF_TABLES = frozenset({"json", "msgpack"})
TABLE_FORMATS_OF_ARRAYS = frozenset({"csv", "parquet", "ndjson"})
"""formats that the other route has, too, or that only the other one has"""


def better_as_array(data_key: Mapping[str, Any], format: str) -> bool:
    """Whether a table of this one field is better served by the array route.

    Big arrays and those in files are. Arrow, Parquet and CSV were asked for by who wants a table.
    """
    choice = choose(data_key, **ANY_FILE)
    return choice.route is Route.ARRAY and format in ARRAY_FORMATS_OF_TABLES


def better_as_table(data_key: Mapping[str, Any], format: str) -> bool:
    """Whether an array of this field, in a format that tables have, is served by the table route.

    What is kept in files is not: a table would hold references to it.
    """
    choice = choose(data_key, **ANY_FILE)
    return choice.source is not EventSource.FILE and format in TABLE_FORMATS_OF_ARRAYS
