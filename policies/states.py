"""How things stand with proposals and memberships, in words for people."""

from collections.abc import Iterable
from datetime import datetime

from django.utils import timezone
from django.utils.timesince import timesince, timeuntil

from policies.models import Membership, Proposal


def proposal_state(proposal: Proposal) -> str:
    """Who may read its runs beside its members, and from when everybody may."""
    if proposal.locked:
        return "locked: for data admins only"
    if proposal.proprietary:
        return "proprietary: never public"
    if proposal.public_from is None:
        return "for its members, no day to be public is set"
    if proposal.is_public:
        return f"public since {proposal.public_from:%Y-%m-%d}"
    return f"embargo, public {_ahead(proposal.public_from)} ({proposal.public_from:%Y-%m-%d})"


def membership_state(membership: Membership) -> str:
    """open, ends in 3 days, ended 2 weeks ago."""
    if membership.expires is None:
        return "open"
    if membership.is_current:
        return f"ends {_ahead(membership.expires)}"
    return f"ended {timesince(membership.expires, depth=1)} ago"


def members_state(memberships: Iterable[Membership]) -> str:
    """The memberships of a proposal together: 3 members, the next ends in 3 days."""
    rows = list(memberships)
    current = [row for row in rows if row.is_current]
    if not current:
        return "all memberships have ended" if rows else "no members"
    count = f"{len(current)} member{'s' if len(current) > 1 else ''}"
    ends = [row.expires for row in current if row.expires is not None]
    if not ends:
        return count
    the_next = "" if len(current) == 1 else "the next "
    return f"{count}, {the_next}ends {_ahead(min(ends))}"


def _ahead(moment: datetime) -> str:
    return f"in {timeuntil(moment, timezone.now(), depth=1)}"
