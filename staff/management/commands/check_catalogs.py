from collections import defaultdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from headers.catalogs import Catalog
from headers.mongo import CatalogUnavailable
from policies.models import RunOverride
from staff.checkup import DatabaseIndex, Level, check_catalog, missing_indexes


class Command(BaseCommand):
    help = "Tells per catalog what is missing or odd; exit status 1 when something is wrong."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--create-indexes",
            action="store_true",
            help="make the missing indexes; the only thing here that ever writes to a catalog",
        )

    def handle(self, *args: Any, create_indexes: bool, **options: Any) -> None:
        wrong = [c.name for c in settings.CATALOGS if not self._check(c, create_indexes)]
        if wrong:
            raise CommandError(f"Something is wrong with {', '.join(wrong)}.")

    def _check(self, catalog: Catalog, create_indexes: bool) -> bool:
        self.stdout.write(f"{catalog.name}: {catalog.title}")
        if create_indexes:
            self._create_indexes(catalog)
        findings = check_catalog(catalog, _overrides()[catalog.name])
        for finding in findings:
            self.stdout.write(f"  {finding.level:<5}  {finding.text}")
        return all(finding.level is not Level.WRONG for finding in findings)

    def _create_indexes(self, catalog: Catalog) -> None:
        try:
            missing = missing_indexes(catalog)
        except CatalogUnavailable:
            return  # the check that follows says so
        for index in missing:
            try:
                _create(index, _writing_uri(catalog, index))
            except PyMongoError as error:
                self.stdout.write(f"  wrong  could not make the index {index}: {error}")
            else:
                self.stdout.write(f"  made   index {index}")


def _writing_uri(catalog: Catalog, index: DatabaseIndex) -> str:
    """That of the account that may write, where there is one."""
    uri = catalog.metadata_write if index.uri == catalog.metadata else catalog.assets_write
    return uri or index.uri


def _create(index: DatabaseIndex, uri: str) -> None:
    # A client of its own, without the time limits of requests: an index can take minutes.
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=5000) as client:
        collection = client.get_default_database()[index.collection]
        collection.create_index(list(index.keys), unique=index.unique)


def _overrides() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for catalog, uid in RunOverride.objects.values_list("catalog", "run_uid"):
        found[catalog].append(uid)
    return found
