"""What a principal may read: the one place where the access rule is written.

    data admin: every run
    staff of the run's beamline: every run there whose proposal is not locked
    anybody else: runs whose proposal they are a current member of, or that is
        public, and that is not locked

A run's proposal is its override where it has one, else what its document names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from policies.rule.conditions import All, Always, AnyOf, Condition, Document, Filter, Not, RunIn
from policies.rule.proposal_paths import ProposalPaths

Overrides = Mapping[str, Mapping[str, str]]
"""catalog name → run uid → proposal id"""


class Catalog(Protocol):
    """What the rule needs to know of a catalog."""

    @property
    def name(self) -> str: ...
    @property
    def beamline(self) -> str: ...
    @property
    def proposal(self) -> ProposalPaths: ...


@dataclass(frozen=True)
class InProposals:
    """The run's proposal, override included, is one of these.

    What the run index makes of it (`headers.index.rule`) is one column among these.
    """

    paths: ProposalPaths
    overrides: Mapping[str, str] = field(hash=False)
    """run uid → proposal id, in the catalog of these paths"""
    proposals: frozenset[str]

    def mongo(self) -> Filter:
        return self._condition.mongo()

    def holds(self, start: Document) -> bool:
        return self._condition.holds(start)

    @property
    def _condition(self) -> Condition:
        named = self.paths.names(self.proposals)
        if not self.overrides:
            return named
        moved_here = frozenset(uid for uid, to in self.overrides.items() if to in self.proposals)
        return AnyOf((All((named, Not(RunIn(frozenset(self.overrides))))), RunIn(moved_here)))


@dataclass(frozen=True)
class Access:
    """What one principal may read now. Made anew for each request."""

    data_admin: bool = False
    beamlines: frozenset[str] = frozenset()
    """beamlines whose staff the principal is"""
    proposals: frozenset[str] = frozenset()
    """proposals that are public or that the principal is a member of; none is locked"""
    locked: frozenset[str] = frozenset()
    overrides: Overrides = field(default_factory=dict)
    only_proposals: frozenset[str] | None = None
    """narrowed by a token to these proposals; None: not narrowed"""
    only_catalogs: frozenset[str] | None = None

    def filter(self, catalog: Catalog) -> Filter:
        """The MongoDB filter on run start documents that selects what may be read."""
        return self.rule(catalog).mongo()

    def allows(self, catalog: Catalog, start: Document) -> bool:
        """May this run be read? Agrees with `filter` on every document."""
        return self.rule(catalog).holds(start)

    def allows_proposal(self, catalog: Catalog, proposal: str) -> bool:
        """May runs of this proposal be read in this catalog? As `allows` says of each of them."""
        if self.only_catalogs is not None and catalog.name not in self.only_catalogs:
            return False
        if self.only_proposals is not None and proposal not in self.only_proposals:
            return False
        if self.data_admin:
            return True
        if catalog.beamline in self.beamlines:
            return proposal not in self.locked
        return proposal in self.proposals

    def rule(self, catalog: Catalog) -> Condition:
        if self.only_catalogs is not None and catalog.name not in self.only_catalogs:
            return AnyOf(())
        if self.only_proposals is None:
            return self._owner_rule(catalog)
        return All((self._owner_rule(catalog), self.in_proposals(catalog, self.only_proposals)))

    def _owner_rule(self, catalog: Catalog) -> Condition:
        if self.data_admin:
            return Always()
        if catalog.beamline in self.beamlines:
            return Not(self.in_proposals(catalog, self.locked))
        return self.in_proposals(catalog, self.proposals)

    def in_proposals(self, catalog: Catalog, proposals: frozenset[str]) -> Condition:
        """The run's proposal, override included, is one of these."""
        overrides = self.overrides.get(catalog.name, {})
        return InProposals(catalog.proposal, overrides, proposals)

    def proposal_of(self, catalog: Catalog, start: Document) -> str | None:
        """The id of the run's proposal, or None for a run without one."""
        moved = self.overrides.get(catalog.name)
        override = moved.get(str(start.get("uid"))) if moved else None
        return override or catalog.proposal.proposal(start)
