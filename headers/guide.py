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
        for name, write in (("query", json.dumps), ("find", str)):
            if name in self.parameters:
                return write(self.parameters[name])
        return " ".join(f"{name}={value}" for name, value in self.parameters.items())


FILTERS = (
    Example(
        "a word of the metadata, or a part of the name of a plan or a sample", {"find": "fegd"}
    ),
    Example("words that stand together", {"find": '"field dependence"'}),
    Example("runs of one plan", {"find": "plan:grid_scan"}),
    Example("a part of the sample's name", {"find": "sample:fegd"}),
    Example("runs that moved a motor and read a detector", {"find": "motor:theta detector:diode"}),
    Example("runs of a day, in the beamline's time", {"find": "yesterday"}),
    Example("runs of some days", {"find": "2026-11-01..2026-11-18"}),
    Example("runs of the last night that failed", {"find": "last night status:failed"}),
    Example("a range of scan ids", {"find": "148200-148250"}),
    Example("runs that you marked with a star", {"find": "is:starred"}),
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
