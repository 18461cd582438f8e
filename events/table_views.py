"""The route that serves a whole stream as a table.

A field that is kept in files holds the ids of its datums there, as it is stored: what a frame is
called is small and tells which rows have one; the frames themselves come by the array route.
"""

from django.http import HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from broker_site.connection import while_wanted
from broker_site.openapi import answers
from broker_site.parameters import Parameters, also_by_post, named
from broker_site.problems import Problem
from broker_site.timing import phase
from events.arrays.rows import repeats_warning
from events.columns.columns import read_columns
from events.columns.formats import ENCODERS
from events.renderers import offered
from events.repositories import Events
from events.sources import better_as_array
from events.stream import NoSuchName, Stream
from events.streaming import (
    etag_of,
    safe_name,
    started,
    streamed,
    unchanged,
    with_charset,
)
from events.views import DataKeys, EventView
from headers.schemas import RUN
from policies.requests import guarded

FORMATS = ("json", "arrow", "parquet", "csv", "ndjson", "msgpack")
"""in the order of preference; the first one for who accepts anything"""


class TableParameters(Parameters):
    repeatable = ("fields",)
    fields = DataKeys(help_text="data keys, comma-separated or repeated: only these columns")  # type: ignore[assignment]
    timestamps = serializers.BooleanField(
        default=False, help_text="adds a column ts_… a field: when its value was taken"
    )


class BetterRoute(HttpResponseRedirect):
    """To the route that serves a request better: 307, or to one that was posted 303, for GET."""

    def __init__(self, request: Request, address: str) -> None:
        super().__init__(address)
        self.status_code = 303 if request.method == "POST" else 307


class StreamView(EventView):
    """Base of the routes of one stream."""

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, NoSuchName):
            return super().handle_exception(Problem(404, str(error)))
        return super().handle_exception(error)


@also_by_post(TableParameters, {200: bytes} | RUN | answers(303))
class TableView(StreamView):
    renderer_classes = [offered(name, ENCODERS[name].media_type) for name in FORMATS]

    @extend_schema(parameters=[TableParameters], responses={200: bytes} | RUN | answers(307))
    def get(self, request: Request, key: str, stream: str) -> HttpResponseBase:
        """All events of a stream, one row each and one column a field."""
        given = TableParameters.of(request)
        chosen = Stream.of(self.run(key), stream)
        try:
            names = named(given.get("fields"), chosen.data_keys)
            fields = chosen.fields(names)
        except NoSuchName as error:
            raise Problem(400, f"fields: {error}") from None
        kind = request.accepted_renderer.format
        only = chosen.data_keys[fields[0].name] if names and len(fields) == 1 else None
        if only is not None and not given["timestamps"] and better_as_array(only, kind):
            return BetterRoute(request, array_address(key, chosen, fields[0].name, kind))
        etag = etag_of([chosen.run], kind, stream, fields, given["timestamps"])
        if same := unchanged(request, etag):
            return same
        encoder = ENCODERS[kind]
        name = f"{safe_name(chosen.run.uid, stream)}.{encoder.extension}"
        if request.method == "HEAD":
            return described(encoder.media_type, etag, name)
        with phase("read"):
            batches = Events(chosen.run).stream_batches(chosen.uids)
            wanted = while_wanted(request._request, batches)
            columns = read_columns(
                wanted, fields, timestamps=given["timestamps"], groups=chosen.groups
            )
            dropped = columns.dropped
            pieces = started(encoder.encode(columns))
        guard = guarded(request, chosen.run, pieces)
        response = streamed(guard, encoder.media_type, etag=etag, filename=name)
        if dropped:
            response["Warning"] = repeats_warning(dropped)
        return response


def described(media_type: str, etag: str | None, filename: str, **headers: str) -> HttpResponse:
    """The answer to HEAD: the headers that GET has, as far as they are known without reading."""
    about = {"ETag": etag} if etag else {}
    disposition = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return HttpResponse(
        content_type=with_charset(media_type), headers=about | disposition | headers
    )


def array_address(key: str, stream: Stream, field: str, format: str) -> str:
    path = {"key": stream.run.key or key, "stream": stream.name, "field": field}
    return f"{reverse('stream-array', kwargs=path)}?{urlencode({'format': format})}"


def table_address(key: str, stream: Stream, field: str, format: str) -> str:
    path = {"key": stream.run.key or key, "stream": stream.name}
    query = urlencode({"fields": field, "format": format})
    return f"{reverse('stream-table', kwargs=path)}?{query}"
