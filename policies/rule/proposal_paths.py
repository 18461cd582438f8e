"""Where a run's proposal is found in its start document.

A catalog lists paths, with an optional pattern each; the first path that is
present and matches wins. A proposal id is a string; numbers in the document are
compared by their decimal text. Only a scalar names a proposal: a list at the path,
or on the way to it, does not, so an ambiguous run is a run without proposal.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from importlib import import_module
from itertools import product
from typing import Any

from bson import Code
from bson.decimal128 import Decimal128

from policies.rule.conditions import All, AnyOf, Condition, Document, Filter, Not

# The standard library's own parser of patterns; it is the only exact reader of them.
sre: Any = import_module("re._constants")
sre_parser: Any = import_module("re._parser")

KEPT = 32
"""sets of proposals whose stored values are remembered"""
MAX_LITERALS = 64
NO_SCALARS = (list, bool, Code, Mapping)
INT64 = range(-(2**63), 2**63)


def scalar_at(start: Document, path: str) -> Any:
    """The value at a dotted path, or None where it is absent, behind a list, or no scalar.

    JavaScript code, which to Python is a text, is none to MongoDB either.
    """
    value: Any = start
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return None if isinstance(value, NO_SCALARS) else value


def number_text(value: float | Decimal128) -> str:
    """The id that a number stands for: 310000 and 310000.0 are the same proposal.

    Beyond 64 bits none: such an id could not be looked up among numbers.
    """
    number = value.to_decimal() if isinstance(value, Decimal128) else value
    finite = number.is_finite() if isinstance(number, Decimal) else math.isfinite(number)
    whole = finite and number == int(number) and int(number) in INT64
    return str(int(number)) if whole else ""


@dataclass(frozen=True)
class ProposalPath:
    """One place to look: a dotted `path`, and a `pattern` whose group is the id.

    The whole value must match the pattern. What surrounds its one group must be a
    choice of at most 64 literal texts, so that ids translate into exact values that
    an index serves; ValueError says so otherwise.
    """

    path: str
    pattern: str | None = None
    _regex: re.Pattern[str] | None = field(init=False, repr=False, compare=False, default=None)
    _around: tuple[tuple[str, str], ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        names = self.path.split(".")
        if not all(names) or any(n.isdigit() or n.startswith("$") or "\0" in n for n in names):
            raise ValueError(f"proposal path {self.path!r} is not a dotted path of field names")
        if self.pattern is not None:
            object.__setattr__(self, "_around", tuple(_literals_around_group(self.pattern)))
            object.__setattr__(self, "_regex", re.compile(self.pattern, re.ASCII))

    def proposal(self, start: Document) -> str | None:
        """The id found here; "" for a value that cannot be one; None if this path does not win."""
        value = scalar_at(start, self.path)
        if self._regex is not None:
            match = self._regex.fullmatch(value) if isinstance(value, str) else None
            return (match.group(1) or "") if match else None
        if isinstance(value, str):
            return value or None
        return number_text(value) if isinstance(value, int | float | Decimal128) else None

    def values(self, proposals: frozenset[str]) -> list[str | int]:
        """Every stored value that names one of the proposals here, sorted."""
        return list(_values(self, proposals))

    def only_scalars(self) -> Filter:
        names = self.path.split(".")
        prefixes = [".".join(names[: depth + 1]) for depth in range(len(names))]
        return {prefix: {"$not": {"$type": "array"}} for prefix in prefixes}


@dataclass(frozen=True)
class Wins:
    """The run's proposal is looked up at this path, if at no earlier one."""

    place: ProposalPath

    def mongo(self) -> Filter:
        path, guards = self.place.path, self.place.only_scalars()
        if self.place.pattern is not None:
            # `$` alone would also match before a final line break.
            whole = f"^(?:{self.place.pattern})$(?!\\n)"
            return guards | {path: {"$regex": whole, **guards[path]}}
        return guards | {"$or": [{path: {"$gt": ""}}, {path: {"$type": "number"}}]}

    def holds(self, start: Document) -> bool:
        return self.place.proposal(start) is not None


