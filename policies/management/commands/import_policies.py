from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from policies.importing import PolicyFileError, import_policies, parse_policies


class Command(BaseCommand):
    help = "Imports users, beamlines and proposals from a JSON file, all of it or nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--dry-run", action="store_true", help="print the difference, change nothing"
        )

    def handle(self, *args: Any, file: Path, dry_run: bool, **options: Any) -> None:
        try:
            changes = import_policies(parse_policies(file.read_bytes()), dry_run=dry_run)
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
        except PolicyFileError as error:
            raise CommandError(f"{file}: {error}") from error
        if options["verbosity"] > 0:
            self._print(changes, "would change" if dry_run else "changed")

    def _print(self, changes: list[str], done: str) -> None:
        for line in changes:
            self.stdout.write(line)
        self.stdout.write(f"{len(changes)} {done}" if changes else "nothing to change")
