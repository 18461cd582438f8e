"""Keeps the index up with the catalogs: a moment before a list, all the time, or anew.

MongoDB is read in threads and SQL written by the caller, whose transaction it may be part
of. Nobody waits long for a catalog: of one that is slow, the runs are listed as they are known,
and what it answers in the end is taken by the next who catches up. One that fails is named.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import structlog
from django.db import DatabaseError
from django.db.models import Q

from headers.catalogs import EMBEDDED, Catalog
from headers.index.models import Source, Turn
from headers.index.repositories import Documents, News
from headers.index.rows import Ending, Row, fingerprint
from headers.index.store import (
    add_rows,
    known_documents,
    newest_open,
    open_times,
    remove_rows,
    set_endings,
    source_of,
)
from headers.mongo import CatalogUnavailable, query_milliseconds

log = structlog.get_logger(__name__)
Answer = TypeVar("Answer")

SECONDS_BETWEEN = 1.0
"""at most so often, over all threads and processes, a list catches up before it answers"""
WAIT_SECONDS = 1.0
"""so long a list waits for catalogs to tell what is new"""
BRISK_SECONDS = 0.5
"""no list waits for a catalog that took longer the last two times: the next one has what it told"""
LATE_SECONDS = 6.0
"""a catalog that has not told by then does not answer"""
FILL_SECONDS = 0.5
"""so long a list works at a first fill that is not done; the commands do it at one go"""
WRITTEN_AT_ONCE, WORDS_AT_ONCE = 5000, 500_000
"""runs, and words of them, of one transaction of a first fill that has all the time"""
Rows = list[tuple[Row, Ending]]
_threads = ThreadPoolExecutor(max_workers=32, thread_name_prefix="index")


@dataclass(frozen=True)
class Index:
    """The sources of some catalogs, as the index stands."""

    sources: Mapping[int, Source]
    catalogs: Mapping[int, Catalog]
    """by primary key of their source"""

    @property
    def unavailable(self) -> list[str]:
        return sorted(source.catalog for source in self.sources.values() if not source.available)

    @property
    def incomplete(self) -> dict[str, float]:
        """catalog → epoch seconds of the oldest run that the first fill has come to."""
        unfilled = [source for source in self.sources.values() if not source.filled]
        return {source.catalog: source.reaches or time.time() for source in unfilled}


def current_index(catalogs: Sequence[Catalog]) -> Index:
    """The index as it stands, without looking whether there is anything new."""
    wanted = {(catalog.name, fingerprint(catalog)): catalog for catalog in catalogs}
    rows = Source.objects.filter(catalog__in=[catalog.name for catalog in catalogs])
    found = {(row.catalog, row.fingerprint): row for row in rows}
    sources = {key: found.get(key) or source_of(catalog) for key, catalog in wanted.items()}
    return Index(
        {source.pk: source for source in sources.values()},
        {sources[key].pk: catalog for key, catalog in wanted.items()},
    )


def fresh_index(catalogs: Sequence[Catalog], all_catalogs: Sequence[Catalog]) -> Index:
    """The index of these catalogs, after all were caught up unless that was a moment ago."""
    try:
        if take_turn(time.time()):
            catch_up(current_index(all_catalogs))
    except DatabaseError as error:
        # Somebody else is writing for long, or nobody can: what is known is listed.
        log.warning("index not written", reason=str(error))
    return current_index(catalogs)


def take_turn(now: float) -> bool:
    """Is it time to catch up, and has nobody else begun to?"""
    due = Q(taken__lt=now - SECONDS_BETWEEN) | Q(taken__gt=now + SECONDS_BETWEEN)
    if Turn.objects.filter(due, pk=1).update(taken=now):
        return True
    return (
        not Turn.objects.filter(pk=1).exists()
        and Turn.objects.get_or_create(pk=1, defaults={"taken": now})[1]
    )


def catch_up(index: Index, fill_seconds: float = FILL_SECONDS) -> None:
    """Adds what came since the last time, and works at first fills that are not done."""
    failed = begin(index)
    now = time.time()
    started = {key: source for key, source in index.sources.items() if source.newest_start}
    still_open = {
        key: newest_open(source)
        for key, source in started.items()
        if index.catalogs[key].layout == EMBEDDED
    }
    news, failed_now = ask(
        index,
        started,
        lambda key, docs: docs.news(started[key], now, still_open.get(key, ())),
        _late_news,
    )
    failed |= failed_now
    _add(index, news)
    _end(index, news)
    for key, source in index.sources.items():
        # Of a catalog that is late, or that somebody else is asking, it will be noted then.
        if key in news or key in failed:
            _note(source, available=key in news, news=news.get(key))
    deadline = time.monotonic() + fill_seconds
    for key in news:
        if not index.sources[key].filled and time.monotonic() < deadline:
            fill_available(index.sources[key], index.catalogs[key], deadline)


def begin(index: Index) -> set[int]:
    """Notes for sources that are new where the catch-up begins; before that, the fill goes.

    Those whose catalogs failed to answer.
    """
    new = {key: source for key, source in index.sources.items() if not source.newest_start}
    found, failed = ask(index, new, lambda key, docs: docs.newest(), _late_newest)
    for key, newest in found.items():
        _note(new[key], available=True, news=newest)
    return failed


def fill_available(source: Source, catalog: Catalog, deadline: float) -> None:
    """Like `fill`; a catalog that fails in the middle is noted and left."""
    try:
        fill(source, catalog, deadline)
    except CatalogUnavailable as error:
        log.warning("catalog unavailable", catalog=catalog.name, reason=str(error))
        _note(source, available=False, news=None)


def fill(
    source: Source,
    catalog: Catalog,
    deadline: float | None = None,
    progress: Callable[[int], None] = lambda added: None,
) -> None:
    """The first fill, from where it stands, newest first, until it is done or time is over."""
    limit = None if deadline is None else query_milliseconds()
    batches = Documents(catalog).batches(source.filled_to, limit)
    for rows in batches if deadline is not None else _read_ahead(_joined(batches)):
        added = add_rows(source, rows)
        _reached(source, [row for row, _ in rows])
        progress(added)
        if deadline is not None and time.monotonic() > deadline:
            return
    source.filled = True
    source.save(update_fields=["filled"])


def _joined(batches: Iterable[Rows]) -> Iterator[Rows]:
    """Larger ones: the more runs are written at once, the less each of them costs."""
    waiting: Rows = []
    for rows in batches:
        waiting += rows
        words = sum(len(row.words) for row, _ in waiting)
        if len(waiting) >= WRITTEN_AT_ONCE or words >= WORDS_AT_ONCE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _read_ahead(batches: Iterator[Rows]) -> Iterator[Rows]:
    """The same, of which the next one is read while one is written."""
    with ThreadPoolExecutor(1, "fill") as reader:
        following = reader.submit(next, batches, None)
        while (rows := following.result()) is not None:
            following = reader.submit(next, batches, None)
            yield rows


def verify(source: Source, catalog: Catalog, part: int = 1000) -> tuple[int, int]:
    """Goes over the whole catalog: how many runs were missing, and how many were gone."""
    documents = Documents(catalog)
    added = sum(add_rows(source, rows) for rows in documents.batches(None))
    gone, last = 0, 0
    rows = source.indexedrun_set.order_by("pk").values_list("pk", "document")
    while some := list(rows.filter(pk__gt=last)[:part]):
        last = some[-1][0]
        keys = {bytes(document): key for key, document in some}
        missing = set(keys) - documents.present(list(keys))
        remove_rows([keys[document] for document in missing])
        gone += len(missing)
    return added, gone


class _Busy:
    """Catalogs that have not answered yet what they were asked, so that they are not asked more."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def enter(self, name: str) -> bool:
        with self._lock:
            if name in self._since:
                return False
            self._since[name] = time.monotonic()
            return True

    def leave(self, name: str) -> None:
        with self._lock:
            self._since.pop(name, None)

    def for_long(self, name: str) -> bool:
        return time.monotonic() - self._since.get(name, time.monotonic()) > LATE_SECONDS


