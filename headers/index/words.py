"""Full-text search of the index: SQLite's FTS5 or PostgreSQL's tsvector, one row per run.

Every word counts, because half of the elements of the periodic table are words that an
English index leaves out. A word of a search finds the words that begin with it.
"""

import json
from collections.abc import Iterable, Sequence

from django.db import connection
from django.db.models.expressions import RawSQL

from headers.index.rows import MAX_WORD, WORD

MAX_SEARCH_WORDS = 32
MOST_READ = 10_000
"""runs whose words are read rather than looked up"""
MATCH = "SELECT rowid FROM run_index_words WHERE run_index_words MATCH %s"


def add_words(words_of_runs: Iterable[tuple[int, Sequence[str]]]) -> None:
    """Adds (primary key of the run, its words), of runs that have none yet."""
    if connection.vendor == "postgresql":
        with (
            connection.cursor() as cursor,
            cursor.copy("COPY run_index_words (run_id, words) FROM STDIN") as copy,
        ):
            for run, words in words_of_runs:
                # As it reads a tsvector: letters and digits stand for themselves.
                copy.write_row((run, " ".join(words)))
        return
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
    words = _words(search)
    return RawSQL(*_match(words)) if words else None  # noqa: S611


def runs_with_rare_words(search: str, many: int) -> list[int] | None:
    """The runs that have every word of the search; None where it takes looking at more."""
    words = _words(search)
    if not words:
        return []
    if connection.vendor == "postgresql":
        return _unless_more(*_match(words), many)
    # SQLite collects all runs of a beginning of a word before it tells the first. So words that
    # by themselves are frequent are left out, and looked for in what the others' runs say.
    rare = [word for word in words if _unless_more(MATCH, [f'"{word}"'], many) is not None]
    found = _unless_more(*_match(rare), many) if rare else None
    if found is None or len(rare) == len(words):
        return found
    return sorted(having(found, search)) if len(found) <= MOST_READ else None


def _unless_more(query: str, parameters: Sequence[str], many: int) -> list[int] | None:
    """The runs that a query finds; None if there are more than so many."""
    # Materialized, because otherwise PostgreSQL goes over all runs for the first of them.
    limited = f"WITH found AS MATERIALIZED ({query}) SELECT * FROM found LIMIT %s"  # noqa: S608
    if connection.vendor != "postgresql":
        limited = f"{query} LIMIT %s"
    with connection.cursor() as cursor:
        cursor.execute(limited, [*parameters, many + 1])
        found = [run for (run,) in cursor.fetchall()]
    return found if len(found) <= many else None


def having(runs: Sequence[int], search: str) -> set[int]:
    """Those of the runs that have every word, by reading the words of each."""
    words = _words(search)
    if not words:
        return set()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            query, parameters = _match(words)
            cursor.execute(f"{query} AND run_id = ANY(%s)", [*parameters, list(runs)])
            return {run for (run,) in cursor.fetchall()}
        cursor.execute(
            "SELECT rowid, words FROM run_index_words"
            " WHERE rowid IN (SELECT value FROM json_each(%s))",
            [json.dumps(list(runs))],
        )
        # Each word has a space before it, so that the search finds beginnings.
        return {
            run
            for run, found in cursor.fetchall()
            if all(f" {word}" in f" {found}" for word in words)
        }


def _words(search: str) -> list[str]:
    return [word[:MAX_WORD] for word in WORD.findall(search.casefold())][:MAX_SEARCH_WORDS]


def _match(words: Sequence[str]) -> tuple[str, list[str]]:
    """The query for runs that have a beginning of each of these words."""
    if connection.vendor == "postgresql":
        query = "SELECT run_id FROM run_index_words WHERE words @@ %s::tsquery"
        return query, [" & ".join(f"'{word}':*" for word in words)]
    return MATCH, [" AND ".join(f'"{word}"*' for word in words)]
