"""Routes under /api/v1/ that list, count and sum up runs, by the same filters."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from broker_site.cursors import purpose
from broker_site.parameters import Parameters, PlainText, Texts, also_by_post, named
from broker_site.problems import Problem
from headers.catalogs import Catalog
from headers.merged import MergedRuns
from headers.paging import Page, run_page
from headers.queries import Query, field_path, parse_query
from headers.selection import EXIT_STATUSES, Selection, moment, select
from headers.views import RunView, header
from policies.audit import note_runs, record_read
from policies.requests import access_for
from policies.rule.access import Access

MAX_PAGE = 1000
MAX_FACETS = 10
INT64 = 2**63


class HeaderFilters(Parameters):
    """The filters that lists, counts and facets of runs share."""

    query = serializers.CharField(
        required=False, max_length=65_536, help_text="JSON, see the query grammar"
    )
    catalog = serializers.ChoiceField([c.name for c in settings.CATALOGS], required=False)
    beamline = serializers.ChoiceField(
        sorted({c.beamline for c in settings.CATALOGS}), required=False
    )
    proposal = PlainText(required=False)
    plan_name = PlainText(required=False)
    scan_id = serializers.IntegerField(required=False, min_value=-INT64, max_value=INT64 - 1)
    uid = PlainText(required=False, min_length=5, help_text="prefix of the uid")
    since = serializers.CharField(
        required=False, max_length=64, help_text="inclusive: epoch, ISO 8601, 2026, 2026-07, …"
    )
    until = serializers.CharField(required=False, max_length=64, help_text="exclusive")
    exit_status = serializers.ChoiceField(EXIT_STATUSES, required=False)
    search = PlainText(
        required=False, trim_whitespace=True, help_text="words that must all be found"
    )


class HeaderListParameters(HeaderFilters):
    ordering = serializers.ChoiceField(("-time", "time"), default="-time")
    include = serializers.ChoiceField(("descriptors",), required=False)
    page_size = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=100)
    cursor = serializers.CharField(required=False, max_length=2000)


class FacetParameters(HeaderFilters):
    repeatable = ("fields",)
    fields = Texts(  # type: ignore[assignment]
        serializers.CharField(max_length=2000),
        help_text="comma-separated paths, or repeated: plan_name, catalog, proposal, …",
    )


@also_by_post(HeaderListParameters, {200: dict[str, Any]})
class HeaderListView(RunView):
    @extend_schema(parameters=[HeaderListParameters], responses={200: dict[str, Any]})
    def get(self, request: Request) -> Response:
        """Runs, newest first, one page at a time."""
        given = HeaderListParameters.of(request)
        merged, selections = chosen_runs(request, given)
        page = page_of("headers", request, given, merged, selections)
        content = {
            "next": page_link(request, page.next),
            "previous": page_link(request, page.previous),
            "results": [header(run, "include" in given) for run in page.runs],
        }
        return Response(content | missing(merged), headers=missing_warning(merged))


@also_by_post(HeaderFilters, {200: dict[str, Any]})
class HeaderCountView(RunView):
    @extend_schema(parameters=[HeaderFilters], responses={200: dict[str, Any]})
    def get(self, request: Request) -> Response:
        """How many runs the same filters select."""
        merged, selections = chosen_runs(request, HeaderFilters.of(request))
        content = {"count": merged.count(selections)}
        return Response(content | missing(merged), headers=missing_warning(merged))


@also_by_post(FacetParameters, {200: dict[str, Any]})
class HeaderFacetsView(RunView):
    @extend_schema(parameters=[FacetParameters], responses={200: dict[str, Any]})
    def get(self, request: Request) -> Response:
        """The most frequent values of fields among the runs that the same filters select."""
        given = FacetParameters.of(request)
        paths = _facet_paths(given["fields"])
        merged, selections = chosen_runs(request, given)
        content: dict[str, Any] = {
            path: [
                {"value": value, "count": count} for value, count in merged.facet(selections, path)
            ]
            for path in paths
        }
        # Values of runs are told without their names: so is the trail.
        record_read(request._request, [], status=200, result="facets", details={"fields": paths})
        return Response(content | missing(merged), headers=missing_warning(merged))


def chosen_runs(
    request: Request, given: Mapping[str, Any]
) -> tuple[MergedRuns, dict[str, Selection]]:
    """The catalogs that the filters leave, and what to select in each."""
    access = access_for(request)
    catalogs = [catalog for catalog in settings.CATALOGS if _is_chosen(catalog, given)]
    query = parse_query(given.get("query", "{}"))
    selections = {c.name: _selection(c, access, query, given) for c in catalogs}
    return MergedRuns(catalogs, access), selections


def page_of(
    name: str,
    request: Request,
    given: Mapping[str, Any],
    merged: MergedRuns,
    selections: Mapping[str, Selection],
) -> Page:
    """The page that checked parameters ask for, of the list of this name."""
    bound = {k: v for k, v in given.items() if k not in ("cursor", "page_size")}
    page = run_page(
        merged,
        selections,
        given["page_size"],
        salt=purpose(name, request.user.pk, sorted(bound.items())),
        cursor=given.get("cursor"),
        newest_first=given["ordering"] == "-time",
        descriptors=given.get("include") == "descriptors",
    )
    note_runs(page.runs)
    return page


def _is_chosen(catalog: Catalog, given: Mapping[str, Any]) -> bool:
    wanted = {"catalog": catalog.name, "beamline": catalog.beamline}
    return all(given.get(name, value) == value for name, value in wanted.items())


def _selection(
    catalog: Catalog, access: Access, query: Query, given: Mapping[str, Any]
) -> Selection:
    proposal = given.get("proposal")
    return select(
        query,
        proposal=access.in_proposals(catalog, frozenset({proposal})).mongo() if proposal else None,
        plan_name=given.get("plan_name"),
        scan_id=given.get("scan_id"),
        uid=given.get("uid"),
        since=moment_of(catalog, given, "since"),
        until=moment_of(catalog, given, "until"),
        exit_status=given.get("exit_status"),
        search=given.get("search", ""),
    )


def moment_of(catalog: Catalog, given: Mapping[str, Any], name: str) -> float | None:
    """Epoch seconds of a time parameter; None if it is not given. Problem if it is no time."""
    if name not in given:
        return None
    try:
        return moment(given[name], catalog.timezone)
    except ValueError as error:
        raise Problem(400, f"{name}: {error}") from None


def _facet_paths(fields: list[str]) -> list[str]:
    paths = named(fields, ()) or []
    if len(paths) > MAX_FACETS:
        raise Problem(400, f"fields: at most {MAX_FACETS} at a time.")
    return [field_path(path, "fields") for path in paths]


def page_link(request: Request, cursor: str | None) -> str | None:
    """The address of the page that a cursor points at, with the parameters of this one."""
    if cursor is None:
        return None
    query = request.query_params.copy()
    query["cursor"] = cursor
    return request.build_absolute_uri(f"{request.path}?{query.urlencode()}")


def missing(merged: MergedRuns) -> dict[str, Any]:
    """Names, in an answer that lacks runs, the catalogs that did not answer, and those where a
    search stopped before its end, with the time of the last run that it looked at.
    """
    times = {
        name: datetime.fromtimestamp(position.time, UTC).isoformat()
        for name, position in merged.searched_to.items()
    }
    told = {"unavailable": merged.unavailable, "incomplete": times}
    return {name: value for name, value in told.items() if value}


def missing_warning(merged: MergedRuns) -> dict[str, str]:
    absent = missing(merged)
    texts = [f"no answer from {name}" for name in absent.get("unavailable", [])]
    texts += [f"{name} was searched to {at}" for name, at in absent.get("incomplete", {}).items()]
    return {"Warning": ", ".join(f'199 - "{text}"' for text in texts)} if texts else {}
