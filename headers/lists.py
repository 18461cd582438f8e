"""Routes under /api/v1/headers/: one run, and lists, counts and sums by the same filters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSetMixin

from broker_site.cursors import purpose
from broker_site.parameters import Parameters, PlainText, Texts, by_get_or_post, named
from broker_site.problems import Problem
from headers.catalogs import Catalog
from headers.find import MAX_TERMS, MAX_TEXT, FindError, terms_of
from headers.index.listing import ORDERINGS, Scalar, Wanted
from headers.index.runs import IndexedRuns
from headers.index.sums import Sums
from headers.paging import Page, cursor_behind, run_page
from headers.queries import Query, field_path, parse_query
from headers.repositories import ALL
from headers.schemas import FACETS, RUN, HeaderCount, HeaderPage, HeaderWithStreams
from headers.searching import found_by
from headers.selection import EXIT_STATUSES, moment
from headers.views import RunView, cached_response, header, streams
from policies.audit import note_runs, record_read
from policies.requests import access_for
from policies.rule.proposal_paths import INT64

MAX_PAGE = 1000
MAX_FACETS = 10
MAX_FIELDS = 50
PROJECTED = ("uid", "catalog", "proposal", "start", "stop", "descriptors")
Tree = dict[str, Any]


class HeaderFilters(Parameters):
    """The filters that lists, counts and facets of runs share."""

    repeatable: tuple[str, ...] = ("find",)
    query = serializers.CharField(
        required=False, max_length=65_536, help_text="JSON, see the query grammar"
    )
    catalog = serializers.ChoiceField([c.name for c in settings.CATALOGS], required=False)
    beamline = serializers.ChoiceField(
        sorted({c.beamline for c in settings.CATALOGS}), required=False
    )
    proposal = PlainText(required=False)
    plan_name = PlainText(required=False)
    scan_id = serializers.IntegerField(
        required=False, min_value=INT64.start, max_value=INT64.stop - 1
    )
    uid = PlainText(required=False, min_length=5, help_text="prefix of the uid")
    since = serializers.CharField(
        required=False, max_length=64, help_text="inclusive: epoch, ISO 8601, 2026, 2026-07, …"
    )
    until = serializers.CharField(required=False, max_length=64, help_text="exclusive")
    exit_status = serializers.ChoiceField(EXIT_STATUSES, required=False)
    search = PlainText(
        required=False, trim_whitespace=True, help_text="beginnings of words, all to be found"
    )
    motor = PlainText(required=False, help_text="a motor of the run's start document")
    detector = PlainText(required=False, help_text="a detector of the run's start document")
    sample = PlainText(required=False, help_text="part of the sample's name, in any case")
    find = Texts(
        serializers.CharField(max_length=MAX_TEXT),
        required=False,
        max_length=MAX_TERMS,
        help_text="as typed on the page of runs: words, `plan:scan`, `yesterday`, `148000-148100`",
    )


class HeaderListParameters(HeaderFilters):
    repeatable = ("find", "fields")
    ordering = serializers.ChoiceField(ORDERINGS, default="-time")
    fields = Texts(  # type: ignore[assignment]
        serializers.CharField(max_length=2000),
        required=False,
        help_text="comma-separated paths, or repeated: start.scan_id, stop.exit_status, start, …",
    )
    include = serializers.ChoiceField(("descriptors",), required=False)
    page_size = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=100)
    cursor = serializers.CharField(required=False, max_length=2000)


class FacetParameters(HeaderFilters):
    repeatable = ("find", "fields")
    fields = Texts(  # type: ignore[assignment]
        serializers.CharField(max_length=2000),
        help_text="comma-separated paths, or repeated: plan_name, catalog, proposal, …",
    )


class HeaderViewSet(ViewSetMixin, RunView):
    """Runs: one, lists, and counts and sums by the same filters."""

    lookup_field = "key"
    reads_by_post = True

    @extend_schema(responses={200: HeaderWithStreams} | RUN)
    def retrieve(self, request: Request, key: str) -> HttpResponse:
        """One run, with its descriptors and streams."""
        Parameters.of(request)
        run = self.run(key)
        content = header(run, with_descriptors=True) | {"streams": streams(run)}
        return cached_response(request, run, content)

    @by_get_or_post(HeaderListParameters, {200: HeaderPage})
    def list(self, request: Request) -> Response:
        """Runs, newest first, one page at a time."""
        given = HeaderListParameters.of(request)
        tree = projection(given.get("fields"))
        chosen = chosen_runs(request, given)
        page = page_of("headers", request, given, chosen)
        results = [header(run, "include" in given) for run in page.runs]
        content = {
            "next": page_link(request, page.next),
            "previous": page_link(request, page.previous),
            "results": [projected(result, tree) for result in results] if tree else results,
        }
        return Response(content | missing(chosen.runs), headers=missing_warning(chosen.runs))

    @by_get_or_post(HeaderFilters, {200: HeaderCount})
    @action(detail=False, methods=["get", "post"], name="Header Count")
    def count(self, request: Request) -> Response:
        """How many runs the same filters select."""
        chosen = chosen_runs(request, HeaderFilters.of(request))
        content = {"count": chosen.count()}
        return Response(content | missing(chosen.runs), headers=missing_warning(chosen.runs))

    @by_get_or_post(FacetParameters, {200: FACETS})
    @action(detail=False, methods=["get", "post"], name="Header Facets")
    def facets(self, request: Request) -> Response:
        """The most frequent values of fields among the runs that the same filters select."""
        given = FacetParameters.of(request)
        paths = _facet_paths(given["fields"])
        chosen = chosen_runs(request, given)
        content: dict[str, Any] = {
            path: [{"value": value, "count": count} for value, count in chosen.facet(path)]
            for path in paths
        }
        # Values of runs are given without their names: so is the trail.
        record_read(request._request, [], status=200, result="facets", details={"fields": paths})
        return Response(content | missing(chosen.runs), headers=missing_warning(chosen.runs))


@dataclass(frozen=True)
class Chosen:
    """The runs that filters select among those that somebody may read."""

    runs: IndexedRuns
    wanted: Wanted
    query: Query = ALL

    def count(self) -> int:
        return self.runs.count(self.wanted, self.query)

    def facet(self, path: str, every: int | None = None) -> list[tuple[Scalar, int]]:
        """every: give all values, of at most so many; TooManyValues if there are more."""
        return self.runs.facet(self.wanted, path, self.query, every)

    def sums(self, width: int, offset: float) -> Sums:
        """With the number of runs in each span of so many seconds, see `Sums`."""
        return self.runs.sums(self.wanted, self.query, Sums(width, offset))

    def page(
        self,
        size: int,
        *,
        salt: str,
        cursor: str | None = None,
        ordering: str = "-time",
        descriptors: bool = False,
    ) -> Page:
        return run_page(
            self.runs,
            self.wanted,
            size,
            salt=salt,
            query=self.query,
            cursor=cursor,
            ordering=ordering,
            descriptors=descriptors,
        )

    def skipped(self, count: int, *, salt: str, ordering: str) -> str | None:
        """The cursor of the page behind the first `count` runs, whose documents are not read where
        the index alone decides; None if there are no more.
        """
        if self.query == ALL:
            entries = self.runs.listing.page(self.wanted, count, ordering=ordering)
            return cursor_behind(entries[-1].place, salt) if len(entries) == count else None
        return self.page(count, salt=salt, ordering=ordering).next


def chosen_runs(request: Request, given: Mapping[str, Any]) -> Chosen:
    """What checked filters select of what the caller may read."""
    catalogs = [catalog for catalog in settings.CATALOGS if _is_chosen(catalog, given)]
    query, wanted = parse_query(given.get("query", "{}")), wanted_of(catalogs, given)
    runs = IndexedRuns.of(catalogs, access_for(request))
    try:
        terms = terms_of(given.get("find", ()))
        wanted = found_by(terms, wanted, runs.listing, catalogs, request.user)
    except FindError as error:
        raise Problem(400, f"find: {error}", term=error.term) from None
    return Chosen(runs, wanted, query)


def page_of(name: str, request: Request, given: Mapping[str, Any], chosen: Chosen) -> Page:
    """The page that checked parameters ask for, of the list of this name."""
    bound = {k: v for k, v in given.items() if k not in ("cursor", "page_size", "fields")}
    page = chosen.page(
        given["page_size"],
        salt=purpose(name, request.user.pk, sorted(bound.items())),
        cursor=given.get("cursor"),
        ordering=given["ordering"],
        descriptors=given.get("include") == "descriptors",
    )
    note_runs(page.runs)
    return page


def _is_chosen(catalog: Catalog, given: Mapping[str, Any]) -> bool:
    named = {"catalog": catalog.name, "beamline": catalog.beamline}
    return all(given.get(name, value) == value for name, value in named.items())


def wanted_of(catalogs: Sequence[Catalog], given: Mapping[str, Any]) -> Wanted:
    """The filters that the index holds. Problem (400) for a time that is none."""
    since, until = (
        {c.name: moment_of(c, given, name) for c in catalogs} if name in given else {}
        for name in ("since", "until")
    )
    motor, detector = given.get("motor"), given.get("detector")
    return Wanted(
        proposal=given.get("proposal"),
        plan_name=given.get("plan_name"),
        scan_id=given.get("scan_id"),
        uid=given.get("uid"),
        since=since,
        until=until,
        exit_status=given.get("exit_status"),
        search=given.get("search", ""),
        motors=() if motor is None else (motor,),
        detectors=() if detector is None else (detector,),
        sample=given.get("sample"),
    )


def moment_of(catalog: Catalog, given: Mapping[str, Any], name: str) -> float:
    """Epoch seconds of a time parameter. Problem (400) if it is no time."""
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


def missing(runs: IndexedRuns) -> dict[str, Any]:
    """Names, in an answer that may lack runs, the catalogs that did not answer, and those that
    were not looked at to their end, with the time of the last run that was.
    """
    times = {name: _iso(moment) for name, moment in sorted(runs.incomplete.items())}
    found = {"unavailable": sorted(runs.unavailable), "incomplete": times}
    return {name: value for name, value in found.items() if value}


def missing_warning(runs: IndexedRuns) -> dict[str, str]:
    absent = missing(runs)
    texts = [f"no answer from {name}" for name in absent.get("unavailable", [])]
    texts += [f"{name} was searched to {at}" for name, at in absent.get("incomplete", {}).items()]
    return {"Warning": ", ".join(f'199 - "{text}"' for text in texts)} if texts else {}


def _iso(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat()
    except (OverflowError, ValueError, OSError):  # a run may have any number as its time
        return str(moment)


def projection(fields: Sequence[str] | None) -> Tree:
    """The paths of `fields` as a tree, in which a name without names below stands for all of it."""
    paths = [field_path(path, "fields").split(".") for path in named(fields, ()) or []]
    if len(paths) > MAX_FIELDS:
        raise Problem(400, f"fields: at most {MAX_FIELDS} at a time.")
    tree: Tree = {}
    for path in sorted(paths, key=len):
        if path[0] not in PROJECTED:
            raise Problem(400, f"fields: start a path with one of {', '.join(PROJECTED)}.")
        place, is_new = tree, True
        for name in path:
            if not place and not is_new:
                break  # the whole of it is asked for
            is_new = name not in place
            place = place.setdefault(name, {})
    return tree


def projected(result: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """A header with what names it, and of its documents only what the tree has.

    Of `start: {"scan_id": 5, "sample": {"name": "Au", "mass": 1}}` the fields `start.scan_id` and
    `start.sample.name` leave `start: {"scan_id": 5, "sample": {"name": "Au"}}`.
    """
    always: Tree = {name: {} for name in ("uid", "catalog", "proposal", "descriptors")}
    parts = (always | tree).items()
    return {name: narrowed(result[name], below) for name, below in parts if name in result}


def narrowed(value: Any, tree: Tree) -> Any:
    """What the tree has of a value; of a list item by item, as MongoDB's projections do."""
    if not tree:
        return value
    if isinstance(value, list):
        return [narrowed(item, tree) for item in value if isinstance(item, dict)]
    if not isinstance(value, dict):
        return None
    return {
        name: narrowed(value[name], below)
        for name, below in tree.items()
        if name in value and (not below or isinstance(value[name], dict | list))
    }
