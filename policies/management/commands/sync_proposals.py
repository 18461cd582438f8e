from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from broker_site import environment
from policies.models import ProposalSync, User
from policies.sync import (
    Changes,
    SyncError,
    SyncRefused,
    data_sessions,
    proposals_of_file,
    proposals_of_service,
    record,
    service,
    sync_person,
    sync_proposals,
)

Outcome = ProposalSync.Outcome
KEY = "BROKER_PROPOSAL_SERVICE_KEY"


class Command(BaseCommand):
    help = (
        "Adds, ends and restores memberships as a proposal service or a file says."
        f" The service's key, if it needs one, is taken from {KEY}."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="a file, or the address of a service: https://host")
        parser.add_argument("--user", help="only this person's memberships, by data session")
        parser.add_argument("--dry-run", action="store_true", help="print what would change")
        parser.add_argument(
            "--max-ended",
            type=int,
            default=20,
            metavar="PERCENT",
            help="refuse when more of the synced memberships would end (default 20)",
        )

    def handle(self, *args: Any, source: str, user: str | None, **options: Any) -> None:
        try:
            changes = self._sync(source, user, options)
        except (SyncError, SyncRefused) as error:
            if not options["dry_run"]:
                refused = isinstance(error, SyncRefused)
                outcome = Outcome.REFUSED if refused else Outcome.FAILED
                record(source, outcome, Changes(), str(error))
            raise CommandError(str(error)) from error
        for line in changes.lines:
            self.stdout.write(line)
        counts = f"{changes.added} added, {changes.ended} ended, {changes.restored} restored"
        self.stdout.write(f"would be: {counts}" if options["dry_run"] else counts)
        # The sync of one person says nothing about how old all the others are.
        if not options["dry_run"] and user is None:
            record(source, Outcome.DONE, changes)

    def _sync(self, source: str, user: str | None, options: dict[str, Any]) -> Changes:
        remote = source.startswith(("http://", "https://"))
        if user is not None:
            return self._sync_person(source, user, remote and not options["dry_run"])
        if remote:
            proposals = proposals_of_service(service(source, environment.text(KEY, "")))
        else:
            proposals = proposals_of_file(Path(source))
        percent, dry_run = options["max_ended"], options["dry_run"]
        return sync_proposals(proposals, max_ended_percent=percent, dry_run=dry_run)

    def _sync_person(self, source: str, name: str, possible: bool) -> Changes:
        if not possible:
            raise CommandError("--user needs a service as its source, and has no --dry-run")
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}.")
        return sync_person(user, data_sessions(service(source, environment.text(KEY, "")), name))
