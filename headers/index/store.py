"""Writing the index: rows in, rows changed, rows out. The only place that does."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from django.db import connection, transaction
from django.db.models import Model

from headers.catalogs import Catalog
from headers.index.counts import forget_counts, put_in, take_out
from headers.index.models import OPEN, IndexedRun, RunCount, RunValue, Source
from headers.index.overrides import apply_overrides, lock_catalog
from headers.index.rows import Ending, Row, fingerprint
from headers.index.words import add_words, remove_words
from policies.models import RunOverride

T = TypeVar("T")
COLUMNS = (
    *("id", "source_id", "catalog", "document", "uid", "time"),
    *("named_proposal", "proposal", "plan_name", "scan_id"),
    *("exit_status", "duration", "events", "sample", "owner"),
)
PART = 500
"""keys in one statement"""


def source_of(catalog: Catalog) -> Source:
    """The catalog as it is read now; a new, empty one where the catalogs file has changed."""
    source, _ = Source.objects.get_or_create(catalog=catalog.name, fingerprint=fingerprint(catalog))
    return source


def add_rows(source: Source, rows: Sequence[tuple[Row, Ending]]) -> int:
    """Adds the rows that are not there yet; how many these were."""
    with transaction.atomic():
        lock_catalog(source.catalog)
        known = known_documents(source, [row.document for row, _ in rows])
        new = {row.document: (row, end) for row, end in rows if row.document not in known}
        keys = _new_keys(len(new))
        made = list(zip(keys, new.values(), strict=True))
        _insert(IndexedRun, COLUMNS, (_columns(key, source, row, end) for key, (row, end) in made))
        _insert(
            RunValue,
            ("run_id", "source_id", "path", "value"),
            (
                (key, source.pk, *value)
                for key, (row, _) in made
                for value in row.values
                if row.time is not None
            ),
        )
        add_words((key, row.words) for key, (row, _) in made)
        put_in(keys)
        moved = RunOverride.objects.filter(catalog=source.catalog).values_list("run_uid", flat=True)
        apply_overrides(
            source.catalog, set(moved).intersection(row.uid or "" for row, _ in new.values())
        )
    return len(new)


def known_documents(source: Source, documents: Sequence[bytes]) -> set[bytes]:
    """Those of these keys that the index has."""
    found: set[bytes] = set()
    for some in _parts(documents):
        rows = IndexedRun.objects.filter(source=source, document__in=some)
        found.update(bytes(key) for key in rows.values_list("document", flat=True))
    return found


def open_times(source: Source, uids: Sequence[str]) -> dict[str, float | None]:
    """uid → time of the run's start, of those that are open by what the index knows."""
    found: dict[str, float | None] = {}
    for some in _parts(uids):
        rows = IndexedRun.objects.filter(source=source, uid__in=some, exit_status=OPEN)
        found.update(dict(rows.values_list("uid", "time")))  # type: ignore[arg-type]
    return found


def newest_open(source: Source, limit: int = 1000) -> list[str]:
    """The uids of the newest runs without a stop document."""
    rows = IndexedRun.objects.filter(source=source, exit_status=OPEN, uid__isnull=False)
    return [str(uid) for uid in rows.order_by("-time").values_list("uid", flat=True)[:limit]]


def set_endings(source: Source, endings: Mapping[str, Ending]) -> None:
    """Tells how runs ended, by uid; rows that say so already are not written."""
    for uids in _parts(list(endings)):
        with transaction.atomic():
            lock_catalog(source.catalog)
            rows = IndexedRun.objects.filter(source=source, uid__in=uids)
            changed = [row for row in rows if _end(row, endings[str(row.uid)])]
            take_out([row.pk for row in changed])
            IndexedRun.objects.bulk_update(changed, ["exit_status", "duration", "events"])
            put_in([row.pk for row in changed])


def remove_rows(runs: Collection[int]) -> None:
    """Removes runs whose documents are gone, by primary key."""
    for some in _parts(list(runs)):
        with transaction.atomic():
            rows = IndexedRun.objects.filter(pk__in=some)
            for catalog in sorted(set(rows.values_list("catalog", flat=True))):
                lock_catalog(catalog)
            take_out(some)
            remove_words(some)
            RunValue.objects.filter(run__in=some)._raw_delete("default")
            IndexedRun.objects.filter(pk__in=some)._raw_delete("default")


def remove_other_sources(source: Source) -> None:
    """Removes what is left of the catalog as it was read before, once it is filled anew."""
    for other in Source.objects.filter(catalog=source.catalog).exclude(pk=source.pk):
        clear(other)
        other.delete()


def start_anew(catalog: Catalog) -> None:
    """Forgets all that is known of a catalog, so that it is filled from the beginning."""
    for source in Source.objects.filter(catalog=catalog.name):
        clear(source)
        source.delete()


def clear(source: Source) -> None:
    """Removes all rows of a source, in parts, so that nobody waits for it."""
    rows = IndexedRun.objects.filter(source=source).order_by()
    while keys := list(rows.values_list("pk", flat=True)[: 10 * PART]):
        remove_rows(keys)
    forget_counts(source.pk)


def settle() -> None:
    """After a fill: PostgreSQL learns what the tables hold, and that their indexes say all of it.

    It would by itself, some minutes later. Nothing inside a transaction, where it cannot.
    """
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        tables = [model._meta.db_table for model in (IndexedRun, RunValue, RunCount)]
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM (ANALYZE) {', '.join(tables)}, run_index_words")


def _new_keys(count: int) -> Sequence[int]:
    """Primary keys that nobody else gets. The transaction writes already."""
    table = IndexedRun._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            sequence = "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1,%s)"
            cursor.execute(sequence, [table, count])
            return [key for (key,) in cursor.fetchall()]
        cursor.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = %s", [table])
        last = cursor.fetchone()[0] or 0
    return range(last + 1, last + 1 + count)


def _columns(key: int, source: Source, row: Row, end: Ending) -> tuple[Any, ...]:
    """The values of COLUMNS."""
    return (
        *(key, source.pk, source.catalog, row.document, row.uid, row.time),
        *(row.named_proposal, row.named_proposal, row.plan_name, row.scan_id),
        *(end.exit_status, end.duration, end.events, row.sample, row.owner),
    )


def _insert(model: type[Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    # The ORM spends ten times as long on composing statements as the database on them.
    names, values = ", ".join(columns), ", ".join(["%s"] * len(columns))
    table = f"{model._meta.db_table} ({names})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            cursor.executemany(f"INSERT INTO {table} VALUES ({values})", list(rows))  # noqa: S608


def _end(row: IndexedRun, end: Ending) -> bool:
    """Does this change the row?"""
    before = (row.exit_status, row.duration, row.events)
    row.exit_status, row.duration, row.events = end.exit_status, end.duration, end.events
    return before != (end.exit_status, end.duration, end.events)


def _parts(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[at : at + PART] for at in range(0, len(items), PART))
