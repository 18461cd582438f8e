"""Why somebody may or may not read a run, in the words of the rule that decides it."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from django.contrib.auth.models import AnonymousUser

from policies.models import Membership, Proposal, RunOverride, User
from policies.principals import access_of
from policies.rule.access import Access, Catalog
from policies.rule.conditions import Document


class DecidingRule(Enum):
    """What decides whether a run may be read. The first that applies, in this order."""

    DATA_ADMIN = "data admin"
    STAFF = "beamline staff"
    MEMBER = "member of the proposal"
    PUBLIC = "public proposal"
    LOCKED = "locked proposal"
    NO_PROPOSAL = "run without proposal"
    UNKNOWN_PROPOSAL = "unknown proposal"
    MEMBERSHIP_ENDED = "membership ended"
    NOT_A_MEMBER = "not a member"

    @property
    def allows(self) -> bool:
        return self in (
            DecidingRule.DATA_ADMIN,
            DecidingRule.STAFF,
            DecidingRule.MEMBER,
            DecidingRule.PUBLIC,
        )


@dataclass(frozen=True)
class Decision:
    rule: DecidingRule
    text: str
    """one or more sentences for a person"""
    proposal: str | None
    """id of the run's proposal, its override included"""

    @property
    def allowed(self) -> bool:
        return self.rule.allows


def explain(user: User | AnonymousUser, catalog: Catalog, start: Document) -> Decision:
    """Which rule lets the user read this run, or keeps them from it. Agrees with `Access`."""
    access = access_of(user)
    proposal_id = access.proposal_of(catalog, start)
    proposal = Proposal.objects.filter(proposal_id=proposal_id).first()
    rule, why = _judge(user, access, catalog, proposal_id, proposal)
    sentences = [_inactive(user), why, _override(catalog, start, proposal_id)]
    return Decision(rule, " ".join(filter(None, sentences)), proposal_id)


def explain_proposal(user: User | AnonymousUser, catalog: Catalog, proposal_id: str) -> Decision:
    """The same for the runs of a proposal in a catalog, whatever else their documents say."""
    proposal = Proposal.objects.filter(proposal_id=proposal_id).first()
    rule, why = _judge(user, access_of(user), catalog, proposal_id, proposal)
    return Decision(rule, " ".join(filter(None, [_inactive(user), why])), proposal_id)


def _judge(
    user: User | AnonymousUser,
    access: Access,
    catalog: Catalog,
    proposal_id: str | None,
    proposal: Proposal | None,
) -> tuple[DecidingRule, str]:
    name = user.username or "An anonymous caller"
    if access.data_admin:
        return DecidingRule.DATA_ADMIN, f"{name} is a data admin, who may read every run."
    if catalog.beamline in access.beamlines and proposal_id not in access.locked:
        return DecidingRule.STAFF, f"{name} is staff of the beamline {catalog.beamline}."
    if proposal_id is None:
        beamline = f"staff of {catalog.beamline}"
        return (
            DecidingRule.NO_PROPOSAL,
            f"The run has no proposal: only {beamline} and data admins read it.",
        )
    if proposal is None:
        return DecidingRule.UNKNOWN_PROPOSAL, f"Nobody has told us of a proposal {proposal_id}."
    if proposal.locked:
        return (
            DecidingRule.LOCKED,
            f"Proposal {proposal_id} is locked: only data admins may read its runs.",
        )
    membership = _membership(user, proposal)
    if membership is not None and membership.is_current:
        return DecidingRule.MEMBER, _membership_text(name, membership)
    if proposal.is_public:
        return (
            DecidingRule.PUBLIC,
            f"Proposal {proposal_id} is public since {_day(proposal.public_from)}.",
        )
    if membership is not None:
        ended = f"ended on {_day(membership.expires)}. {_embargo(proposal)}"
        return DecidingRule.MEMBERSHIP_ENDED, f"The membership of {name} in {proposal_id} {ended}"
    return (
        DecidingRule.NOT_A_MEMBER,
        f"{name} is not a member of {proposal_id}. {_embargo(proposal)}",
    )


def _membership(user: User | AnonymousUser, proposal: Proposal) -> Membership | None:
    if not isinstance(user, User) or not user.is_active:
        return None
    return Membership.objects.filter(user=user, proposal=proposal).first()


def _membership_text(name: str, membership: Membership) -> str:
    role = membership.get_role_display().lower()
    until = f", until {_day(membership.expires)}" if membership.expires else ""
    return f"{name} is {role} of proposal {membership.proposal.proposal_id}{until}."


def _embargo(proposal: Proposal) -> str:
    if proposal.proprietary:
        return "It is proprietary, so never public."
    if proposal.public_from is None:
        return "It is not public, and no day is set for it to be."
    return f"It is not public before {_day(proposal.public_from)}."


def _override(catalog: Catalog, start: Document, proposal_id: str | None) -> str:
    uid = str(start.get("uid"))
    override = RunOverride.objects.filter(catalog=catalog.name, run_uid=uid).first()
    if override is None:
        return ""
    named = catalog.proposal.proposal(start) or "no proposal"
    return f"The document names {named}; overridden to {proposal_id}: {override.reason}"


def _inactive(user: User | AnonymousUser) -> str:
    if not isinstance(user, User) or user.is_active:
        return ""
    return f"The account {user.username} is not active, and reads what everybody may."


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "an unknown day"