class _Pace:
    """How long catalogs took to answer, the last two times."""

    def __init__(self) -> None:
        self._took: dict[str, tuple[float, float]] = {}

    def note(self, name: str, seconds: float) -> None:
        self._took[name] = (self._took.get(name, (0.0, 0.0))[1], seconds)

    def is_brisk(self, name: str) -> bool:
        return min(self._took.get(name, (0.0, 0.0))) <= BRISK_SECONDS

    def forget(self) -> None:
        self._took.clear()


pace = _Pace()
_busy = _Busy()
_late_news: dict[int, Future[News]] = {}
_late_newest: dict[int, Future[News]] = {}
"""by source: answers that nobody waited for"""


def ask(
    index: Index,
    sources: Mapping[int, object],
    question: Callable[[int, Documents], Answer],
    late: dict[int, Future[Answer]] | None = None,
) -> tuple[dict[int, Answer], set[int]]:
    """The answers, by source, of the catalogs that answer in time, and those that fail.

    Side by side. A catalog that is slow, or that somebody in this process waits for already, is
    left out of both, until it is so for LATE_SECONDS. Its answer is kept in `late` for who asks
    next; where there is such a place, who is known to be slow is not waited for.
    """
    futures: dict[int, Future[Answer]] = {}
    for key in sources:
        catalog = index.catalogs[key]
        if late is not None and (kept := late.pop(key, None)):
            futures[key] = kept
        elif _busy.enter(catalog.name):
            futures[key] = _threads.submit(_asked, key, catalog, question, late is not None)
    waited = [
        future
        for key, future in futures.items()
        if late is None or pace.is_brisk(index.catalogs[key].name)
    ]
    wait(waited, timeout=WAIT_SECONDS)
    answers: dict[int, Answer] = {}
    failed = {key for key in sources if _busy.for_long(index.catalogs[key].name)}
    for key, future in futures.items():
        if future.done():
            try:
                answers[key] = future.result()
            except CatalogUnavailable as error:
                log.warning("catalog unavailable", catalog=error.catalog.name, reason=str(error))
                failed.add(key)
        elif late is not None:
            late[key] = future
    return answers, failed - answers.keys()


