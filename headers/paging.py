"""Pages of runs: from a cursor to runs and to the cursors of the pages beside."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_site.cursors import read_cursor, write_cursor
from headers.merged import MergedRuns, Place
from headers.repositories import Position, Run
from headers.selection import Selection


@dataclass(frozen=True)
class Page:
    runs: list[Run]
    next: str | None
    previous: str | None


def run_page(
    merged: MergedRuns,
    selections: Mapping[str, Selection],
    size: int,
    *,
    salt: str,
    cursor: str | None = None,
    newest_first: bool = True,
    descriptors: bool = False,
) -> Page:
    """The page that a cursor points at, or the first one."""
    place, backwards = _read(cursor, salt) if cursor is not None else (None, False)
    runs, stopped = merged.page(
        selections,
        size + 1,  # one more tells whether there is a further page
        newest_first=newest_first != backwards,
        after=place,
        descriptors=descriptors,
    )
    last = Place.of(runs[size - 1]) if len(runs) > size else stopped
    runs = runs[:size]
    if backwards:
        runs.reverse()
    if not runs and stopped is None:
        return Page([], None, None)
    onward = None if last is None else _write(last, salt, backwards=backwards)
    back = None
    if cursor is not None and runs:
        back = _write(Place.of(runs[-1 if backwards else 0]), salt, backwards=not backwards)
    return Page(runs, back, onward) if backwards else Page(runs, onward, back)


def _write(place: Place, salt: str, *, backwards: bool) -> str:
    content = {"catalog": place.catalog, "time": place.position.time, "id": place.position.id}
    return write_cursor(content | {"backwards": backwards}, salt)


def _read(cursor: str, salt: str) -> tuple[Place, bool]:
    content: dict[str, Any] = read_cursor(cursor, salt)
    position = Position(content["time"], content["id"])
    return Place(content["catalog"], position), content["backwards"]
