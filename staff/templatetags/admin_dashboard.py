"""What the admin's first page tells: catalogs, the last sync, the last refusals."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from django import template
from django.conf import settings
from django.contrib.auth.context_processors import PermWrapper
from django.core.cache import caches
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from headers.catalogs import Catalog
from headers.index.catch_up import fresh_index
from headers.index.listing import Entry, Listing
from headers.models import RUNS_OF_CATALOGS
from headers.repositories import ping
from policies.models import AuditEvent, ProposalSync, User
from policies.principals import access_of
from staff.checkup import Finding, Level, check_quickly
from staff.runs import beamline_time

register = template.Library()

CHECK_SECONDS = 300
REFUSALS = 5
Kind = AuditEvent.Kind


@dataclass(frozen=True)
class Health:
    """A catalog as the dashboard shows it."""

    catalog: Catalog
    url: str
    answers: bool
    newest: str
    """time of the newest run that the viewer may read; empty if there is none"""
    warnings: Sequence[Finding]


@register.inclusion_tag("admin/access/form.html")
def desk_form(request: HttpRequest) -> dict[str, Any]:
    return {"perms": PermWrapper(request.user), "catalogs": settings.CATALOGS, "given": {}}


@register.inclusion_tag("admin/dashboard.html")
def broker_dashboard(user: User) -> dict[str, Any]:
    return {"health": _health(user) if user.has_perm("headers.view_runstart") else []}


@register.inclusion_tag("admin/events.html")
def broker_events(user: User) -> dict[str, Any]:
    return {
        "sync": ProposalSync.objects.first(),
        "shows_sync": user.has_perm("policies.view_proposalsync"),
        "refusals": _refusals(user),
    }


def _health(user: User) -> list[Health]:
    access, index = access_of(user), fresh_index(settings.CATALOGS, settings.CATALOGS)
    newest = {
        catalog.name: Listing(access, {key: catalog}).newest(1)
        for key, catalog in index.catalogs.items()
    }
    with ThreadPoolExecutor(max_workers=8) as threads:
        return list(threads.map(lambda c: _health_of(c, newest[c.name]), settings.CATALOGS))


def _health_of(catalog: Catalog, newest: Entry | None) -> Health:
    model = next(model for model in RUNS_OF_CATALOGS if model.catalog.name == catalog.name)
    url = reverse(f"admin:headers_{model._meta.model_name}_changelist")
    if not ping(catalog):
        return Health(catalog, url, False, "", [])
    time = "" if newest is None else beamline_time(catalog, newest.time)
    return Health(catalog, url, True, time, _warnings(catalog))


def _warnings(catalog: Catalog) -> list[Finding]:
    """Kept for five minutes, as nothing of it changes by the minute."""
    found: list[Finding] | None = caches["counters"].get_or_set(
        f"catalog-check:{catalog.name}", partial(check_quickly, catalog), CHECK_SECONDS
    )
    # Both databases of a catalog may have the same to say.
    return list(dict.fromkeys(finding for finding in found or () if finding.level is not Level.OK))


def _refusals(user: User) -> QuerySet[AuditEvent] | None:
    if not user.has_perm("policies.view_auditevent"):
        return None
    kinds = (Kind.REFUSED, Kind.SIGN_IN_FAILED, Kind.LOCKED_OUT)
    return AuditEvent.objects.filter(kind__in=kinds)[:REFUSALS]