def _asked(
    key: int, catalog: Catalog, question: Callable[[int, Documents], Answer], timed: bool
) -> Answer:
    begun = time.monotonic()
    try:
        return question(key, Documents(catalog))
    finally:
        if timed:
            pace.note(catalog.name, time.monotonic() - begun)
        _busy.leave(catalog.name)


def _add(index: Index, news: dict[int, News]) -> None:
    """Adds the new runs; a catalog that fails meanwhile is taken out of the news."""
    wanted = {
        key: [start for start in found.starts if start not in known]
        for key, found in news.items()
        for known in [known_documents(index.sources[key], found.starts)]
    }
    wanted = {key: starts for key, starts in wanted.items() if starts}
    rows, _ = ask(index, wanted, lambda key, docs: docs.rows(wanted[key]))
    for key in wanted:
        if key in rows:
            add_rows(index.sources[key], rows[key])
        else:
            del news[key]


def _end(index: Index, news: dict[int, News]) -> None:
    """Tells of runs that were open how they ended."""
    times = {key: open_times(index.sources[key], found.ended) for key, found in news.items()}
    times = {key: found for key, found in times.items() if found}
    endings, _ = ask(index, times, lambda key, docs: docs.endings(times[key]))
    for key in times:
        if key in endings:
            set_endings(index.sources[key], endings[key])
        else:
            del news[key]


def _note(source: Source, *, available: bool, news: News | None) -> None:
    """Writes what has changed of the source, if anything has."""
    changes: dict[str, object] = {"available": available}
    if news is not None:
        changes |= {"newest_start": news.newest_start, "newest_stop": news.newest_stop}
    changed = [name for name, value in changes.items() if _plain(getattr(source, name)) != value]
    for name in changed:
        setattr(source, name, changes[name])
    if changed:
        source.save(update_fields=changed)


def _plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


def _reached(source: Source, rows: Sequence[Row]) -> None:
    times = [row.time for row in rows if row.time is not None]
    source.filled_to = rows[-1].document if rows else source.filled_to
    known = [] if source.reaches is None else [source.reaches]
    source.reaches = min([*times, *known], default=None)
    source.save(update_fields=["filled_to", "reaches"])
