"""The page that shows the newest run of a beamline, and then the next one, on a whole screen."""

from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request

from broker_site.parameters import Parameters
from broker_site.problems import not_found
from headers.pages import PageView


class NewestRunPage(PageView):
    def get(self, request: Request, beamline: str) -> HttpResponse:
        """An empty frame: the page's script fills it with runs that the reader may read."""
        Parameters.of(request)
        if beamline not in {catalog.beamline for catalog in settings.CATALOGS}:
            raise not_found()
        return self.page("runs/newest.html", {"beamline": beamline})
