"""What all pages share, and the page of one run: they ask what the API asks, by its functions."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request

from broker_site.problems import Problem, as_problem
from headers import views
from headers.descriptors import Descriptor, as_mapping
from headers.downloads import array_downloads, run_downloads, stream_url, table_downloads
from headers.highlights import highlights
from headers.metadata_tree import tree
from headers.plotting import BASELINE, field_kind, holds_text, is_undescribed, plot_plan
from headers.repositories import Run, any_event, newest_event_time
from headers.sentences import sentence
from headers.snippets import snippets
from headers.streams import uids_of
from headers.summaries import label, summarize
from headers.view_state import ViewState
from policies.authentication import BrowserAuthentication
from policies.readers import readers_of


class PageView(views.RunView):
    """Base of the pages: errors are pages, too."""

    schema = None
    authentication_classes = (BrowserAuthentication,)
    renderer_classes = (TemplateHTMLRenderer,)
    # What REST framework tells of a route on OPTIONS is for programs and has no page.
    http_method_names: Sequence[str] = ("get", "head")
    section = "runs"

    def page(self, template: str, context: Mapping[str, Any], status: int = 200) -> HttpResponse:
        content = {"section": self.section, **context}
        response = render(self.request._request, template, content, status=status)
        response["Cache-Control"] = "private, no-cache"
        return response

    def handle_exception(self, error: Exception) -> HttpResponse:  # type: ignore[override]
        problem = as_problem(views.as_problem(error))
        if problem is None:
            raise error
        response = self.problem_page(problem)
        for name, value in problem.headers.items():
            response[name] = value
        return response

    def problem_page(self, problem: Problem) -> HttpResponse:
        return self.page("error.html", {"problem": problem}, problem.status)


class RunDetailPage(PageView):
    def get(self, request: Request, key: str) -> HttpResponse:
        """One run: what it is, its streams with plots and images, downloads and metadata."""
        ViewState.of(request)
        run = self.run(key)
        url = reverse("header-detail", args=[run.key or key])
        site = request.build_absolute_uri("/").rstrip("/")
        streams = [_typed(run, stream) for stream in sorted(views.streams(run), key=_place)]
        shown = [_stream(run, url, stream) for stream in streams]
        context = {
            "run": run,
            "summary": summarize(run),
            "sentence": sentence(run),
            "highlights": highlights(run.start),
            "snippets": snippets(site, url, run, shown),
            "url": url,
            "streams": shown,
            "link": request.build_absolute_uri(reverse("run", args=[run.key or key])),
            "readers": [("", readers_of(run.catalog, run.proposal))],
            "progress": _progress(run, streams),
            "downloads": run_downloads(url, streams),
            "metadata": [
                (title, tree(document))
                for title, document in (("Start", run.start), ("Stop", run.stop))
                if document is not None
            ],
            "configurations": [
                (label(descriptor.get("name")) or "primary", tree(descriptor))
                for descriptor in run.descriptors
            ],
        }
        return self.page("runs/run.html", context)


# -- one run -------------------------------------------------------------------------------


def _place(stream: Mapping[str, Any]) -> int:
    """What was recorded beside the measurement proper is shown after it."""
    return {"primary": 0, BASELINE: 2}.get(stream["name"], 1)


def _progress(run: Run, streams: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How far an open run has come; None for one that has ended.

    `planned` is how many points its plan says that there will be, `count` how many there are, and
    `newest` when the last one came, in epoch seconds; None where that is not known.
    """
    if run.stop is not None:
        return None
    planned = run.start.get("num_points")
    return {
        "planned": planned if type(planned) is int and planned > 0 else None,
        "count": streams[0]["event_count"] if streams else 0,
        "newest": newest_event_time(run),
    }


def _typed(run: Run, stream: dict[str, Any]) -> dict[str, Any]:
    """The stream with what data keys and, where these do not, values tell of its arrays' types."""
    keys: dict[str, Any] = {}
    own = [doc for doc in run.descriptors if doc.get("uid") in stream["descriptors"]]
    for descriptor in own:
        keys |= Descriptor(descriptor).data_keys
    fields = {
        name: field | {"dtype_numpy": keys[name].get("dtype_numpy")}
        for name, field in stream["fields"].items()
    }
    if undescribed := [name for name, field in fields.items() if is_undescribed(field)]:
        values = as_mapping(any_event(run, uids_of(own)).get("data"))
        for name in undescribed:
            fields[name]["holds_text"] = holds_text(values.get(name))
    return stream | {"fields": fields}


def _stream(run: Run, run_url: str, stream: dict[str, Any]) -> dict[str, Any]:
    url = stream_url(run_url, stream["name"])
    kinds = {name: field_kind(field) for name, field in stream["fields"].items()}
    fields = [
        {"name": name, "kind": kinds[name], **field} for name, field in stream["fields"].items()
    ]
    arrays = [name for name in kinds if kinds[name] in ("image", "line")]
    columns = [name for name in kinds if kinds[name] in ("number", "text")]
    events = stream["event_count"]
    return {
        "name": stream["name"],
        "file_name": re.sub(r"[^A-Za-z0-9._-]+", "_", stream["name"])[:50],
        "event_count": events,
        "url": url,
        "fields": fields,
        "plan": plot_plan(run, stream),
        "arrays": [{"name": name, "kind": kinds[name]} for name in arrays],
        "aside": stream["name"] == BASELINE,
        "table_fields": json.dumps(columns) if columns else None,
        "units": json.dumps({f["name"]: f["units"] for f in fields if type(f["units"]) is str}),
        "recorded_elsewhere": bool(kinds) and set(kinds.values()) == {"unavailable"},
        "tables": table_downloads(url, stream),
        "array_downloads": [
            (name, array_downloads(url, name, stream["fields"][name], events)) for name in arrays
        ],
    }
