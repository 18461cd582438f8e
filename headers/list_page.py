"""The page of runs: the list, what it is filtered by, and what its runs are in all."""

import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from typing import Any

from django.conf import settings
from django.http import HttpResponse, QueryDict
from django.urls import reverse
from django.utils.http import urlencode
from rest_framework import serializers
from rest_framework.request import Request

from broker_site.parameters import Parameters
from broker_site.problems import Problem, as_problem
from headers import histogram, lists, views
from headers.annotations.marks import MarkSummary, Person, glances, tag_counts
from headers.annotations.searches import saved_searches
from headers.chips import NO_FILTERS, Chip, address, changed, chips_of, filled_in, toggled, typed
from headers.pages import PageView
from headers.queries import QueryError
from headers.repositories import ALL, Run
from headers.scripts import scripts_for
from headers.selection import EXIT_STATUSES
from headers.summaries import STATUSES, Summary, summarize
from policies.audit import record_read

FACETS = {
    "plan_name": ("Plan", ("plan_name",)),
    "sample": ("Sample", ("sample", "sample.name")),
    "proposal": ("Proposal", ("proposal",)),
    "motor": ("Motor", ("motors",)),
    "detector": ("Detector", ("detectors",)),
    "exit_status": ("Status", ("exit_status",)),
    "catalog": ("Catalog", ("catalog",)),
}
"""parameter → its title and the paths it is counted by"""
COLUMNS = {
    "thumb": "Picture",
    "began": "Began",
    "sample": "Sample",
    "proposal": "Proposal",
    "catalog": "Catalog",
    "events": "Events",
    "took": "Took",
    "status": "Status",
}
"""that people may do without"""
FACET_VALUES = 8
PAGE_SIZE = 50
COUNTED_CHIPS = 8
"""without each of which runs are counted where there are none with all"""


class RunListPageParameters(lists.HeaderListParameters):
    page_size = serializers.IntegerField(min_value=1, max_value=200, default=PAGE_SIZE)


class RunListPage(PageView):
    def get(self, request: Request) -> HttpResponse:
        """Runs, newest first, with filters. One that is wrong is explained and left out."""
        filters = filled_in(request.query_params)
        kept, wrong = filters.copy(), Wrong()
        while (listed := _listed_or_none(request, kept, wrong)) is None:
            pass  # each time there is a filter less
        context = _form(filters, kept) | {
            "errors": wrong.errors,
            "mistyped": " ".join(wrong.terms),
            "saved": saved_searches(request.user),
            "scripts": scripts_for(
                kept, request.build_absolute_uri("/").rstrip("/"), reverse("header-list")
            ),
            **listed,
        }
        return self.page("runs/list.html", context, 400 if wrong.errors else 200)

    def problem_page(self, problem: Problem) -> HttpResponse:
        """What is wrong beside the filters: no catalog answers, say."""
        filters = filled_in(self.request.query_params)
        context = _form(filters, filters) | {"problem": problem}
        return self.page("runs/list.html", context, problem.status)


class RunFacetsPage(PageView):
    def get(self, request: Request) -> HttpResponse:
        """When the runs of the list were, and how many have which plan, …; a part of its page."""
        filters = filled_in(request.query_params)
        given = RunListPageParameters.checked(filters)
        chosen = lists.chosen_runs(request, given)
        catalog = next(iter(chosen.runs.index.catalogs.values()), settings.CATALOGS[0])
        width = histogram.span_seconds(given, catalog)
        sums = chosen.sums(width, histogram.offset_of(catalog.timezone, time.time()))
        bars = histogram.bars_of(sums, catalog.timezone)
        context = {
            "facets": [
                {"title": title, "values": _facet(chosen, name, paths, filters)}
                for name, (title, paths) in FACETS.items()
            ]
            + [{"title": "Tag", "values": _tags(chosen, filters)}],
            "sums": sums,
            "bars": [
                (bar, address(changed(filters, since=bar.since, until=bar.until))) for bar in bars
            ],
            "last_day": bars[-1].until[:10] if bars else "",
            "drawing": (histogram.WIDTH, histogram.HEIGHT),
        }
        fields = [path for _, paths in FACETS.values() for path in paths]
        record_read(request._request, [], status=200, result="facets", details={"fields": fields})
        return self.page("runs/facets.html", context)


