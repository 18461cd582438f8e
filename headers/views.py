"""What all routes of runs share, and the route of a descriptor."""

import hashlib
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSetMixin

from broker_site.conditional import is_known
from broker_site.encoding import to_json
from broker_site.openapi import answers
from broker_site.parameters import Parameters
from broker_site.problems import Problem, not_found
from headers.finding import AmbiguousKey, RunFinder, RunNotFound
from headers.index.runs import CatalogsUnavailable
from headers.mongo import CatalogUnavailable, QueryRefused
from headers.queries import QueryError
from headers.repositories import Run, count_events, referenced_fields
from headers.schemas import DESCRIPTOR
from headers.streams import describe_streams, recorded_counts, stream_name
from policies.audit import note_runs
from policies.requests import access_for


class RunView(APIView):
    """Base of every route that reads runs: knows the caller's access, speaks in problems."""

    def runs(self) -> RunFinder:
        return RunFinder(settings.CATALOGS, access_for(self.request))

    def run(self, key: str) -> Run:
        """The run that a key of the path names."""
        run = self.runs().find(key)
        note_runs([run])
        return run

    def handle_exception(self, error: Exception) -> Response:
        return super().handle_exception(as_problem(error))


def as_problem(error: Exception) -> Exception:
    """What a caller is told of what went wrong with runs."""
    match error:
        case RunNotFound():
            return not_found()
        case AmbiguousKey():
            return Problem(409, "Several runs start with this; use more characters of the uid.")
        case CatalogsUnavailable():
            return unavailable(error.names)
        case CatalogUnavailable():
            return unavailable([error.catalog.name])
        case QueryError():
            return Problem(400, f"query: {error}", path=error.path)
        case QueryRefused():
            return Problem(400, f"query: {error}; check its patterns and values.")
    return error


def unavailable(names: list[str]) -> Problem:
    detail = f"No answer from the database of {', '.join(names)}. Try again soon."
    return Problem(503, detail, {"Retry-After": "5"}, unavailable=names)


class DescriptorViewSet(ViewSetMixin, RunView):
    lookup_field = "uid"

    @extend_schema(responses={200: DESCRIPTOR} | answers(304, 404))
    def retrieve(self, request: Request, uid: str) -> HttpResponse:
        """An event descriptor as it is stored."""
        Parameters.of(request)
        run, descriptor = self.runs().of_descriptor(uid)
        note_runs([run])
        return cached_response(request, run, descriptor)


def header(run: Run, with_descriptors: bool) -> dict[str, Any]:
    """A run as the routes tell it."""
    content = {
        "uid": run.uid,
        "catalog": run.catalog.name,
        "proposal": run.proposal,
        "start": run.start,
        "stop": run.stop,
    }
    return content | {"descriptors": run.descriptors} if with_descriptors else content


def streams(run: Run) -> list[dict[str, Any]]:
    names = {stream_name(descriptor) for descriptor in run.descriptors}
    counts = recorded_counts(run.stop, names)
    counts = count_events(run) if counts is None else counts
    return describe_streams(run.descriptors, counts, referenced_fields(run))


def cached_response(request: Request, run: Run, content: Any) -> HttpResponse:
    """An answer about a run; of a complete one, a caller's copy with the same ETag will do."""
    written = to_json(content)
    renderer = request.accepted_renderer
    response = (
        HttpResponse(written, renderer.media_type)
        if renderer.format == "json"
        else Response(content)
    )
    if run.stop is not None:
        digest = hashlib.blake2b(written + renderer.format.encode(), digest_size=16)
        response["ETag"] = etag = f'"{digest.hexdigest()}"'
        if is_known(request, etag):
            return Response(status=304, headers={"ETag": etag})
    return response
