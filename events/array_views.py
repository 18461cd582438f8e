"""The routes that serve one field as an array, of a stream or of one event."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from broker_site.connection import while_wanted
from broker_site.openapi import answers
from broker_site.parameters import Parameters
from broker_site.problems import Problem
from broker_site.timing import phase
from events.arrays.fields import ArrayField, FieldLayout, NoValue, Unrecorded, field_of
from events.arrays.formats import (
    COLOURS,
    FORMATS,
    ArrayFormat,
    Picture,
    PictureError,
    UnsupportedArray,
    array_headers,
)
from events.arrays.reducing import REDUCTIONS, ReducedField
from events.arrays.rows import EventRow, Rows, repeats_warning
from events.arrays.streamed import rows_of
from events.columns.formats import ENCODERS
from events.files.slices import Item, OverBudget, SliceError, parse
from events.renderers import offered
from events.schemas import ARRAY_HEADERS, FILES, RUN_WITH_FILES
from events.sources import TABLE_FORMATS_OF_ARRAYS, better_as_table
from events.stream import Stream
from events.streaming import etag_of, safe_name, started, streamed, unchanged
from events.table_views import BetterRoute, StreamView, described, table_address
from headers.repositories import Run
from policies.audit import note_runs
from policies.requests import guarded
from policies.throttling import ByteBudget

PICTURE_PARAMETERS = ("min", "max", "cmap", "log")


class ArrayParameters(Parameters):
    slice = serializers.CharField(
        default="", allow_blank=True, max_length=1000, help_text="as numpy takes it: 0:10,::2,5"
    )
    reduce = serializers.ChoiceField(
        list(REDUCTIONS),
        required=False,
        help_text="one number an event, of all values of the slice: float64",
    )
    mask_above = serializers.FloatField(
        required=False, help_text="reduce: larger values are left out, as of hot pixels"
    )
    min = serializers.FloatField(required=False, help_text="png: the value that is darkest")
    max = serializers.FloatField(required=False, help_text="png: the value that is brightest")
    cmap = serializers.ChoiceField(list(COLOURS), required=False, help_text="png: colour map")
    log = serializers.BooleanField(required=False, help_text="png: logarithmic scale")


class ArrayView(StreamView):
    """Base of both routes: `octet-stream` for who accepts anything."""

    renderer_classes = [offered(name, FORMATS[name].media_type) for name in FORMATS]

    def handle_exception(self, error: Exception) -> Response:
        return super().handle_exception(as_array_problem(error))

    def answer(
        self,
        run: Run,
        etag: str | None,
        rows: Rows,
        name: str,
        items: Sequence[Item],
        given: dict[str, Any],
    ) -> HttpResponseBase:
        """The slice of the field in the format asked for; its headers only, to HEAD.

        rows: closed when the answer is sent.
        """
        request, head = self.request, self.request.method == "HEAD"
        kind = FORMATS[request.accepted_renderer.format]
        filename = f"{name}.{kind.extension}"
        with ExitStack() as opened:
            opened.callback(rows.close)
            with phase("select"):
                field = field_of(rows, items, settings.RESPONSE_BYTES, head=head)
                if "reduce" in given:
                    field = _reduced(request, field, given)
                layout = field.layout()
                headers = _headers(kind, layout, rows)
            if head:
                return described(kind.media_type, etag, filename, **headers)
            with phase("read"):
                encoded = field.encoded(kind, opened.pop_all(), _picture(given))
                pieces = started(encoded, layout.nbytes)
        response = streamed(
            guarded(request, run, pieces), kind.media_type, etag=etag, filename=filename
        )
        for header, value in headers.items():
            response[header] = value
        return response


def as_array_problem(error: Exception) -> Exception:
    """What a caller is told of an array that cannot be served."""
    match error:
        case SliceError():
            return Problem(400, f"slice: {error}")
        case PictureError():
            return Problem(400, str(error))
        case OverBudget():
            about = dict[str, Any](shape=error.shape, nbytes=error.nbytes, limit=error.budget)
            return Problem(413, str(error), slice=error.suggestion, **about)
        case UnsupportedArray() | NoValue() | Unrecorded():
            return Problem(error.status, str(error))
    return error


class StreamArrayView(ArrayView):
    renderer_classes = [
        *ArrayView.renderer_classes,
        *(offered(name, ENCODERS[name].media_type) for name in sorted(TABLE_FORMATS_OF_ARRAYS)),
    ]

    @extend_schema(
        parameters=[ArrayParameters, *ARRAY_HEADERS],
        responses={200: bytes} | RUN_WITH_FILES | answers(307),
    )
    def get(self, request: Request, key: str, stream: str, field: str) -> HttpResponseBase:
        """A field of all events of a stream as an array; its first axis is the event."""
        given = _given(request)
        chosen, field = Stream.with_field(self.run(key), stream, field)
        stream = chosen.name
        kind = request.accepted_renderer.format
        if kind in TABLE_FORMATS_OF_ARRAYS:
            return _as_table(request, key, chosen, field, kind, given)
        items = parse(given["slice"])
        etag = etag_of([chosen.run], kind, stream, field, sorted(given.items()))
        if same := unchanged(request, etag):
            return same
        with phase("select"):
            rows = rows_of(chosen, field)
        name = safe_name(chosen.run.uid, stream, field)
        return self.answer(chosen.run, etag, rows, name, items, given)


class EventArrayView(ArrayView):
    @extend_schema(
        parameters=[ArrayParameters, *ARRAY_HEADERS],
        responses={200: bytes} | FILES | answers(304, 404, 409),
    )
    def get(self, request: Request, uid: str, field: str) -> HttpResponseBase:
        """A field of one event as an array."""
        given = _given(request)
        run, event = self.runs().of_event(uid)
        note_runs([run])
        own = (doc for doc in run.descriptors if doc.get("uid") == event.get("descriptor"))
        stream = Stream(run, "", list(own))
        stream.field(field)  # refuses what is none
        items = parse(given["slice"])
        etag = etag_of([run], request.accepted_renderer.format, uid, field, sorted(given.items()))
        if same := unchanged(request, etag):
            return same
        rows, name = EventRow(stream, field, event), safe_name(run.uid, uid, field)
        return self.answer(run, etag, rows, name, items, given)


def _given(request: Request) -> dict[str, Any]:
    given = ArrayParameters.of(request)
    if request.accepted_renderer.format != "png":
        for name in PICTURE_PARAMETERS:
            if name in given:
                raise Problem(400, f"{name}: is for format=png only.")
    above = given.get("mask_above")
    if above is not None and ("reduce" not in given or not math.isfinite(above)):
        raise Problem(400, "mask_above: a finite number, given together with reduce.")
    return given


def _reduced(request: Request, field: ArrayField, given: dict[str, Any]) -> ReducedField:
    """The field as one number an event. What is read for it counts as if it were sent."""
    if request.method != "HEAD":
        budget = ByteBudget(request)
        budget.check()
        budget.spend(field.layout().nbytes)
    return ReducedField(
        field.data_key,
        field.cut,
        field,
        REDUCTIONS[given["reduce"]],
        given.get("mask_above"),
        partial(while_wanted, request._request),
    )


def _headers(kind: ArrayFormat, layout: FieldLayout, rows: Rows) -> dict[str, str]:
    """What an answer says of its array; refused if the format cannot hold it."""
    kind.check(layout.shape, layout.dtype)
    headers = array_headers(layout.shape, layout.dtype)
    repeats = repeats_warning(rows.dropped) if rows.dropped else None
    if warnings := ", ".join(filter(None, (layout.warning, repeats))):
        headers["Warning"] = warnings
    length = kind.length(layout.shape, layout.dtype)
    return headers if length is None else headers | {"Content-Length": str(length)}


def _picture(given: dict[str, Any]) -> Picture:
    return Picture(
        given.get("min"), given.get("max"), given.get("cmap", "gray"), given.get("log", False)
    )


def _as_table(
    request: Request, key: str, stream: Stream, field: str, format: str, given: dict[str, Any]
) -> HttpResponseBase:
    """The redirect to the table that holds the field, for formats that are tables."""
    if not better_as_table(stream.data_keys[field], format):
        raise UnsupportedArray(f"Arrays in files are not served as {format}; ask for npy or h5.")
    if given["slice"]:
        raise Problem(400, f"slice: a table, as {format} is, cannot be sliced; ask for npy.")
    if "reduce" in given:
        raise Problem(400, f"reduce: makes no table, as {format} is; ask for npy or json.")
    return BetterRoute(request, table_address(key, stream, field, format))
