"""Routes under /api/v1/ that serve events and whole runs."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSetMixin

from broker_site.connection import require_client
from broker_site.cursors import purpose
from broker_site.openapi import answers
from broker_site.parameters import Parameters, Texts, by_get_or_post, named
from broker_site.problems import RETRY, Problem
from broker_site.renderers import BrowsableRenderer, JSONRenderer
from events import exporting
from events.arrays.datums import Externals, external_fields
from events.arrays.frames import Allowance, TooLarge
from events.arrays.streamed import TooManyRows
from events.documents import WRITERS, Emission
from events.files.assets import AssetError, OutsideDatabase
from events.files.reader import ReaderBusy
from events.filling import Filling, TooMuchInline
from events.left_out import DatumMissing, LeftOut, note_outside, require_something
from events.paging import event_page, field_url, filled_inline, narrowed, page_links
from events.renderers import MsgpackRenderer, offered
from events.repositories import Events, RunsWithEvents
from events.schemas import FILES, RUN_WITH_FILES, EventPage
from events.streaming import etag_of, safe_name, started, streamed, unchanged
from headers.descriptors import Descriptor
from headers.lists import MAX_PAGE, page_link
from headers.repositories import Run
from headers.streams import uids_of
from headers.views import RunView
from policies.audit import note_runs
from policies.requests import access_for, guarded

MAX_DESCRIPTORS = 100
MAX_NAMES = 20_000
FILLED_BYTES = 32 * 2**20
"""largest array that is put into a document; as text it is some times as large"""
EXPORTED_BYTES = 256 * 2**20
"""largest array that an export holds in memory while it writes it"""
EXPORT_WAIT_SECONDS = 5
_exports = threading.BoundedSemaphore(2)
"""exports that this process writes at once"""
Doc = dict[str, Any]


class DataKeys(Texts):
    """Names of data keys. Not required: without it, all are meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            serializers.CharField(max_length=1_000_000, trim_whitespace=False),
            required=False,
            max_length=MAX_NAMES,
            **options,
        )


class EventListParameters(Parameters):
    repeatable = ("descriptor", "fields")
    descriptor = Texts(max_length=MAX_DESCRIPTORS, help_text="uid; repeatable")
    fields = DataKeys(help_text="data keys, comma-separated or repeated: data is narrowed")  # type: ignore[assignment]
    fill = serializers.BooleanField(default=False, help_text="arrays in files are put inline")
    page_size = serializers.IntegerField(min_value=1, max_value=MAX_PAGE, default=100)
    cursor = serializers.CharField(required=False, max_length=2000)


class DocumentsParameters(Parameters):
    fill = serializers.BooleanField(default=False, help_text="arrays in files are put inline")


class EventView(RunView):
    """Base of every route that reads events: also speaks of files in problems."""

    required_scope = "read:data"

    def runs(self) -> RunsWithEvents:
        return RunsWithEvents(settings.CATALOGS, access_for(self.request))

    def handle_exception(self, error: Exception) -> Response:
        return super().handle_exception(as_file_problem(error))


def as_file_problem(error: Exception) -> Exception:
    """What a caller is told of files that cannot be served."""
    match error:
        case AssetError():
            return Problem(error.status, str(error), resource=error.uid, spec=error.spec)
        case OutsideDatabase() | DatumMissing() | TooManyRows():
            return Problem(error.status, str(error))
        case TooLarge():
            return Problem(413, str(error), nbytes=error.nbytes, limit=error.limit)
        case ReaderBusy():
            return Problem(error.status, str(error), {"Retry-After": str(error.retry_after)})
    return error


