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
    runs = merged.page(
        selections,
        size + 1,  # one more tells whether there is a further page
        newest_first=newest_first != backwards,
        after=place,
        descriptors=descriptors,
    )
    further, runs = len(runs) > size, runs[:size]
    if backwards:
        runs.reverse()
    if not runs:
        return Page([], None, None)
    has_next, has_previous = (True, further) if backwards else (further, cursor is not None)
    return Page(
        runs,
        _write(runs[-1], salt, backwards=False) if has_next else None,
        _write(runs[0], salt, backwards=True) if has_previous else None,
    )


def _write(run: Run, salt: str, *, backwards: bool) -> str:
    place = {"catalog": run.catalog.name, "time": run.position.time, "id": run.position.id}
    return write_cursor(place | {"backwards": backwards}, salt)


def _read(cursor: str, salt: str) -> tuple[Place, bool]:
    content: dict[str, Any] = read_cursor(cursor, salt)
    position = Position(content["time"], content["id"])
    return Place(content["catalog"], position), content["backwards"]
