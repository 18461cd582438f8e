"""The people of the demo: passwords, roles and the override of a mis-tagged run."""

import io

from django.core.management import call_command
from django.db import transaction

from demo.layout import RECORDING
from demo.load import MISTAGGED_CATALOG, MISTAGGED_RIGHT_PROPOSAL, MISTAGGED_RUN_UID
from policies.models import Proposal, RunOverride, User

PEOPLE = {
    "alice": "member of proposals 310000 and 310002",
    "bob": "member of proposals 310001 and 311200",
    "sue": "staff of beamline csx",
    "hank": "staff of beamline hxn",
    "dan": "data admin, and superuser of the admin site",
}


def password_of(name: str) -> str:
    """Well known on purpose: the demo listens on this machine only."""
    return f"{name}-demo-2026"


@transaction.atomic
def create_people() -> None:
    """Imports the demo's policies and gives its people their passwords. Idempotent."""
    policies = str(RECORDING.with_name("policies.json"))
    call_command("import_policies", policies, stdout=io.StringIO())
    for name in PEOPLE:
        user = User.objects.get(username=name)
        if not user.check_password(password_of(name)):
            user.set_password(password_of(name))
            user.save()
    User.objects.filter(username="dan").update(is_staff=True, is_superuser=True, data_admin=True)
    RunOverride.objects.get_or_create(
        catalog=MISTAGGED_CATALOG,
        run_uid=MISTAGGED_RUN_UID,
        defaults={
            "proposal": Proposal.objects.get(proposal_id=MISTAGGED_RIGHT_PROPOSAL),
            "reason": "The session of the visit before was still set.",
        },
    )
