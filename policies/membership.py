"""Membership of a proposal, given or changed by a person: who may, and how it is stored."""

from datetime import datetime

from policies import audit
from policies.embargo import may_widen
from policies.models import Membership, Proposal, User

OWN_RIGHTS = "Somebody else has to change what you yourself may read."
ALL_BEAMLINES = "This takes a data admin, or staff of all beamlines of the proposal."


def refusal(by: User, proposal: Proposal | None, member: User | None = None) -> str | None:
    """Why somebody may not give or change memberships of a proposal, or that of a member.

    None: they may. A proposal that is not stored yet is None.
    """
    if proposal is not None and not may_widen(by, proposal):
        return ALL_BEAMLINES
    if member is not None and member.pk == by.pk and not by.is_superuser:
        return OWN_RIGHTS
    return None


def grant(
    proposal: Proposal, member: User, role: str, expires: datetime | None, reason: str
) -> Membership:
    """Makes somebody a member, or changes until when and as what they are one.

    From then on the sync leaves this membership alone.
    """
    values = {"role": role, "expires": expires, "source": Membership.Source.MANUAL}
    with audit.with_reason(reason):
        membership, _ = Membership.objects.update_or_create(
            proposal=proposal, user=member, defaults=values
        )
    return membership
