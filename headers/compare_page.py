"""Runs side by side: their curves and maps together, and what of their metadata differs."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from rest_framework import serializers
from rest_framework.request import Request

from broker_site.inert import visible
from broker_site.parameters import Texts
from headers import views
from headers.differences import Difference, differences
from headers.downloads import stream_url
from headers.finding import AmbiguousKey, RunNotFound
from headers.index.runs import CatalogsUnavailable
from headers.pages import PageView
from headers.plotting import plot_plan
from headers.repositories import Run
from headers.summaries import Summary, summarize
from headers.view_state import ViewState
from policies.audit import note_runs
from policies.readers import readers_of

MAX_RUNS = 12
MAX_ROWS = 200
SAID_ABOVE = {"uid", "time", "scan_id", "stop.uid", "stop.run_start", "stop.time"}
"""paths of what is told of each run anyway, or that always differs"""

WRITTEN_BY_PROGRAMS = {"plan_args", "plan_pattern_args", "hints", "versions"}
"""what people wrote is told before it"""


class CompareParameters(ViewState):
    repeatable = (*ViewState.repeatable, "run")
    run = Texts(
        serializers.CharField(max_length=200), max_length=MAX_RUNS, help_text="uid; repeatable"
    )
    mode = serializers.ChoiceField(("waterfall", "difference"), required=False)
    norm = serializers.ChoiceField(("max", "range", "first"), required=False)
    offset = serializers.FloatField(min_value=0, max_value=2, required=False)


class ComparePage(PageView):
    def get(self, request: Request) -> HttpResponse:
        """Up to twelve runs together; those the reader may not read are as if they were not."""
        keys = list(dict.fromkeys(CompareParameters.of(request)["run"]))
        runs, unavailable = self._readable(keys)
        note_runs(runs)
        shown = [summarize(run) for run in runs]
        differing = _differing(runs)
        address = _address([run.uid for run in runs])
        context = {
            "runs": [
                {"summary": one, "without": _address([s.uid for s in shown if s is not one])}
                for one in shown
            ],
            "missing": len(keys) - len(runs),
            "unavailable": unavailable,
            "content": [_content(run, one) for run, one in zip(runs, shown, strict=True)],
            "differing": differing[:MAX_ROWS],
            "more_differing": max(0, len(differing) - MAX_ROWS),
            "link": request.build_absolute_uri(address),
            "readers": _readers(runs),
        }
        return self.page("runs/compare.html", context)

    def _readable(self, keys: Sequence[str]) -> tuple[list[Run], list[str]]:
        """The runs of these keys, each once, and the catalogs that did not answer.

        A key of no run, of a hidden one and of several are alike. Without any run: as for one.
        """
        runs: dict[tuple[str, str | None], Run] = {}
        unavailable: set[str] = set()
        for key in keys:
            try:
                run = self.runs().find(key)
            except (RunNotFound, AmbiguousKey):
                continue
            except CatalogsUnavailable as error:
                unavailable |= set(error.names)
                continue
            runs.setdefault((run.catalog.name, run.uid), run)
        if not runs:
            raise CatalogsUnavailable(sorted(unavailable)) if unavailable else RunNotFound
        return list(runs.values()), sorted(unavailable)


def _address(uids: Sequence[str | None]) -> str:
    return f"{reverse('compare')}?{urlencode([('run', str(uid)) for uid in uids])}"


def _content(run: Run, summary: Summary) -> dict[str, Any]:
    """What the page's script needs of a run: where its streams are and how they are drawn."""
    url = reverse("header-detail", args=[run.key or run.uid])
    return {
        "uid": run.uid,
        "title": visible(summary.title),
        "caption": visible(summary.caption),
        "zone": getattr(run.catalog.timezone, "key", "UTC"),
        "streams": [
            {"name": stream["name"], "url": stream_url(url, stream["name"]), "plan": plan}
            for stream in views.streams(run)
            if (plan := plot_plan(run, stream)) is not None
        ],
    }


def _differing(runs: Sequence[Run]) -> list[Difference]:
    documents: list[Mapping[str, Any]] = [
        {**run.start, "stop": run.stop} if run.stop else run.start for run in runs
    ]
    found = differences(documents, SAID_ABOVE)
    return sorted(found, key=lambda one: one.path.partition(".")[0] in WRITTEN_BY_PROGRAMS)


def _readers(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Who may open which of the runs: once for each beamline and proposal among them."""
    groups = {(run.catalog.beamline, run.proposal): run for run in runs}
    several = len(groups) > 1
    return [
        (_subject(run) if several else "", readers_of(run.catalog, run.proposal))
        for run in groups.values()
    ]


def _subject(run: Run) -> str:
    proposal = f"Runs of proposal {run.proposal}" if run.proposal else "Runs without proposal"
    return visible(f"{proposal} at {run.catalog.beamline}")
