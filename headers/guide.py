"""The help page: the service in five minutes, and the query grammar with examples to click."""

import json
from dataclasses import dataclass
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from rest_framework.request import Request

from broker_site.parameters import Parameters
from headers.pages import PageView


@dataclass(frozen=True)
class Example:
    """A list of runs that a click opens."""

    says: str
    parameters: dict[str, Any]

    @property
    def url(self) -> str:
        texts = {
            name: json.dumps(value) if name == "query" else value
            for name, value in self.parameters.items()
        }
        return f"{reverse('runs')}?{urlencode(texts)}"

    @property
    def shown(self) -> str:
        """What is typed for it."""
        if "query" in self.parameters:
            return json.dumps(self.parameters["query"])
        return " ".join(f"{name}={value}" for name, value in self.parameters.items())


FILTERS = (
    Example("runs of one plan", {"plan_name": "scan"}),
    Example("runs that failed", {"exit_status": "fail"}),
    Example("runs that are being taken", {"exit_status": "open"}),
    Example("runs of a month, in the beamline's time", {"since": "2026-11", "until": "2026-12"}),
    Example("beginnings of words, anywhere in the metadata", {"search": "fe gd"}),
    Example("a part of the sample's name, in any case", {"sample": "fegd"}),
    Example("runs that moved a motor", {"motor": "theta"}),
    Example("runs that read a detector", {"detector": "diode"}),
)
QUERIES = (
    Example("a field has a value", {"query": {"plan_name": "grid_scan"}}),
    Example("a number is in a range", {"query": {"num_points": {"$gte": 40, "$lt": 400}}}),
    Example("a field inside of another", {"query": {"sample.name": {"$exists": True}}}),
    Example("one of several values", {"query": {"plan_name": {"$in": ["scan", "count"]}}}),
    Example("a pattern, from the beginning", {"query": {"purpose": {"$regex": "^field"}}}),
    Example("either of two conditions", {"query": {"$or": [{"motors": "sx"}, {"motors": "sy"}]}}),
    Example("not what is inside", {"query": {"$not": {"plan_name": "count"}}}),
    Example("how the run ended", {"query": {"stop.exit_status": "abort"}}),
    Example("how many events there are", {"query": {"stop.num_events.primary": {"$gt": 100}}}),
    Example("the run has such a stream", {"query": {"descriptor.name": "baseline"}}),
)
OPERATORS = (
    ("$eq $ne", "equal, not equal"),
    ("$gt $gte $lt $lte", "greater, greater or equal, less, less or equal"),
    ("$in $nin", "one of a list, none of it; at most 100 items"),
    ("$exists", "true: the field is there; false: it is not"),
    ("$regex", "a pattern of at most 256 characters"),
    ("$and $or $not", "combine queries, at most 8 levels and 64 clauses"),
)


class HelpPage(PageView):
    section = "help"

    def get(self, request: Request) -> HttpResponse:
        """The service in five minutes. The same for everybody."""
        Parameters.of(request)
        context = {
            "site": request.build_absolute_uri("/").rstrip("/"),
            "filters": FILTERS,
            "queries": QUERIES,
            "operators": OPERATORS,
        }
        return self.page("help.html", context)
