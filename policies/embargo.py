"""From when a proposal's runs are public: release early, or keep them longer. With a reason."""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from policies import audit
from policies.models import EmbargoChange, Membership, Proposal, User


class EmbargoError(ValueError):
    """The change is not possible; the text says why."""


def may_manage(user: User, proposal: Proposal) -> bool:
    """Data admins, and staff of one of its beamlines while it is not locked."""
    if user.reads_everything:
        return True
    return not proposal.locked and proposal.beamlines.filter(staff=user).exists()


def may_widen(user: User, proposal: Proposal) -> bool:
    """Who may let more people read it: its runs may be those of any of its beamlines.

    Data admins, and who is staff of all of its beamlines while it is not locked.
    """
    if user.reads_everything:
        return True
    others = proposal.beamlines.exclude(staff=user).exists()
    return not others and may_manage(user, proposal)


def may_release(user: User, proposal: Proposal) -> bool:
    """Who may widen it, and its principal investigators while it is not locked."""
    current = proposal.memberships.current().filter(user=user, role=Membership.Role.PI)
    return may_widen(user, proposal) or (not proposal.locked and current.exists())


def release_now(proposal: Proposal, by: User, reason: str) -> None:
    """Its runs are public from now on. EmbargoError for one that cannot be, or is already."""
    if proposal.proprietary or proposal.locked:
        raise EmbargoError(f"{proposal.proposal_id} is proprietary or locked, so never public.")
    if proposal.is_public:
        raise EmbargoError(f"{proposal.proposal_id} is public already.")
    _set(proposal, timezone.now(), by, reason)


def extend_embargo(proposal: Proposal, until: datetime, by: User, reason: str) -> None:
    """Its runs are public from `until`, which must be later than planned if it is planned."""
    if until <= timezone.now():
        raise EmbargoError("An embargo can only be extended into the future.")
    if proposal.public_from is not None and until <= proposal.public_from:
        raise EmbargoError(f"{proposal.proposal_id} is to be public later than that already.")
    _set(proposal, until, by, reason)


@transaction.atomic
def _set(proposal: Proposal, public_from: datetime, by: User, reason: str) -> None:
    EmbargoChange.objects.create(
        proposal=proposal,
        before=proposal.public_from,
        after=public_from,
        reason=reason,
        made_by=by,
    )
    proposal.public_from = public_from
    with audit.with_reason(reason):
        proposal.save(update_fields=["public_from"])
