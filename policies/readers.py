"""Who may read a run, in words for whoever reads it: proposals and beamlines, and no people."""

from policies.models import Proposal
from policies.rule.access import Catalog

DATA_ADMINS = "data admins of the facility"


def readers_of(catalog: Catalog, proposal_id: str | None) -> list[str]:
    """The groups that may read the runs of a proposal (None: those without one) in a catalog.

    Says what `policies.rule.access` decides, in its order.
    """
    staff = f"staff of the beamline {catalog.beamline}"
    if proposal_id is None:
        return [f"{staff}, as the run has no proposal", DATA_ADMINS]
    proposal = Proposal.objects.filter(proposal_id=proposal_id).first()
    if proposal is None:
        return [f"{staff}, as the proposal {proposal_id} is not known here", DATA_ADMINS]
    if proposal.locked:
        return [f"only {DATA_ADMINS}, as the proposal {proposal_id} is locked"]
    if proposal.is_public:
        return [f"everybody, without signing in: the proposal {proposal_id} is public"]
    return [f"current members of the proposal {proposal_id}", staff, DATA_ADMINS, *_later(proposal)]


def _later(proposal: Proposal) -> list[str]:
    if proposal.public_from is None or proposal.proprietary:
        return []
    return [f"everybody, from {proposal.public_from:%Y-%m-%d} on"]
