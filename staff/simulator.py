"""What somebody can read, who can read a run, and what a change of policy would change.

Every count is of runs that the viewer may read: the simulator tells nobody of others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from operator import sub

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet

from headers.catalogs import Catalog
from headers.index.catch_up import fresh_index
from headers.index.listing import Wanted
from headers.index.rule import Proposals, proposals_of
from headers.index.runs import IndexedRuns
from headers.repositories import Run
from policies.explain import DecidingRule
from policies.models import Membership, Proposal, User
from policies.principals import access_of
from policies.rule.access import Access

FIRST_RUNS = 5
EVERYBODY = "everybody"

Person = User | AnonymousUser


@dataclass(frozen=True)
class Share:
    """What one rule lets somebody read in a catalog, and no earlier rule does."""

    catalog: Catalog
    rule: DecidingRule
    count: int
    newest: list[Run]


@dataclass(frozen=True)
class Found:
    """Runs of a catalog: how many, and the newest of them."""

    catalog: Catalog
    count: int
    newest: list[Run]


@dataclass(frozen=True)
class ReadersByRule:
    """The people whom one rule lets read a run."""

    rule: DecidingRule
    names: list[str]


@dataclass(frozen=True)
class Effect:
    """How many runs of a catalog somebody would gain or lose."""

    who: str
    catalog: str
    gained: int
    lost: int


@dataclass
class Report:
    """Lines of a table, and the catalogs that did not answer."""

    shares: list[Share] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)


# -- What can somebody read? -----------------------------------------------------------------


def what_can_read(person: Person, viewer: Access, catalogs: Iterable[Catalog]) -> Report:
    """The person's runs by catalog and by the first rule that applies."""
    chosen = list(catalogs)
    rights, indexed = _rights(person), _indexed(chosen, viewer)
    shares = [share for catalog in chosen for share in _shares(rights, indexed, catalog)]
    return Report(shares=shares, unavailable=sorted(indexed.unavailable))


def _rights(person: Person) -> list[tuple[DecidingRule, Access]]:
    """The parts of an access, each with the rule that gives it, in the order of the rules."""
    access = access_of(person)
    if access.data_admin:
        return [(DecidingRule.DATA_ADMIN, access)]
    of_proposals = replace(access, beamlines=frozenset())
    joined = _current_proposals(person) & access.proposals
    return [
        (DecidingRule.STAFF, replace(access, proposals=frozenset())),
        (DecidingRule.MEMBER, replace(of_proposals, proposals=joined)),
        (DecidingRule.PUBLIC, replace(of_proposals, proposals=access.proposals - joined)),
    ]


def _current_proposals(person: Person) -> frozenset[str]:
    if not isinstance(person, User) or not person.is_active:
        return frozenset()
    current = Membership.objects.current().filter(user=person)
    return frozenset(current.values_list("proposal__proposal_id", flat=True))


def _shares(
    rights: Sequence[tuple[DecidingRule, Access]], indexed: IndexedRuns, catalog: Catalog
) -> Iterator[Share]:
    earlier: list[Proposals] = []
    for rule, access in rights:
        proposals = proposals_of(access.rule(catalog))
        alone = reduce(sub, earlier, proposals)
        earlier.append(proposals)
        part = indexed.narrowed(catalog, alone)
        if count := part.count(Wanted()):
            yield Share(catalog, rule, count, _newest(part, catalog, indexed))


def _indexed(catalogs: Sequence[Catalog], viewer: Access) -> IndexedRuns:
    return IndexedRuns(fresh_index(catalogs, settings.CATALOGS), viewer)


# -- Who can read a run? ---------------------------------------------------------------------


def who_can_read(run: Run) -> list[ReadersByRule]:
    """The people who may read a run, under the first rule that lets them."""
    return readers_of(run.catalog, run.proposal)


def readers_of(catalog: Catalog, proposal_id: str | None) -> list[ReadersByRule]:
    """The people who may read the runs of a proposal in a catalog, or those without proposal."""
    active = User.objects.filter(is_active=True)
    admins = active.filter(Q(is_superuser=True) | Q(data_admin=True))
    proposal = Proposal.objects.filter(proposal_id=proposal_id).first()
    groups = [(DecidingRule.DATA_ADMIN, admins)]
    if proposal is None or not proposal.locked:
        groups.append((DecidingRule.STAFF, active.filter(staffed_beamlines__name=catalog.beamline)))
    if proposal is not None and not proposal.locked:
        current = proposal.memberships.current().values("user")
        groups.append((DecidingRule.MEMBER, active.filter(pk__in=current)))
    found = list(_without_repeats(groups))
    if proposal is not None and proposal.is_public:
        found.append(ReadersByRule(DecidingRule.PUBLIC, [EVERYBODY]))
    return found


def _without_repeats(
    groups: Iterable[tuple[DecidingRule, QuerySet[User]]],
) -> Iterator[ReadersByRule]:
    named: set[str] = set()
    for rule, users in groups:
        names = set(users.values_list("username", flat=True)) - named
        named |= names
        if names:
            yield ReadersByRule(rule, sorted(names))


# -- What would change? ----------------------------------------------------------------------


def accesses(people: Iterable[User]) -> dict[str, Access]:
    """What these people, and everybody, may read now."""
    found = {person.username: access_of(person) for person in people}
    return found | {EVERYBODY: access_of(AnonymousUser())}


def what_changes(
    before: Mapping[str, Access],
    after: Mapping[str, Access],
    viewer: Access,
    catalogs: Iterable[Catalog],
) -> Report:
    """What the same people gain and lose from one state of the policies to another."""
    chosen = list(catalogs)
    indexed = _indexed(chosen, viewer)
    report = Report(unavailable=sorted(indexed.unavailable))
    for catalog in chosen:
        count = _counting(indexed, catalog)
        for who in sorted(before):
            old, new = (proposals_of(state[who].rule(catalog)) for state in (before, after))
            gained, lost = count(new, old), count(old, new)
            if gained or lost:
                report.effects.append(Effect(who, catalog.name, gained, lost))
    return report


def what_is_gained(
    before: Access, after: Access, viewer: Access, catalogs: Sequence[Catalog]
) -> list[Found]:
    """The runs that one access allows and an earlier one does not."""
    indexed = _indexed(catalogs, viewer)
    found = []
    for catalog in catalogs:
        old, new = (proposals_of(access.rule(catalog)) for access in (before, after))
        part = indexed.narrowed(catalog, new - old)
        if count := part.count(Wanted()):
            found.append(Found(catalog, count, _newest(part, catalog, indexed)))
    return found


def _newest(part: IndexedRuns, catalog: Catalog, indexed: IndexedRuns) -> list[Run]:
    away = catalog.name in indexed.unavailable
    return [] if away else part.page(Wanted(), FIRST_RUNS).runs


def runs_of_proposal(proposal_id: str, viewer: Access, catalogs: Sequence[Catalog]) -> list[Found]:
    """The runs of a proposal among those that the viewer may read."""
    indexed, of = _indexed(catalogs, viewer), Proposals(frozenset({proposal_id}))
    parts = [(catalog, indexed.narrowed(catalog, of)) for catalog in catalogs]
    return [
        Found(catalog, count, _newest(part, catalog, indexed))
        for catalog, part in parts
        if (count := part.count(Wanted()))
    ]


def _counting(indexed: IndexedRuns, catalog: Catalog) -> Callable[[Proposals, Proposals], int]:
    """How many runs are of one set of proposals and not of the other; each pair counted once."""

    @cache
    def count(of: Proposals, but_not: Proposals) -> int:
        return indexed.narrowed(catalog, of - but_not).count(Wanted())

    return count