@dataclass(frozen=True)
class Names:
    """The value at this path names one of these proposals."""

    place: ProposalPath
    proposals: frozenset[str]

    def mongo(self) -> Filter:
        path, guards = self.place.path, self.place.only_scalars()
        return guards | {path: {"$in": self.place.values(self.proposals), **guards[path]}}

    def holds(self, start: Document) -> bool:
        proposal = self.place.proposal(start)
        return bool(proposal) and proposal in self.proposals


@dataclass(frozen=True)
class ProposalPaths:
    """The places of one catalog, in their order."""

    places: tuple[ProposalPath, ...] = ()

    def proposal(self, start: Document) -> str | None:
        """The proposal id that the document names, or None."""
        for place in self.places:
            found = place.proposal(start)
            if found is not None:
                return found or None
        return None

    def names(self, proposals: frozenset[str]) -> Condition:
        """The condition that the document names one of these proposals."""
        return AnyOf(
            tuple(
                All((Names(place, proposals), *(Not(Wins(p)) for p in self.places[:index])))
                for index, place in enumerate(self.places if proposals else ())
            )
        )


@lru_cache(KEPT)
def _values(place: ProposalPath, proposals: frozenset[str]) -> tuple[str | int, ...]:
    """Kept, because many catalogs name thousands of proposals in the same way."""
    if place._regex is None:
        return tuple(_plain_values(sorted(proposals)))
    return tuple(
        sorted(
            text
            for proposal in proposals
            for before, after in place._around
            if proposal
            and (match := place._regex.fullmatch(text := before + proposal + after))
            and match.group(1) == proposal
        )
    )


def _plain_values(proposals: Iterable[str]) -> Iterator[str | int]:
    for proposal in proposals:
        if not proposal:
            continue
        yield proposal
        number = int(proposal) if re.fullmatch(r"0|-?[1-9][0-9]{0,18}", proposal) else None
        if number is not None and number in INT64:
            yield number


def _literals_around_group(pattern: str) -> Iterator[tuple[str, str]]:
    """Every literal text that may stand before and after the pattern's one group."""
    try:
        tree = sre_parser.parse(pattern, re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern {pattern!r} is not a regular expression: {error}") from None
    if tree.state.flags & re.IGNORECASE:
        raise _not_literal(pattern)
    parsed = list(tree)
    groups = [at for at, (kind, value) in enumerate(parsed) if kind is sre.SUBPATTERN and value[0]]
    if len(groups) != 1 or re.compile(pattern, re.ASCII).groups != 1:
        raise ValueError(f"pattern {pattern!r} needs exactly one group, around the proposal id")
    before, after = parsed[: groups[0]], parsed[groups[0] + 1 :]
    yield from product(_literals(before, pattern), _literals(after, pattern))


def _literals(parsed: list[Any], pattern: str) -> list[str]:
    texts = [""]
    for kind, value in parsed:
        choices = _choices(kind, value, pattern)
        texts = [text + choice for text in texts for choice in choices]
        if len(texts) > MAX_LITERALS:
            raise _not_literal(pattern)
    return texts


def _choices(kind: Any, value: Any, pattern: str) -> list[str]:
    if kind is sre.LITERAL:
        return [chr(value)]
    if kind is sre.AT and value in (sre.AT_BEGINNING, sre.AT_END):
        return [""]
    if kind is sre.BRANCH:
        return [text for branch in value[1] for text in _literals(list(branch), pattern)]
    if kind is sre.SUBPATTERN and not value[1] and not value[2]:
        return _literals(list(value[3]), pattern)
    if kind is sre.IN and all(item[0] is sre.LITERAL for item in value):
        return [chr(item[1]) for item in value]
    if kind is sre.MAX_REPEAT and value[:2] == (0, 1):
        return ["", *_literals(list(value[2]), pattern)]
    raise _not_literal(pattern)


def _not_literal(pattern: str) -> ValueError:
    return ValueError(
        f"pattern {pattern!r}: outside of the group it may only choose between"
        f" at most {MAX_LITERALS} literal texts, such as '^pass-(\\d+)$'"
    )
