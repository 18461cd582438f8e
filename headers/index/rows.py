"""From a run's documents to its row in the index. Plain functions, without Django."""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from headers.catalogs import Catalog
from headers.index.keys import key_of
from headers.selection import texts_of
from policies.rule.proposal_paths import INT64

Doc = Mapping[str, Any]
FORMAT = 4
"""to be raised when rows of the same documents change"""
MAX_TEXT = 500
"""characters; longer values are no names and are not indexed"""
MAX_LETTERS = 2_000_000
MAX_WORDS = 20_000
MAX_WORD = 100
MAX_VALUES = 100
WORD = re.compile(r"[^\W_]+")
OPEN = "open"
VALUE_PATHS = ("motors", "detectors", "sample", "sample.name")
"""many-valued, in every catalog"""


@dataclass(frozen=True)
class Row:
    """What the index holds of one run."""

    document: bytes
    uid: str | None
    time: float | None
    named_proposal: str
    plan_name: str | None
    scan_id: int | None
    sample: str
    owner: str
    words: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    """(path, value as JSON)"""


@dataclass(frozen=True)
class Ending:
    """What a stop document tells of a run; the default is that of an open one."""

    exit_status: str = OPEN
    duration: float | None = None
    events: int | None = None


def fingerprint(catalog: Catalog) -> str:
    """Of all in the catalogs file that decides what the rows of a catalog hold."""
    places = [(place.path, place.pattern) for place in catalog.proposal.places]
    decisive = [FORMAT, catalog.metadata, catalog.layout, places, facet_paths(catalog)]
    return hashlib.sha256(json.dumps(decisive).encode()).hexdigest()


def facet_paths(catalog: Catalog) -> tuple[str, ...]:
    """The paths whose values are indexed."""
    return tuple(dict.fromkeys((*VALUE_PATHS, *catalog.facets)))


def row_of(catalog: Catalog, start: Doc) -> Row | None:
    """The row of a start document with its `_id`; None where that is too long to be a key."""
    key = key_of(start["_id"])
    if key is None:
        return None
    return Row(
        document=key,
        uid=indexable_text(start.get("uid")),
        time=_number(start.get("time")),
        named_proposal=indexable_text(catalog.proposal.proposal(start)) or "",
        plan_name=indexable_text(start.get("plan_name")),
        scan_id=_whole(start.get("scan_id")),
        sample=_sample(start.get("sample")),
        owner=indexable_text(start.get("owner")) or "",
        words=words_of(start),
        values=tuple(_values(start, facet_paths(catalog))),
    )


def ending(start_time: float | None, stops: Sequence[Doc]) -> Ending:
    """What the last of a run's stop documents says."""
    if not stops:
        return Ending()
    stop = max(stops, key=lambda stop: _number(stop.get("time")) or -math.inf)
    time = _number(stop.get("time"))
    known = time is not None and start_time is not None
    duration = time - start_time if known else math.nan  # type: ignore[operator]
    return Ending(
        indexable_text(stop.get("exit_status")) or "",
        duration if math.isfinite(duration) else None,
        _events(stop.get("num_events")),
    )


def words_of(document: Any) -> tuple[str, ...]:
    """Every word of every text of a document, case folded, each once."""
    text = "\n".join(texts_of(document))[:MAX_LETTERS].casefold()
    words = dict.fromkeys(word[:MAX_WORD] for word in WORD.findall(text))
    return tuple(islice(words, MAX_WORDS))


def json_value(value: Any) -> str | None:
    """A scalar as JSON, or None for anything else and for texts too long to be a name."""
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | float):
        finite = math.isfinite(value)
        # 1 and 1.0 are one value to MongoDB.
        whole = finite and value == int(value) and int(value) in INT64
        return json.dumps(int(value) if whole else value) if finite else None
    text = indexable_text(value)
    return None if text is None else json.dumps(text)


def _values(start: Doc, paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        found = {json_value(value) for value in _at(start, path)}
        for value in sorted(value for value in found if value is not None)[:MAX_VALUES]:
            yield path, value


def _at(document: Any, path: str) -> list[Any]:
    """What stands at a dotted path; of a list there, its items."""
    value = document
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return []
        value = value.get(name)
    return value if isinstance(value, list) else [value]


def indexable_text(value: Any) -> str | None:
    """A text as SQL takes it: no NUL, no half characters, not too long for an index."""
    if type(value) is not str or len(value) > MAX_TEXT or "\0" in value:
        return None
    return value if value.isascii() or not re.search(r"[\ud800-\udfff]", value) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return float(value)


def _whole(value: Any) -> int | None:
    number = _number(value)
    if number is None or not math.isfinite(number) or number != int(number):
        return None
    return int(value) if int(value) in INT64 else None


def _sample(value: Any) -> str:
    name = value.get("name") if isinstance(value, Mapping) else value
    return (indexable_text(name) or "").casefold()


def _events(counts: Any) -> int | None:
    if not isinstance(counts, Mapping):
        return None
    numbers = [_whole(count) for count in counts.values()]
    total = sum(number for number in numbers if number is not None)
    return total if total in INT64 else None
