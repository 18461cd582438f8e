"""The route of a run's thumbnail."""

import threading

import structlog
from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from broker_site.parameters import Parameters
from events.files.reader import ReaderBusy
from events.renderers import offered
from events.streaming import etag_of, unchanged
from events.thumbnails import MEDIA_TYPE, thumbnail
from events.views import EventView
from headers.schemas import RUN

log = structlog.get_logger(__name__)

WAIT_SECONDS = 10
VERSION = 1
"""to be raised when the same run is drawn in another way"""
_drawing = threading.BoundedSemaphore(2)
"""thumbnails that this process draws at once: a page of runs asks for many"""


class ThumbnailView(EventView):
    renderer_classes = [offered("svg", MEDIA_TYPE)]

    @extend_schema(parameters=[Parameters], responses={(200, MEDIA_TYPE): str} | RUN)
    def get(self, request: Request, key: str) -> HttpResponseBase:
        """The run at a glance: its map, its first curve or its first frame, as SVG."""
        Parameters.of(request)
        run = self.run(key)
        etag = etag_of([run], "thumbnail", VERSION)
        if same := unchanged(request, etag):
            return same
        drawn = None
        if _drawing.acquire(timeout=WAIT_SECONDS):
            try:
                drawn = thumbnail(run)
            except ReaderBusy as error:
                log.info("no thumbnail", reason=str(error))
            finally:
                _drawing.release()
        response = HttpResponse(drawn or EMPTY, content_type=MEDIA_TYPE)
        if etag and drawn:
            response["ETag"] = etag
        return response


EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" data-kind="busy"/>'
