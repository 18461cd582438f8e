"""python manage.py data_rates: how fast data come in, told from what is stored."""

import math
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from headers.catalogs import Catalog
from headers.mongo import CatalogUnavailable
from headers.selection import moment
from policies.rule.access import Access
from staff.rate_reports import as_html, as_json, as_table
from staff.rates import study

REPORTS = {"table": as_table, "json": as_json, "html": as_html}


class Command(BaseCommand):
    help = "Runs per day, events per run, event and data rates of each catalog and stream."

    def add_arguments(self, parser: ArgumentParser) -> None:
        names = [catalog.name for catalog in settings.CATALOGS]
        parser.add_argument("--catalog", choices=names, help="default: all")
        parser.add_argument("--since", help="epoch, ISO 8601, 2026, 2026-07 or 2026-07-04")
        parser.add_argument("--format", choices=REPORTS, default="table")

    def handle(self, *args: Any, **options: Any) -> None:
        chosen = [c for c in settings.CATALOGS if options["catalog"] in (None, c.name)]
        # An operator's study of the whole catalog: it names no run.
        access = Access(data_admin=True)
        try:
            studies = [study(c, access, since=_since(c, options["since"])) for c in chosen]
        except CatalogUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(REPORTS[options["format"]](studies))


def _since(catalog: Catalog, text: str | None) -> float:
    if text is None:
        return -math.inf
    try:
        return moment(text, catalog.timezone)
    except ValueError as error:
        raise CommandError(f"--since: {error}") from error
