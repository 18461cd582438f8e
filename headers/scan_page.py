"""The address of a run as people say it: a catalog and a scan id."""

from django.conf import settings
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from rest_framework.request import Request

from headers.finding import RunFinder, RunNotFound
from headers.pages import PageView
from headers.view_state import ViewState
from policies.requests import access_for


class ScanPage(PageView):
    def get(self, request: Request, catalog: str, scan_id: int) -> HttpResponse:
        """The newest run of a scan id in a catalog: leads to its page, whose address lasts."""
        ViewState.of(request)
        named = [one for one in settings.CATALOGS if one.name == catalog]
        if not named:
            raise RunNotFound
        run = RunFinder(named, access_for(request)).of_scan_id(scan_id)
        if run.key is None:
            raise RunNotFound
        query = request.META["QUERY_STRING"]
        address = reverse("run", args=[run.key])
        return HttpResponseRedirect(f"{address}?{query}" if query else address)
