"""The runs before and after a run, in a list that somebody reads, as a part of the run's page."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request

from headers import lists
from headers.chips import filled_in
from headers.index.keys import key_of
from headers.index.listing import IndexPlace
from headers.list_page import RunListPageParameters
from headers.pages import PageView
from headers.repositories import Run
from headers.summaries import Summary, summarize
from policies.audit import note_runs
from policies.rule.proposal_paths import INT64


@dataclass(frozen=True)
class Neighbours:
    """The run taken before, or with the scan id before, and the one after. None: there is none."""

    earlier: Run | None
    later: Run | None


class RunNeighboursPage(PageView):
    """Takes the parameters of the list from which the run was opened."""

    def get(self, request: Request, key: str) -> HttpResponse:
        """Links to the runs before and after it that the caller may read."""
        filters = filled_in(request.query_params)
        filters.pop("cursor", None)
        run = self.run(key)
        given = RunListPageParameters.checked(filters)
        chosen = lists.chosen_runs(request, given)
        found = neighbours(chosen, run, by_scan_id="scan_id" in given["ordering"])
        note_runs([item for item in (found.earlier, found.later) if item])
        context = {"earlier": _told(found.earlier), "later": _told(found.later)}
        return self.page("runs/neighbours.html", context)


def neighbours(chosen: lists.Chosen, run: Run, *, by_scan_id: bool = False) -> Neighbours:
    """Of the chosen runs those that come right before and right after this one."""
    place = place_of(run)
    if place is None:
        return Neighbours(None, None)
    name = "scan_id" if by_scan_id and place.scan_id is not None else "time"
    return Neighbours(_next(chosen, f"-{name}", place), _next(chosen, name, place))


def _next(chosen: lists.Chosen, ordering: str, place: IndexPlace) -> Run | None:
    page = chosen.runs.page(chosen.wanted, 1, query=chosen.query, ordering=ordering, after=place)
    return page.runs[0] if page.runs else None


def place_of(run: Run) -> IndexPlace | None:
    """Where a run stands in lists; None for one that is in none, as it has no time."""
    time: Any = run.start.get("time")
    key, scan_id = key_of(run.document), run.start.get("scan_id")
    if type(time) not in (int, float) or not isfinite(time) or key is None:
        return None
    numbered = type(scan_id) is int and scan_id in INT64
    return IndexPlace(float(time), run.catalog.name, key, scan_id if numbered else None)


def _told(run: Run | None) -> Summary | None:
    return summarize(run) if run is not None and run.key else None
