"""Writing the index: rows in, rows changed, rows out. The only place that does."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from django.db import transaction

from headers.catalogs import Catalog
from headers.index.models import OPEN, IndexedRun, RunValue, Source
from headers.index.overrides import apply_overrides, lock_catalog
from headers.index.rows import Ending, Row, fingerprint
from headers.index.words import add_words, remove_words

T = TypeVar("T")
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
        runs = IndexedRun.objects.bulk_create(
            _indexed(source, row, end) for row, end in new.values()
        )
        made = [(run.pk, row) for run, (row, _) in zip(runs, new.values(), strict=True)]
        RunValue.objects.bulk_create(
            RunValue(run_id=key, source=source, path=path, value=value)
            for key, row in made
            for path, value in row.values
        )
        add_words((key, row.words) for key, row in made)
        apply_overrides(source.catalog, [row.uid for row, _ in new.values() if row.uid])
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
        rows = IndexedRun.objects.filter(source=source, uid__in=uids)
        changed = [row for row in rows if _end(row, endings[str(row.uid)])]
        IndexedRun.objects.bulk_update(changed, ["exit_status", "duration", "events"])


def remove_rows(runs: Collection[int]) -> None:
    """Removes runs whose documents are gone, by primary key."""
    for some in _parts(list(runs)):
        with transaction.atomic():
            remove_words(some)
            RunValue.objects.filter(run__in=some)._raw_delete("default")  # type: ignore[attr-defined]
            IndexedRun.objects.filter(pk__in=some)._raw_delete("default")  # type: ignore[attr-defined]


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


def _indexed(source: Source, row: Row, end: Ending) -> IndexedRun:
    return IndexedRun(
        source=source,
        catalog=source.catalog,
        document=row.document,
        uid=row.uid,
        time=row.time,
        named_proposal=row.named_proposal,
        proposal=row.named_proposal,
        plan_name=row.plan_name,
        scan_id=row.scan_id,
        sample=row.sample,
        owner=row.owner,
        exit_status=end.exit_status,
        duration=end.duration,
        events=end.events,
    )


def _end(row: IndexedRun, end: Ending) -> bool:
    """Does this change the row?"""
    before = (row.exit_status, row.duration, row.events)
    row.exit_status, row.duration, row.events = end.exit_status, end.duration, end.events
    return before != (end.exit_status, end.duration, end.events)


def _parts(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[at : at + PART] for at in range(0, len(items), PART))
