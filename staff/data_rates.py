"""The data-rate study as a page of the admin site."""

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import mark_safe

from headers.mongo import CatalogUnavailable
from policies.models import User
from policies.principals import access_of
from staff.rate_reports import as_fragment
from staff.rates import study

STUDIED_RUNS = 300
"""fewer than the command's, because somebody waits for the page"""


@permission_required("policies.view_proposal", raise_exception=True)
def data_rates(request: HttpRequest, name: str) -> HttpResponse:
    """The rates of one catalog, from the runs there that the viewer may read."""
    catalog = next((catalog for catalog in settings.CATALOGS if catalog.name == name), None)
    if catalog is None or not isinstance(request.user, User):
        raise Http404
    try:
        rates = study(catalog, access_of(request.user), sample=STUDIED_RUNS)
    except CatalogUnavailable as error:
        context = {"error": str(error)}
    else:
        # as_fragment escapes whatever comes from documents.
        context = {"report": mark_safe(as_fragment([rates]))}  # noqa: S308
    page = {"title": f"Data rates of {catalog.title}", **admin.site.each_context(request)}
    return TemplateResponse(request, "admin/events/data_rates.html", page | context)
