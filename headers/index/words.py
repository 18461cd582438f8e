"""Full-text search of the index: SQLite's FTS5 or PostgreSQL's tsvector, one row per run.

Every word counts, because half of the elements of the periodic table are words that an
English index leaves out. A word of a search finds the words that begin with it.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from django.db.models.expressions import RawSQL

from headers.index.rows import MAX_WORD, WORD

MAX_SEARCH_WORDS = 32
MOST_READ = 4000
"""runs whose words are read rather than looked for"""


def add_words(words_of_runs: Iterable[tuple[int, Sequence[str]]]) -> None:
    """Adds (primary key of the run, its words)."""
    if connection.vendor == "postgresql":
        statement = (
            "INSERT INTO run_index_words (run_id, words) VALUES (%s, array_to_tsvector(%s))"
            " ON CONFLICT (run_id) DO UPDATE SET words = excluded.words"
        )
        rows: list[tuple[int, Any]] = [(run, list(words)) for run, words in words_of_runs]
    else:
        statement = "INSERT OR REPLACE INTO run_index_words (rowid, words) VALUES (%s, %s)"
        rows = [(run, " ".join(words)) for run, words in words_of_runs]
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def remove_words(runs: Iterable[int]) -> None:
    key = "run_id" if connection.vendor == "postgresql" else "rowid"
    with connection.cursor() as cursor:
        # The column is one of two constants.
        statement = f"DELETE FROM run_index_words WHERE {key} = %s"  # noqa: S608
        cursor.executemany(statement, [(run,) for run in runs])


def runs_with(search: str) -> RawSQL | None:
    """A subquery of the runs that have every word of the search; None for one without words."""
    found = _matching(search)
    return found and RawSQL(*found)  # noqa: S611


def runs_with_rare_words(search: str, many: int) -> list[int] | None:
    """The runs that have every word of the search, if no more are to be looked at; SQLite only.

    SQLite collects all runs of a beginning of a word before it tells the first. So words that by
    themselves are frequent are left out, and found by reading the words of the others' runs.
    """
    words = _words(search)
    rare = [word for word in words if len(_runs_of([f'"{word}"'], many + 1)) <= many]
    if words and not rare:
        return None
    found = _runs_of([f'"{word}"*' for word in rare], many + 1) if rare else []
    if len(found) > many:
        return None
    if len(rare) == len(words):
        return found
    return sorted(having(found, search)) if len(found) <= MOST_READ else None


def _runs_of(patterns: Sequence[str], limit: int) -> list[int]:
    query = "SELECT rowid FROM run_index_words WHERE run_index_words MATCH %s LIMIT %s"
    with connection.cursor() as cursor:
        cursor.execute(query, [" AND ".join(patterns), limit])
        return [run for (run,) in cursor.fetchall()]


def of_keys(runs: Sequence[int]) -> RawSQL:
    """A subquery of these; SQLite only."""
    return RawSQL("SELECT value FROM json_each(%s)", [json.dumps(runs)])


def having(runs: Sequence[int], search: str) -> set[int]:
    """Those of the runs that have every word, by reading the words of each; SQLite only."""
    wanted = _words(search)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rowid, words FROM run_index_words"
            " WHERE rowid IN (SELECT value FROM json_each(%s))",
            [json.dumps(list(runs))],
        )
        # Each word has a space before it, so that the search finds beginnings.
        return {
            run
            for run, words in cursor.fetchall()
            if all(f" {word}" in f" {words}" for word in wanted)
        }


def _words(search: str) -> list[str]:
    return [word[:MAX_WORD] for word in WORD.findall(search.casefold())][:MAX_SEARCH_WORDS]


def _matching(search: str) -> tuple[str, list[str]] | None:
    words = _words(search)
    if not words:
        return None
    if connection.vendor == "postgresql":
        query = "SELECT run_id FROM run_index_words WHERE words @@ %s::tsquery"
        return query, [" & ".join(f"'{word}':*" for word in words)]
    query = "SELECT rowid FROM run_index_words WHERE run_index_words MATCH %s"
    return query, [" AND ".join(f'"{word}"*' for word in words)]
