"""The runs of each catalog in the admin: lists, and the catalog's check-up."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.text import capfirst
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from broker_site.cursors import purpose
from broker_site.parameters import Parameters, PlainText
from broker_site.problems import Problem, as_problem
from headers.catalogs import Catalog
from headers.index.listing import Wanted
from headers.index.runs import CatalogsUnavailable, IndexedRuns
from headers.lists import wanted_of
from headers.models import RUNS_OF_CATALOGS
from headers.mongo import QueryRefused
from headers.paging import run_page
from headers.repositories import Run
from headers.selection import EXIT_STATUSES
from policies.audit import note_runs
from policies.models import User
from policies.principals import access_of
from staff.checkup import check_catalog
from staff.guards import ReadOnlyAdmin

PAGE_SIZE = 50
UID_LIKE = re.compile(r"(?=.*\d)[0-9a-f][0-9a-f-]{4,}")


class RunChangelistParameters(Parameters):
    """What the list of runs accepts; anything else is refused."""

    q = PlainText(required=False, allow_blank=True, max_length=200)
    exit_status = serializers.ChoiceField(EXIT_STATUSES, required=False, allow_blank=True)
    proposal = PlainText(required=False, allow_blank=True, max_length=100)
    since = serializers.CharField(required=False, allow_blank=True, max_length=64)
    until = serializers.CharField(required=False, allow_blank=True, max_length=64)
    without_proposal = serializers.ChoiceField(("1",), required=False)
    cursor = serializers.CharField(required=False, max_length=2000)


class RunAdmin(ReadOnlyAdmin):
    """Runs are read, never changed. Who may see the lists sees their own runs in them."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("headers.view_runstart")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            path("check/", view(self.check_view), name=f"{name}_check"),
        ]

    # -- Views -----------------------------------------------------------------------------

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A page of the runs that the user may read."""
        self._require_permission(request)
        try:
            context = self._listed(request)
        except (ValidationError, Problem, CatalogsUnavailable, QueryRefused) as error:
            return self._refused(request, error)
        return self._page(request, "run_list", context)

    def check_view(self, request: HttpRequest) -> HttpResponse:
        """What `check_catalogs` finds. Names files, so it is for data admins."""
        if not (self.has_view_permission(request) and _user(request).reads_everything):
            raise PermissionDenied
        overrides = access_of(_user(request)).overrides.get(self._catalog.name, {})
        return self._page(request, "check", {"findings": check_catalog(self._catalog, overrides)})

    # -- How -------------------------------------------------------------------------------

    @property
    def _catalog(self) -> Catalog:
        catalog: Catalog = self.model.catalog
        return catalog

    def _require_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _listed(self, request: HttpRequest) -> dict[str, Any]:
        given = {k: v for k, v in RunChangelistParameters.checked(request.GET).items() if v != ""}
        filters = {name: value for name, value in given.items() if name != "cursor"}
        access = access_of(_user(request))
        page = run_page(
            IndexedRuns.of([self._catalog], access),
            wanted(self._catalog, filters),
            PAGE_SIZE,
            salt=purpose("admin", self._catalog.name, request.user.pk, sorted(filters.items())),
            cursor=given.get("cursor"),
        )
        note_runs(page.runs)
        return {
            "rows": [run_row(run) for run in page.runs],
            "given": filters,
            "statuses": EXIT_STATUSES,
            "older": page.next and urlencode(filters | {"cursor": page.next}),
            "newer": page.previous and urlencode(filters | {"cursor": page.previous}),
        }

    def _refused(self, request: HttpRequest, error: Exception) -> HttpResponse:
        if isinstance(error, CatalogsUnavailable):
            problem = Problem(503, f"No answer from the database of {', '.join(error.names)}.")
        elif isinstance(error, QueryRefused):
            problem = Problem(400, str(error))
        else:
            problem = as_problem(error) or Problem(400, "The request is malformed.")
        context = {"problem": problem.detail, "statuses": EXIT_STATUSES, "given": {}}
        return self._page(request, "run_list", context, problem.status)

    def _page(
        self, request: HttpRequest, template: str, context: dict[str, Any], status: int = 200
    ) -> HttpResponse:
        common = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": capfirst(self.opts.verbose_name_plural),
            "catalog": self._catalog,
            "may_check": _user(request).reads_everything,
        }
        return TemplateResponse(
            request, f"admin/headers/{template}.html", common | context, status=status
        )


def wanted(catalog: Catalog, given: dict[str, Any]) -> Wanted:
    """The runs that the parameters of the list select. Problem (400) for a time that is none."""
    words = given.get("q", "").strip()
    is_key = UID_LIKE.fullmatch(words) is not None or (words.isascii() and words.isdecimal())
    names = ("exit_status", "proposal", "since", "until")
    found = wanted_of([catalog], {name: given[name] for name in names if name in given})
    found = replace(found, lookup=words) if is_key else replace(found, search=words)
    return replace(found, also=Q(proposal="")) if "without_proposal" in given else found


def run_row(run: Run) -> dict[str, Any]:
    """What a list shows of a run. Documents may hold anything, so all of it is text."""
    status = (run.stop or {}).get("exit_status", "unknown") if run.stop else "open"
    return {
        "uid": run.uid,
        "time": beamline_time(run.catalog, run.start.get("time")),
        "scan_id": _shown(run.start.get("scan_id")),
        "plan_name": _shown(run.start.get("plan_name")),
        "proposal": run.proposal,
        "overridden": run.proposal != run.catalog.proposal.proposal(run.start),
        "status": _shown(status),
        "header": reverse("header-detail", args=[run.key]) if run.key else None,
    }


def _shown(value: Any) -> str:
    return "" if value is None else str(value)[:100]


def beamline_time(catalog: Catalog, moment: Any) -> str:
    """In the beamline's time, as people there remember it."""
    try:
        time = datetime.fromtimestamp(moment, UTC).astimezone(catalog.timezone)
    except (TypeError, ValueError, OverflowError, OSError):
        return _shown(moment)
    return f"{time:%Y-%m-%d %H:%M:%S}"


def _user(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


for _model in RUNS_OF_CATALOGS:
    admin.site.register(_model, RunAdmin)
admin.site.site_header = admin.site.site_title = "Data Broker Service"
admin.site.index_title = f"Facility administration, version {settings.VERSION}"