class RunPreviewPage(PageView):
    def get(self, request: Request, key: str) -> HttpResponse:
        """What a run is, in short; a part of the list's page."""
        Parameters.of(request)
        run = self.run(key)
        context = {"run": run, "row": _row(run, MarkSummary()), "streams": views.streams(run)}
        return self.page("runs/preview.html", context)


# -- the list ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ListedRun:
    """A run in the list."""

    summary: Summary
    events: int | None
    """of all streams; None while it is open, or where that is not recorded"""
    marks: MarkSummary


@dataclass
class Wrong:
    """What is wrong with the filters that are left out."""

    errors: dict[str, str] = field(default_factory=dict)
    """filter → what to do about it"""
    terms: list[str] = field(default_factory=list)
    """of what was typed to find runs"""


def _listed_or_none(request: Request, kept: QueryDict, wrong: Wrong) -> dict[str, Any] | None:
    """The list; None where a filter is wrong, is left out now, and is explained in `wrong`."""
    try:
        return _listed(request, kept)
    except (Problem, serializers.ValidationError, QueryError) as error:
        problem = as_problem(views.as_problem(error))
        found = _wrong_filters(problem, kept) if problem and problem.status == 400 else {}
        if problem is None or not found:
            raise
        term = str(problem.extra.get("term") or "")
        for name in found:
            wrong.terms += [term] if term else kept.getlist(name) if name == "find" else []
            _leave_out(kept, name, term)
        wrong.errors.update(found)
        return None


def _wrong_filters(problem: Problem, kept: QueryDict) -> dict[str, str]:
    """The filters that a problem is about, and what it says of each."""
    named = problem.extra.get("errors")
    if not isinstance(named, dict):
        name, _, text = problem.detail.partition(": ")
        named = {name: [text]}
    return {name: _sentence(said) for name, said in named.items() if name in kept}


def _sentence(said: Any) -> str:
    """Of several items, what is said of the first one that is wrong."""
    if isinstance(said, Mapping):
        return _sentence(next(iter(said.values()), ""))
    return " ".join(map(str, said)) if isinstance(said, list) else str(said)


def _leave_out(kept: QueryDict, name: str, term: str) -> None:
    """Takes a filter away; of what was typed, only the term that is wrong."""
    texts = kept.getlist(name)
    others = [text.replace(term, " ").strip() for text in texts] if term else []
    del kept[name]
    if others != texts and (others := [text for text in others if text]):
        kept.setlist(name, others)


def _listed(request: Request, filters: QueryDict) -> dict[str, Any]:
    given = RunListPageParameters.checked(filters)
    chosen = lists.chosen_runs(request, given)
    found = lists.page_of("runs page", request, given, chosen)
    by_time = given["ordering"].lstrip("-") == "time"
    return {
        "runs": found.runs,
        "days": _days(_rows(found.runs, request.user), by_time),
        "older": found.next and _page_link(filters, found.next),
        "newer": found.previous and _page_link(filters, found.previous),
        **lists.missing(chosen.runs),
        "newest_first": given["ordering"] == "-time",
        "live_address": _live_address(given),
        "without": _without(request, filters) if not found.runs and "cursor" not in given else [],
    }


def _rows(runs: Sequence[Run], person: Person) -> list[ListedRun]:
    marks = glances(runs, person)
    return [_row(run, marks.get((run.catalog.name, run.uid or ""), MarkSummary())) for run in runs]


def _row(run: Run, marks: MarkSummary) -> ListedRun:
    counts = (run.stop or {}).get("num_events")
    numbers = counts.values() if isinstance(counts, Mapping) else []
    events = sum(number for number in numbers if type(number) is int) if numbers else None
    return ListedRun(summarize(run), events, marks)


def _days(rows: list[ListedRun], by_time: bool) -> list[tuple[date | None, list[ListedRun]]]:
    """The rows of each day; all together where they are not in the order of time."""
    if not by_time:
        return [(None, rows)] if rows else []
    grouped = groupby(rows, lambda row: row.summary.began.date() if row.summary.began else None)
    return [(day, list(some)) for day, some in grouped]


