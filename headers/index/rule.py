"""The access rule as SQL: what it leaves of the index's column of proposals.

The third answer beside `mongo` and `holds`, made from the same description. A run whose
uid is a list, which overrides may name by an item, is indexed as if it had none: its
document is judged by `holds` like every other before it is served.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import BigAutoField, CharField, Lookup, Q, TextField
from django.db.models.sql.compiler import SQLCompiler

from headers.catalogs import Catalog
from policies.rule.access import Access, InProposals
from policies.rule.conditions import All, Always, AnyOf, Condition, Not

if TYPE_CHECKING:
    AnyLookup = Lookup[Any]
else:
    AnyLookup = Lookup


@dataclass(frozen=True)
class Proposals:
    """A set of proposals: those included, None standing for all and none, but those excluded."""

    included: frozenset[str] | None = None
    excluded: frozenset[str] = frozenset()

    def __and__(self, other: "Proposals") -> "Proposals":
        sets = [part for part in (self.included, other.included) if part is not None]
        included = frozenset.intersection(*sets) if sets else None
        return Proposals(included, self.excluded | other.excluded)

    def __sub__(self, other: "Proposals") -> "Proposals":
        if other.included is not None:
            return Proposals(self.included, self.excluded | (other.included - other.excluded))
        kept = self.included if self.included is not None else other.excluded
        return Proposals(kept & other.excluded, self.excluded)

    @property
    def empty(self) -> bool:
        return self.included is not None and not self.included - self.excluded

    def q(self, column: str = "proposal") -> Q:
        if self.included is not None:
            return Q(**{f"{column}__among": self.included - self.excluded})
        return ~Q(**{f"{column}__among": self.excluded}) if self.excluded else Q()

    def __contains__(self, proposal: str) -> bool:
        wanted = self.included is None or proposal in self.included
        return wanted and proposal not in self.excluded


NONE = Proposals(frozenset())


def proposals_of(condition: Condition) -> Proposals:
    """The proposals whose runs satisfy a condition that the access rule is made of."""
    match condition:
        case Always():
            return Proposals()
        case AnyOf(()):
            return NONE
        case InProposals():
            # Mostly the same object in all catalogs, whose hash is computed but once.
            named = condition.proposals
            return Proposals(named - {""} if "" in named else named)
        case Not(InProposals() as inner):
            return Proposals(excluded=inner.proposals - {""})
        case All(parts):
            found = Proposals()
            for part in parts:
                found &= proposals_of(part)
            return found
    raise TypeError(f"no SQL for {condition!r}")


def readable(access: Access, sources: Mapping[int, Catalog]) -> dict[Proposals, list[int]]:
    """Which proposals may be read in which sources; each source stands in one list at most."""
    found: dict[Proposals, list[int]] = defaultdict(list)
    for key, catalog in sources.items():
        proposals = proposals_of(access.rule(catalog))
        if not proposals.empty:
            found[proposals].append(key)
    return dict(found)


@BigAutoField.register_lookup
@CharField.register_lookup
@TextField.register_lookup
class Among(AnyLookup):
    """`IN` with all values as one parameter, so that thousands cost as little as a few."""

    lookup_name = "among"
    prepare_rhs = False

    def __init__(self, lhs: Any, rhs: Any) -> None:
        super().__init__(lhs, tuple(sorted(rhs)))

    def as_sql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, Any]:
        column, parameters = self.process_lhs(compiler, connection)
        values = "(SELECT value FROM json_each(%s))"
        return f"{column} IN {values}", [*parameters, json.dumps(self.rhs)]

    def as_postgresql(self, compiler: SQLCompiler, connection: Any) -> tuple[str, Any]:
        column, parameters = self.process_lhs(compiler, connection)
        return f"{column} = ANY(%s)", [*parameters, list(self.rhs)]
