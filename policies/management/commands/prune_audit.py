"""The one way to remove audit events."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import connection
from django.utils import timezone

from policies import append_only, audit
from policies.models import AuditEvent


class Command(BaseCommand):
    help = "Removes audit events older than BROKER_AUDIT_DAYS, and records that it did."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say how many there are")

    def handle(self, *args: Any, **options: Any) -> None:
        limit = timezone.now() - timedelta(days=settings.AUDIT_DAYS)
        old = AuditEvent.objects.filter(time__lt=limit)
        if options["dry_run"]:
            self.stdout.write(f"{old.count()} events are older than {limit:%Y-%m-%d}.")
            return
        with append_only.lifted():
            removed = old._raw_delete(connection.alias)
            audit.record(
                audit.Kind.PRUNED, result="removed", details={"events": removed, "before": limit}
            )
        self.stdout.write(f"Removed {removed} events older than {limit:%Y-%m-%d}.")
