"""What of several documents differs: paths with the text that each has there."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_PATHS = 5000
"""of one document; more are not looked at"""
MAX_LEVELS = 24
LONGEST = 300


@dataclass(frozen=True)
class Difference:
    path: str
    values: tuple[str | None, ...]
    """one a document; None where it has nothing at this path"""


def differences(
    documents: Sequence[Mapping[str, Any]], ignored: Collection[str] = ()
) -> list[Difference]:
    """The paths at which the documents do not all have the same, in the order they appear."""
    found = [dict(_paths(document)) for document in documents]
    paths = dict.fromkeys(path for one in found for path in one if path not in ignored)
    rows = [(path, [one.get(path) for one in found]) for path in paths]
    return [
        Difference(path, tuple(None if value is None else _shortened(value) for value in values))
        for path, values in rows
        if len(set(values)) > 1
    ]


def _paths(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Dotted paths to the values of a document, as texts, at most MAX_PATHS."""
    left = MAX_PATHS
    for found in _leaves(document, "", 0):
        if not left:
            return
        left -= 1
        yield found


def _leaves(document: Mapping[str, Any], before: str, level: int) -> Iterator[tuple[str, str]]:
    for key, value in document.items():
        path = f"{before}{key}"
        if isinstance(value, Mapping) and value and level < MAX_LEVELS:
            yield from _leaves(value, f"{path}.", level + 1)
        else:
            yield path, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "empty"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return "none" if value is None else str(value)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
