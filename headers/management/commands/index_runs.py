"""Fills the index of runs, or makes it anew, or compares it with the catalogs."""

import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from headers.catalogs import Catalog
from headers.index.catch_up import begin, catch_up, current_index, fill, verify
from headers.index.models import Source
from headers.index.store import remove_other_sources, settle, start_anew
from headers.mongo import CatalogUnavailable


class Command(BaseCommand):
    help = "Fills the index of runs, newest first; goes on where it was interrupted."

    def add_arguments(self, parser: CommandParser) -> None:
        names = [catalog.name for catalog in settings.CATALOGS]
        parser.add_argument("--catalog", choices=names, help="only this one")
        parser.add_argument("--rebuild", action="store_true", help="drop what is there, fill anew")
        parser.add_argument(
            "--verify", action="store_true", help="add what is missing, remove what is gone"
        )

    def handle(self, *args: Any, catalog: str | None, **options: Any) -> None:
        chosen = [item for item in settings.CATALOGS if catalog in (None, item.name)]
        failed = [item.name for item in chosen if not self._tried(item, **options)]
        settle()
        if failed:
            raise CommandError(f"No answer from the database of {', '.join(failed)}.")

    def _tried(self, catalog: Catalog, *, rebuild: bool, verify: bool, **_: Any) -> bool:
        try:
            self._index(catalog, rebuild, verify)
        except CatalogUnavailable as error:
            self.stderr.write(str(error))
            return False
        return True

    def _index(self, catalog: Catalog, rebuild: bool, verifies: bool) -> None:
        if rebuild:
            start_anew(catalog)
        index = current_index([catalog])
        begin(index)
        source = next(iter(index.sources.values()))
        if not source.newest_start:
            raise CatalogUnavailable(catalog, "did not tell its newest run")
        if not source.filled:
            self._fill(source, catalog)
        catch_up(index)
        if verifies:
            added, gone = verify(source, catalog)
            self.stdout.write(f"{catalog.name}: {added} runs were missing, {gone} were gone")
        remove_other_sources(source)
        count = source.indexedrun_set.count()
        self.stdout.write(f"{catalog.name}: {count} runs are indexed")

    def _fill(self, source: Source, catalog: Catalog) -> None:
        begun, total = time.monotonic(), 0

        def progress(added: int) -> None:
            nonlocal total
            total += added
            if total % 50_000 < added:
                rate = total / (time.monotonic() - begun)
                self.stdout.write(f"{catalog.name}: {total} runs, {rate:.0f} a second")

        fill(source, catalog, progress=progress)