class EventViewSet(ViewSetMixin, EventView):
    reads_by_post = True
    renderer_classes = [JSONRenderer, MsgpackRenderer, BrowsableRenderer]

    @by_get_or_post(EventListParameters, {200: EventPage} | answers(304, 404) | FILES)
    def list(self, request: Request) -> HttpResponseBase:
        """The events of descriptors, by time, one page at a time."""
        given = EventListParameters.of(request)
        uids = list(dict.fromkeys(given["descriptor"]))
        runs = self._runs_of(uids)
        kind = getattr(request.accepted_renderer, "format", "")
        root = request.build_absolute_uri(request.path)
        etag = etag_of(runs, request.user.pk, kind, root, sorted(given.items()))
        if same := unchanged(request, etag):
            return same
        content, headers = self._page(request, runs, given, root)
        return Response(content, headers=headers | ({"ETag": etag} if etag else {}))

    def _runs_of(self, uids: Iterable[str]) -> Sequence[Run]:
        """The runs that have these descriptors; a run that has several is asked for once."""
        runs = self.runs()
        found: list[Run] = []
        for uid in uids:
            if not any(uid in uids_of(run.descriptors) for run in found):
                found.append(runs.of_descriptor(uid)[0])
        note_runs(found)
        return found

    def _page(
        self, request: Request, runs: Sequence[Run], given: Mapping[str, Any], root: str
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """The content of the answer, and headers that it calls for."""
        asked = given["descriptor"]
        uids = set(asked)
        descriptors = [doc for run in runs for doc in run.descriptors if doc.get("uid") in asked]
        fields = _chosen_fields(given.get("fields"), descriptors)
        bound = {"descriptor": sorted(uids), "fields": fields, "fill": given["fill"]}
        page = event_page(
            [(Events(run), sorted(uids.intersection(uids_of(run.descriptors)))) for run in runs],
            given["page_size"],
            salt=purpose("events", request.user.pk, bound),
            cursor=given.get("cursor"),
        )
        externals = external_fields(descriptors)
        sources = [events for events, _ in page.events]
        results = [narrowed(event, fields) for _, event in page.events]
        links = page_links(root, sources, results, fields)
        headers = {}
        if given["fill"]:
            results, left_out = _filled(sources, results, externals, root)
            by_descriptor = {str(event.get("descriptor")): event for event in results}
            note_outside(descriptors, by_descriptor, left_out, fields)
            require_something(descriptors, left_out, fields)
            headers = {"Warning": left_out.warning()} if left_out else {}
        content = {
            "next": page_link(request, page.next),
            "previous": page_link(request, page.previous),
            "results": [e | {"_links": link} for e, link in zip(results, links, strict=True)],
        }
        return content, headers


class DocumentsView(EventView):
    renderer_classes = [offered(name, writer.media_type) for name, writer in WRITERS.items()]

    @extend_schema(parameters=[DocumentsParameters], responses={200: bytes} | RUN_WITH_FILES)
    def get(self, request: Request, key: str) -> HttpResponseBase:
        """All documents of a run in the order they were emitted, as a stream."""
        given = DocumentsParameters.of(request)
        run = self.run(key)
        kind = request.accepted_renderer.format
        etag = etag_of([run], kind, given["fill"])
        if same := unchanged(request, etag):
            return same
        writer = WRITERS[kind]()
        filling = whole_run(run, FILLED_BYTES) if given["fill"] else None
        if request.method == "HEAD":
            return streamed(iter(()), writer.media_type, etag=etag)
        emission = Emission(Events(run), writer, filling)
        pieces = guarded(request, run, started(iter(emission)))
        response = streamed(pieces, writer.media_type, etag=etag)
        if filling is not None and filling.left_out:
            # What shows later than in the first events is told by their `filled` alone.
            response["Warning"] = filling.left_out.warning()
        return response


class ExportView(EventView):
    renderer_classes = [
        offered("h5", exporting.MEDIA_TYPE),
        offered("ndjson", WRITERS["ndjson"].media_type),
    ]

    @extend_schema(parameters=[Parameters], responses={200: bytes} | RUN_WITH_FILES)
    def get(self, request: Request, key: str) -> HttpResponseBase:
        """The run as one file: HDF5 in NeXus layout, or its documents, one a line."""
        Parameters.of(request)
        run = self.run(key)
        kind = request.accepted_renderer.format
        etag = etag_of([run], "export", kind)
        if same := unchanged(request, etag):
            return same
        left_out = LeftOut()
        pieces = _exported(request, run, kind, left_out)
        name = safe_name(run.catalog.name, run.start.get("scan_id"), str(run.uid)[:8])
        response = streamed(
            pieces,
            request.accepted_renderer.media_type,
            etag=etag,
            filename=f"{name}.{kind}",
        )
        if left_out:
            response["Warning"] = left_out.warning()
        return response


def _exported(request: Request, run: Run, kind: str, left_out: LeftOut) -> Iterator[bytes]:
    """The file, written to its end before its first piece is there: then `left_out` is complete."""
    if kind == "h5" and request.method == "HEAD":
        left_out.include(whole_run(run, EXPORTED_BYTES).left_out)
    if request.method == "HEAD":
        return iter(())
    if kind != "h5":
        return guarded(request, run, started(iter(Emission(Events(run), WRITERS[kind]()))))
    wanted = partial(require_client, request._request)
    return guarded(request, run, written_nexus(run, left_out, wanted))


def written_nexus(
    run: Run, left_out: LeftOut, wanted: Callable[[], None]
) -> Generator[bytes, None, None]:
    """The run as HDF5, written to its end; see `whole_run` and `exporting.export_nexus`.

    Problem (503) while this process writes as many as it may.
    """
    left_out.include(whole_run(run, EXPORTED_BYTES).left_out)
    if not _exports.acquire(timeout=EXPORT_WAIT_SECONDS):
        raise Problem(503, "Too many exports are being written. Try again soon.", RETRY)
    try:
        allowance = Allowance(settings.RESPONSE_BYTES, EXPORTED_BYTES)
        return started(exporting.export_nexus(run, allowance, left_out, wanted))
    finally:
        _exports.release()


def _filled(
    sources: list[Events], page: list[Doc], externals: Externals, root: str
) -> tuple[list[Doc], LeftOut]:
    try:
        return filled_inline(sources, page, externals, settings.INLINE_BYTES)
    except TooMuchInline as error:
        url = field_url(root, error.event.get("uid"), error.field)
        raise Problem(
            413,
            f"The arrays of this page are {error.nbytes} bytes or more; at most "
            f"{settings.INLINE_BYTES} are put inline. Ask for fewer events, or read the array "
            f"by itself: {url}",
            url=url,
            limit=settings.INLINE_BYTES,
        ) from None


def whole_run(run: Run, each: int) -> Filling:
    """What fills the events of a run, after a look at the first event of each descriptor.

    each: bytes that one array may have at the most.

    Raises
    ------
    TooLarge
        All arrays together are more than one answer may hold, if the others are like the first.
    AssetError, OutsideDatabase, DatumMissing
        Nothing would be left: the run has nothing but what cannot be served.
    """
    events, externals = Events(run), external_fields(run.descriptors)
    filling = Filling(events, externals, Allowance(settings.RESPONSE_BYTES, each))
    if not any(externals.values()):
        return filling
    firsts = events.firsts(uids_of(run.descriptors))
    nbytes = filling.survey(list(firsts.values()), events.counts())
    if nbytes > settings.RESPONSE_BYTES:
        raise TooLarge(nbytes, settings.RESPONSE_BYTES)
    note_outside(run.descriptors, firsts, filling.left_out)
    require_something(run.descriptors, filling.left_out)
    return filling


def _chosen_fields(fields: list[str] | None, descriptors: Iterable[Doc]) -> frozenset[str] | None:
    """The data keys asked for; None for all."""
    known = {name for doc in descriptors for name in Descriptor(doc).data_keys}
    names = named(fields, known)
    if names is None:
        return None
    chosen = frozenset(names)
    if unknown := sorted(chosen - known):
        raise Problem(400, f"fields: no data key is named {', '.join(unknown)[:500]}.")
    return chosen
