"""A run of one of several catalogs, found by what names it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from headers.catalogs import Catalog
from headers.index.listing import holding
from headers.index.rows import indexable_text
from headers.index.runs import CatalogsUnavailable, IndexedRuns
from headers.mongo import Doc
from headers.repositories import Run, Runs
from headers.side_by_side import answers_of
from policies.rule.access import Access
from policies.rule.proposal_paths import INT64

Answer = TypeVar("Answer")

MIN_PREFIX = 5
MAX_NEWEST = 10_000
TRIES = 3
"""for a run whose document is gone by the time it is asked for"""


class RunNotFound(Exception):
    """There is no such run that the caller may read."""


class AmbiguousKey(Exception):
    """More than one run that the caller may read starts with this prefix."""


@dataclass
class RunFinder:
    """The runs of these catalogs that an access allows.

    A catalog that does not answer is left out and named in `unavailable`; when none
    answers, CatalogsUnavailable is raised.
    """

    catalogs: Sequence[Catalog]
    access: Access
    unavailable: list[str] = field(default_factory=list)

    def find(self, key: str) -> Run:
        """The run with a uid, a scan id, a unique uid prefix, or -1, -2, … for the newest ones."""
        if re.fullmatch(r"-[0-9]{1,9}", key):
            return self._newest(int(key[1:]))
        run = self._with_uid(key)
        if run is None and re.fullmatch(r"[0-9]{1,19}", key) and int(key) in INT64:
            run = self._with_scan_id(int(key))
        if run is None and len(key) >= MIN_PREFIX and indexable_text(key) is not None:
            run = self._with_prefix(key)
        if run is None:
            raise self._nothing()
        return run

    def of_scan_id(self, scan_id: int) -> Run:
        """The newest run of a scan id; nothing else that these digits may name."""
        run = self._with_scan_id(scan_id) if scan_id in INT64 else None
        if run is not None:
            return run
        if self._indexed.unavailable:  # it may hold the run
            raise CatalogsUnavailable(sorted(self._indexed.unavailable))
        raise RunNotFound

    def of_descriptor(self, uid: str) -> tuple[Run, Doc]:
        """A descriptor and its run."""
        found = self._first(lambda runs: runs.of_descriptor(uid))
        if found is None:
            raise self._nothing()
        return found

    # -- how -------------------------------------------------------------------------------

    def _with_uid(self, uid: str) -> Run | None:
        """Asks first the catalogs that hold it as the index knows, then all: it may be new."""
        several = len(self.catalogs) > 1
        known = holding(uid, self.catalogs, self.access) if several else []
        found = replace(self, catalogs=known)._first(lambda runs: runs.get(uid)) if known else None
        return found or self._first(lambda runs: runs.get(uid))

    @cached_property
    def _indexed(self) -> IndexedRuns:
        return IndexedRuns.of(self.catalogs, self.access)

    def _newest(self, number: int) -> Run:
        indexed = self._indexed
        if indexed.unavailable:  # it may hold newer ones
            raise CatalogsUnavailable(sorted(indexed.unavailable))
        for _ in range(TRIES):
            entry = indexed.listing.newest(number) if 1 <= number <= MAX_NEWEST else None
            if entry is None:
                break
            if (run := indexed.fetch(entry)) is not None:
                return run
        raise self._nothing()

    def _with_scan_id(self, number: int) -> Run | None:
        entry = self._indexed.listing.by_scan_id(number)
        return None if entry is None else self._indexed.fetch(entry)

    def _with_prefix(self, prefix: str) -> Run | None:
        if self._indexed.index.incomplete:
            found = self._ask(lambda runs: runs.starting_with(prefix))
            if self.unavailable:  # it may hold another one
                raise CatalogsUnavailable(self.unavailable)
            uids = {uid for some in found.values() for uid in some}
        else:
            uids = set(self._indexed.listing.starting_with(prefix))
        if len(uids) > 1:
            raise AmbiguousKey
        return self._with_uid(next(iter(uids))) if uids else None

    def _first(self, ask: Callable[[Runs], Answer | None]) -> Answer | None:
        """The first answer that is one."""
        answers = self._ask(ask)
        return next((answer for answer in answers.values() if answer is not None), None)

    def _nothing(self) -> Exception:
        """Not found, unless it may be in a catalog that did not answer."""
        return CatalogsUnavailable(self.unavailable) if self.unavailable else RunNotFound()

    def _ask(self, ask: Callable[[Runs], Answer]) -> dict[str, Answer]:
        """The answers of the catalogs that answer, by name, in the order of names."""
        repositories = [runs for c in self.catalogs if (runs := Runs(c, self.access)).any_readable]
        answers = answers_of(repositories, ask)
        names = [runs.catalog.name for runs in repositories]
        self.unavailable = sorted({*self.unavailable, *names} - set(answers))
        if names and not answers:
            raise CatalogsUnavailable(names)
        return answers
