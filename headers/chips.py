"""The filters of the list's address, one by one: each can be taken away by a link."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.http import QueryDict
from django.urls import reverse

from headers.find import FindError, Term, terms_of

TITLES = {
    "search": "text",
    "plan_name": "plan",
    "scan_id": "scan",
    "exit_status": "status",
    "since": "from",
    "until": "before",
}
"""parameter → what it is called, where that is not its own name"""
NO_FILTERS = ("find", "ordering", "cursor", "page_size", "fields", "include", "format")


@dataclass(frozen=True)
class Chip:
    """One filter, and the filters without it."""

    title: str
    """empty where the value says all"""
    value: str
    others: QueryDict
    is_typed: bool = False
    """into the box that finds runs"""

    @property
    def url(self) -> str:
        return address(self.others)


def filled_in(given: QueryDict) -> QueryDict:
    """Without the empty fields that a browser sends of a form."""
    filters = given.copy()
    for name, values in given.lists():
        filters.setlist(name, [value for value in values if value])
        if not filters.getlist(name):
            del filters[name]
    return filters


def address(filters: QueryDict) -> str:
    """The first page of the list with these filters."""
    first = filters.copy()
    first.pop("cursor", None)
    return f"{reverse('runs')}?{first.urlencode()}" if first else reverse("runs")


def changed(filters: QueryDict, **changes: str | None) -> QueryDict:
    """The same filters with others in place of some; None takes one away."""
    found = filters.copy()
    found.pop("cursor", None)
    for name, value in changes.items():
        found.pop(name, None)
        if value is not None:
            found[name] = value
    return found


def chips_of(filters: QueryDict) -> list[Chip]:
    """In the order of the address; what was typed comes first."""
    return [*_typed(filters), *_named(filters)]


def typed(filters: QueryDict) -> list[Term]:
    """The terms that were typed; none where they cannot be meant."""
    try:
        return terms_of(filters.getlist("find"))
    except FindError:
        return []


def toggled(filters: QueryDict, text: str) -> QueryDict:
    """The same filters with a term in addition, or without it where they have it."""
    texts = [term.text for term in typed(filters)]
    others = [other for other in texts if other != text]
    found = changed(filters, find=None)
    if others := others if len(others) < len(texts) else [*texts, text]:
        found.setlist("find", others)
    return found


def _typed(filters: QueryDict) -> Iterator[Chip]:
    for term in typed(filters):
        yield Chip("", term.text, toggled(filters, term.text), is_typed=True)


def _named(filters: QueryDict) -> Iterator[Chip]:
    for name in filters:
        if name not in NO_FILTERS:
            value = str(filters[name])
            yield Chip(TITLES.get(name, name), value, changed(filters, **{name: None}))
