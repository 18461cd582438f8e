"""A small algebra of conditions on a run start document.

Each condition answers two questions from one description: which MongoDB filter
selects the documents (`mongo`), and does this document satisfy it (`holds`).
The access rule is built from these, so that the two answers cannot drift apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Filter = dict[str, Any]
Document = Mapping[str, Any]

NOTHING: Filter = {"uid": {"$in": []}}


class Condition(Protocol):
    def mongo(self) -> Filter: ...
    def holds(self, start: Document) -> bool: ...


@dataclass(frozen=True)
class Always:
    def mongo(self) -> Filter:
        return {}

    def holds(self, start: Document) -> bool:
        return True


@dataclass(frozen=True)
class All:
    conditions: tuple[Condition, ...]

    def mongo(self) -> Filter:
        filters = [condition.mongo() for condition in self.conditions]
        return NOTHING if NOTHING in filters else conjunction(*filters)

    def holds(self, start: Document) -> bool:
        return all(condition.holds(start) for condition in self.conditions)


@dataclass(frozen=True)
class AnyOf:
    conditions: tuple[Condition, ...]

    def mongo(self) -> Filter:
        filters = [condition.mongo() for condition in self.conditions]
        if {} in filters:
            return {}
        filters = [item for item in filters if item != NOTHING]
        if not filters:
            return NOTHING
        return filters[0] if len(filters) == 1 else {"$or": filters}

    def holds(self, start: Document) -> bool:
        return any(condition.holds(start) for condition in self.conditions)


@dataclass(frozen=True)
class Not:
    condition: Condition

    def mongo(self) -> Filter:
        inner = self.condition.mongo()
        if inner == NOTHING:
            return {}
        return {"$nor": [inner]} if inner else NOTHING

    def holds(self, start: Document) -> bool:
        return not self.condition.holds(start)


@dataclass(frozen=True)
class RunIn:
    """The run's uid is one of these."""

    uids: frozenset[str]

    def mongo(self) -> Filter:
        return {"uid": {"$in": sorted(self.uids)}}

    def holds(self, start: Document) -> bool:
        uid = start.get("uid")
        # As MongoDB does, an array matches by its elements.
        values = uid if isinstance(uid, list) else [uid]
        return any(type(value) is str and value in self.uids for value in values)


def conjunction(*filters: Filter) -> Filter:
    """One filter that selects what all of them select.

    Keys stay at the top level where they can (a planner finds an index for them
    there, and some wrap a lone `$and` into a full scan); a key that two filters
    use goes into `$and` the second time, so that no condition is ever replaced.
    """
    merged: Filter = {}
    collided: list[Filter] = []
    for item in filters:
        free = {key: value for key, value in item.items() if key not in merged and key != "$and"}
        merged |= free
        rest = {key: value for key, value in item.items() if key not in free and key != "$and"}
        if rest:
            collided.append(rest)
        collided.extend(item.get("$and", []))
    return merged | {"$and": collided} if collided else merged
