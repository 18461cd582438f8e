from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from broker_site import environment
from policies.djongo import DjongoError, import_tables, read_tables


class Command(BaseCommand):
    help = "Imports users, groups and permissions that djongo stored in MongoDB, all or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("uri", help="mongodb://…/database, or env:NAME")
        parser.add_argument(
            "--dry-run", action="store_true", help="print the difference, change nothing"
        )
        parser.add_argument(
            "--superusers", action="store_true", help="superusers there become superusers here"
        )

    def handle(self, *args: Any, uri: str, dry_run: bool, superusers: bool, **options: Any) -> None:
        if uri.startswith("env:"):
            uri = environment.text(uri.removeprefix("env:"))
        try:
            outcome = import_tables(read_tables(uri), superusers=superusers, dry_run=dry_run)
        except DjongoError as error:
            raise CommandError(str(error)) from error
        if options["verbosity"] > 0:
            for line in [*outcome.changes, *(f"note: {note}" for note in outcome.notes)]:
                self.stdout.write(line)
            done = "would change" if dry_run else "changed"
            count = len(outcome.changes)
            self.stdout.write(f"{count} {done}" if count else "nothing to change")
