"""The names that the index knows: of plans, samples, motors and detectors, each once.

They are walked by an index, from each name to the next one, so that a million runs of a hundred
plans cost as much as a hundred. Names of runs that a caller may not read are among them: they are
for widening a search, whose runs the access rule narrows, and are shown to nobody.
"""

import json
from collections.abc import Callable
from typing import Any

from django.db import connection

from headers.index.models import IndexedRun, RunValue

MAX_NAMES = 20_000
"""that are looked at"""
MAX_FOUND = 200


def plans_with(part: str) -> list[str] | None:
    """Names of plans with this in them, in any case; None if there are too many to tell."""
    return _with(part, _walk(IndexedRun._meta.db_table, "plan_name", ""), str)


def samples_with(part: str) -> list[str] | None:
    """The same of samples, whose names the index holds case folded."""
    return _with(part, _walk(IndexedRun._meta.db_table, "sample", ""), str)


def values_with(path: str, part: str) -> list[str] | None:
    """The same of a many-valued field; as JSON, as the index holds them."""
    return _with(part, _walk(RunValue._meta.db_table, "value", path), json.loads)


def _with(part: str, names: list[str], text_of: Callable[[str], Any]) -> list[str] | None:
    if len(names) == MAX_NAMES:
        return None
    wanted = part.casefold()
    found = [name for name in names if wanted in str(text_of(name)).casefold()]
    return found if len(found) <= MAX_FOUND else None


def _walk(table: str, column: str, path: str) -> list[str]:
    """Distinct values of a column, in order; where a path is given, of its rows."""
    also = "path = %s AND " if path else ""
    given = [path] if path else []
    least = f"SELECT min({column}) FROM {table} WHERE {also}{column} >"  # noqa: S608
    walk = (
        f"WITH RECURSIVE names(name) AS (SELECT ({least} '') UNION ALL "  # noqa: S608
        f"SELECT ({least} names.name) FROM names WHERE names.name IS NOT NULL) "
        "SELECT name FROM names WHERE name IS NOT NULL LIMIT %s"
    )
    with connection.cursor() as cursor:
        cursor.execute(walk, [*given, *given, MAX_NAMES])
        return [str(name) for (name,) in cursor.fetchall()]
