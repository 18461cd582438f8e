"""Full-text search of the index: SQLite's FTS5 or PostgreSQL's tsvector, one row per run.

Every word counts, because half of the elements of the periodic table are words that an
English index leaves out. A word of a search finds the words that begin with it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from django.db.models.expressions import RawSQL

from headers.index.rows import MAX_WORD, WORD

MAX_SEARCH_WORDS = 32


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
    words = [word[:MAX_WORD] for word in WORD.findall(search.casefold())][:MAX_SEARCH_WORDS]
    if not words:
        return None
    if connection.vendor == "postgresql":
        query = "SELECT run_id FROM run_index_words WHERE words @@ %s::tsquery"
        return RawSQL(query, [" & ".join(f"'{word}':*" for word in words)])  # noqa: S611
    query = "SELECT rowid FROM run_index_words WHERE run_index_words MATCH %s"
    return RawSQL(query, [" AND ".join(f'"{word}"*' for word in words)])  # noqa: S611
