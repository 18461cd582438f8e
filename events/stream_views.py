"""The route that tells what the streams of a run hold."""

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from broker_site.parameters import Parameters
from events.availability import unavailable_fields
from headers.schemas import RUN, StreamSummary
from headers.views import RunView, cached_response, streams


class StreamsView(RunView):
    @extend_schema(responses={200: StreamSummary(many=True)} | RUN)
    def get(self, request: Request, key: str) -> HttpResponse:
        """The streams of a run: their fields, shapes, units and numbers of events."""
        Parameters.of(request)
        run = self.run(key)
        described = streams(run)
        unavailable = unavailable_fields(run)
        for stream in described:
            for name, field in stream["fields"].items():
                field["available"] &= (stream["name"], name) not in unavailable
        return cached_response(request, run, described)
