"""From a user to their Access, read from the database at each request."""

from collections import defaultdict
from dataclasses import replace

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet

from policies.access import Access
from policies.models import Beamline, Proposal, RunOverride, User


def access_of(user: User | AnonymousUser) -> Access:
    """What this user may read now. Anonymous and inactive users read what is public."""
    if not isinstance(user, User) or not user.is_active:
        return Access(proposals=_ids(Proposal.objects.public()), overrides=_overrides())
    if user.reads_everything:
        return Access(data_admin=True, overrides=_overrides())
    access = Access(
        beamlines=frozenset(Beamline.objects.filter(staff=user).values_list("name", flat=True)),
        proposals=_ids(Proposal.objects.readable_by(user.pk)),
        overrides=_overrides(),
    )
    if not access.beamlines:
        return access
    return replace(access, locked=_ids(Proposal.objects.filter(locked=True)))


def _ids(proposals: QuerySet[Proposal]) -> frozenset[str]:
    return frozenset(proposals.order_by().values_list("proposal_id", flat=True))


def _overrides() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    rows = RunOverride.objects.values_list("catalog", "run_uid", "proposal__proposal_id")
    for catalog, run_uid, proposal in rows:
        found[catalog][run_uid] = proposal
    return dict(found)
