"""What somebody can read, who can read a run, and what a change of policy would change.

Every count is of runs that the viewer may read: the simulator tells nobody of others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q, QuerySet

from headers.catalogs import Catalog
from headers.mongo import CatalogUnavailable
from headers.repositories import Run, Runs
from headers.selection import Selection
from policies.explain import Rule
from policies.models import Membership, Proposal, User
from policies.principals import access_of
from policies.rule.access import Access
from policies.rule.conditions import All, Condition, Not

FIRST_RUNS = 5
EVERYBODY = "everybody"

Person = User | AnonymousUser


@dataclass(frozen=True)
class Share:
    """What one rule lets somebody read in a catalog, and no earlier rule does."""

    catalog: Catalog
    rule: Rule
    count: int
    newest: list[Run]


@dataclass(frozen=True)
class Readers:
    """The people whom one rule lets read a run."""

    rule: Rule
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
    report = Report()
    rights = _rights(person)
    for catalog in catalogs:
        try:
            report.shares.extend(_shares(rights, Runs(catalog, viewer)))
        except CatalogUnavailable:
            report.unavailable.append(catalog.name)
    return report


def _rights(person: Person) -> list[tuple[Rule, Access]]:
    """The parts of an access, each with the rule that gives it, in the order of the rules."""
    access = access_of(person)
    if access.data_admin:
        return [(Rule.DATA_ADMIN, access)]
    of_proposals = replace(access, beamlines=frozenset())
    joined = _current_proposals(person) & access.proposals
    return [
        (Rule.STAFF, replace(access, proposals=frozenset())),
        (Rule.MEMBER, replace(of_proposals, proposals=joined)),
        (Rule.PUBLIC, replace(of_proposals, proposals=access.proposals - joined)),
    ]


def _current_proposals(person: Person) -> frozenset[str]:
    if not isinstance(person, User) or not person.is_active:
        return frozenset()
    current = Membership.objects.current().filter(user=person)
    return frozenset(current.values_list("proposal__proposal_id", flat=True))


def _shares(rights: Sequence[tuple[Rule, Access]], runs: Runs) -> Iterator[Share]:
    earlier: list[Condition] = []
    for rule, access in rights:
        condition = access.rule(runs.catalog)
        alone = All((condition, *map(Not, earlier)))
        earlier.append(condition)
        selection = Selection(exact=alone.mongo())
        if count := runs.count(selection):
            yield Share(runs.catalog, rule, count, runs.page(selection, FIRST_RUNS).runs)


# -- Who can read a run? ---------------------------------------------------------------------


def who_can_read(run: Run) -> list[Readers]:
    """The people who may read a run, under the first rule that lets them."""
    active = User.objects.filter(is_active=True)
    admins = active.filter(Q(is_superuser=True) | Q(data_admin=True))
    proposal = Proposal.objects.filter(proposal_id=run.proposal).first()
    groups = [(Rule.DATA_ADMIN, admins)]
    if proposal is None or not proposal.locked:
        groups.append((Rule.STAFF, active.filter(staffed_beamlines__name=run.catalog.beamline)))
    if proposal is not None and not proposal.locked:
        current = proposal.memberships.current().values("user")
        groups.append((Rule.MEMBER, active.filter(pk__in=current)))
    found = list(_without_repeats(groups))
    if proposal is not None and proposal.is_public:
        found.append(Readers(Rule.PUBLIC, [EVERYBODY]))
    return found


def _without_repeats(groups: Iterable[tuple[Rule, QuerySet[User]]]) -> Iterator[Readers]:
    told: set[str] = set()
    for rule, users in groups:
        names = set(users.values_list("username", flat=True)) - told
        told |= names
        if names:
            yield Readers(rule, sorted(names))


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
    report = Report()
    for catalog in catalogs:
        count = _counting(Runs(catalog, viewer))
        try:
            for who in sorted(before):
                old, new = before[who].rule(catalog), after[who].rule(catalog)
                gained, lost = count(new, old), count(old, new)
                if gained or lost:
                    report.effects.append(Effect(who, catalog.name, gained, lost))
        except CatalogUnavailable:
            report.unavailable.append(catalog.name)
    return report


def _counting(runs: Runs) -> Callable[[Condition, Condition], int]:
    """How many runs satisfy one condition and not the other; each pair is counted once."""
    known: dict[tuple[Condition, Condition], int] = {}

    def count(satisfied: Condition, missed: Condition) -> int:
        if satisfied == missed:
            return 0
        pair = (satisfied, missed)
        if pair not in known:
            where = All((satisfied, Not(missed))).mongo()
            known[pair] = runs.count(Selection(start=where))
        return known[pair]

    return count
