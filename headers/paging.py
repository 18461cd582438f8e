"""Pages of runs: from a cursor to runs and to the cursors of the pages beside."""

from dataclasses import dataclass
from typing import Any

from broker_site.cursors import read_cursor, write_cursor
from headers.index.listing import IndexPlace, Wanted
from headers.index.runs import IndexedRuns
from headers.queries import Query
from headers.repositories import ALL, Run


@dataclass(frozen=True)
class Page:
    """Runs, and the cursors of the pages beside. A short page may have a next one."""

    runs: list[Run]
    next: str | None
    previous: str | None


def run_page(
    indexed: IndexedRuns,
    wanted: Wanted,
    size: int,
    *,
    salt: str,
    query: Query = ALL,
    cursor: str | None = None,
    ordering: str = "-time",
    descriptors: bool = False,
) -> Page:
    """The page that a cursor points at, or the first one."""
    place, backwards = _read(cursor, salt) if cursor is not None else (None, False)
    found = indexed.page(
        wanted,
        size,
        query=query,
        ordering=_turned(ordering) if backwards else ordering,
        after=place,
        descriptors=descriptors,
    )
    onward = None if found.last is None else _write(found.last, salt, backwards=backwards)
    back = None
    if cursor is not None and found.first is not None:
        back = _write(found.first, salt, backwards=not backwards)
    if backwards:
        return Page(found.runs[::-1], back, onward)
    return Page(found.runs, onward, back)


def cursor_behind(place: IndexPlace, salt: str) -> str:
    """The cursor of the page that begins behind a place."""
    return _write(place, salt, backwards=False)


def _turned(ordering: str) -> str:
    return ordering[1:] if ordering.startswith("-") else f"-{ordering}"


def _write(place: IndexPlace, salt: str, *, backwards: bool) -> str:
    return write_cursor({"place": list(place), "backwards": backwards}, salt)


def _read(cursor: str, salt: str) -> tuple[IndexPlace, bool]:
    content: dict[str, Any] = read_cursor(cursor, salt)
    return IndexPlace(*content["place"]), content["backwards"]