def _page_link(filters: QueryDict, cursor: str) -> str:
    found = filters.copy()
    found["cursor"] = cursor
    return f"{reverse('runs')}?{found.urlencode()}"


def _live_address(given: Mapping[str, Any]) -> str | None:
    """Where the runs are told of that come into this page; None for a page that gets none."""
    if "cursor" in given or given["ordering"] != "-time":
        return None
    filters = {n: v for n, v in given.items() if n not in ("ordering", "page_size")}
    return f"{reverse('header-live')}?{urlencode(filters, doseq=True)}"


def _without(request: Request, filters: QueryDict) -> list[tuple[Chip, int]]:
    """Filters without which there are runs, and how many; most first."""
    if "query" in filters:
        return []  # would be judged run by run, once for each filter
    found = []
    for chip in chips_of(filters)[:COUNTED_CHIPS]:
        given = RunListPageParameters.checked(chip.others)
        if count := lists.chosen_runs(request, given).count():
            found.append((chip, count))
    return sorted(found, key=lambda item: -item[1])


# -- the filters ---------------------------------------------------------------------------


def _form(filters: QueryDict, kept: QueryDict) -> dict[str, Any]:
    """What the form of filters shows again. `kept`: those that are not wrong."""
    chips = chips_of(kept)
    newest_first = kept.get("ordering") != "time"
    return {
        "filters": {name: str(value) for name, value in filters.items()},
        "date_inputs": {name: _date_input(filters.get(name)) for name in ("since", "until")},
        "chips": chips,
        "typed": [term.text for term in typed(kept)],
        "ordering": kept.get("ordering"),
        "query_string": changed(kept).urlencode(),
        "archive_filters": _pairs(kept),
        "turned": address(changed(kept, ordering="time" if newest_first else None)),
        "columns": list(COLUMNS.items()),
        "catalogs": settings.CATALOGS,
        "beamlines": sorted({catalog.beamline for catalog in settings.CATALOGS}),
        "exit_statuses": EXIT_STATUSES,
    }


def _pairs(filters: QueryDict) -> list[tuple[str, str]]:
    """The filters alone, as fields of a form."""
    named = ((n, values) for n, values in filters.lists() if n == "find" or n not in NO_FILTERS)
    return [(name, str(value)) for name, values in named for value in values]


def _date_input(value: str | None) -> str:
    """A calendar shows days only; other times are a text."""
    return "date" if not value or re.fullmatch(r"\d{4}-\d\d-\d\d", value) else "text"


def _facet(
    chosen: lists.Chosen, name: str, paths: tuple[str, ...], filters: QueryDict
) -> list[dict[str, Any]]:
    """The most frequent values, each once, with what the list is with it, or without it again."""
    counts: dict[str, int] = defaultdict(int)
    for path in paths:
        for value, count in chosen.facet(path):
            if isinstance(value, str) and value:
                counts[value] += count
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:FACET_VALUES]
    return [_facet_value(name, value, filters) | {"count": count} for value, count in most]


def _tags(chosen: lists.Chosen, filters: QueryDict) -> list[dict[str, Any]]:
    """The same of tags; none where documents decide which runs there are."""
    if chosen.query != ALL:
        return []
    counted = tag_counts(chosen.runs.listing, chosen.wanted)[:FACET_VALUES]
    return [_whole("tag", name, filters) | {"count": count} for name, count in counted]


def _whole(field: str, name: str, filters: QueryDict) -> dict[str, Any]:
    """A value that is typed in quotes: all of a name."""
    text = f'{field}:"{name}"'
    is_chosen = text in [term.text for term in typed(filters)]
    return {"label": name, "chosen": is_chosen, "url": address(toggled(filters, text))}


def _facet_value(name: str, value: str, filters: QueryDict) -> dict[str, Any]:
    label = STATUSES.get(value, value) if name == "exit_status" else value
    if name == "sample" and '"' not in value:
        # The parameter finds a part of a name; this one is all of it.
        return _whole(name, value, filters)
    is_chosen = filters.get(name) == value
    url = address(changed(filters, **{name: None if is_chosen else value}))
    return {"label": label, "chosen": is_chosen, "url": url}
