"""Routes under /api/v1/ that tell what is new, as server-sent events.

A process that serves requests by threads would be full with as many readers as it has threads.
There the same routes answer what there is so far, and a reader asks again behind the last id.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from broker_site.asgi_handler import LiveResponse
from broker_site.parameters import Texts, named
from broker_site.problems import Problem
from events import views as event_views
from events.renderers import offered
from events.schemas import RUN_WITH_FILES
from headers.descriptors import Descriptor
from headers.lists import HeaderFilters, chosen_runs
from headers.repositories import Run
from headers.streams import stream_name
from headers.views import RunView
from live.following import FollowedStream, Standing, Watch, follow
from live.listing import ListPage, ListPosition, LiveListing, begun_behind, begun_now
from live.messages import MEDIA_TYPE, RETRY, Narrowing
from live.pages import Following
from live.positions import LONGEST, Position
from live.reading import RunFollowing, begun_at, from_now
from live.starts import as_it_is_now
from policies.audit import note_runs, record_read
from policies.requests import access_now, guarded, still_allowed

EVENT_STREAM = "event-stream"
POLLED_BYTES = 2**22
"""after which an answer to who asks again and again ends"""
NOT_HERE = (
    "Runs are not followed at this address: the service's process for live streams is not in front "
    "of it. Ask the same with 'after=' in place of 'follow=true', again and again: each answer is "
    "what is new behind the last id."
)
CONTENT_TYPE = f"{MEDIA_TYPE}; charset=utf-8"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class LiveParameters(event_views.DocumentsParameters):
    repeatable = ("fields", "streams")
    follow = serializers.BooleanField(
        required=False, help_text="go on with what comes, as server-sent events"
    )
    after = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=LONGEST,
        help_text="the id of the last event: what is new behind it; empty: from the beginning",
    )
    fields = event_views.DataKeys(help_text="of followed events: data is narrowed")  # type: ignore[assignment]
    streams = Texts(required=False, max_length=1000, help_text="of followed events; repeatable")
    # `from` is a word of Python.
    locals()["from"] = serializers.ChoiceField(
        ("start", "now"), required=False, help_text="where to begin to follow"
    )


class LiveDocumentsView(event_views.DocumentsView):
    renderer_classes = [
        *event_views.DocumentsView.renderer_classes,
        offered(EVENT_STREAM, MEDIA_TYPE),
    ]

    @extend_schema(
        parameters=[LiveParameters],
        responses={200: bytes, 204: OpenApiResponse(description="All of the run was sent")}
        | RUN_WITH_FILES,
    )
    def get(self, request: Request, key: str) -> HttpResponseBase:
        """All documents of a run in the order they were emitted, as a stream.

        With `follow` or `after`: as server-sent events, those that are still to come, too.
        """
        given = LiveParameters.of(request)
        if not _is_live(request, given):
            return super().get(request, key)
        run = self.run(key)
        position = _position(request, run, given)
        if position.ended:
            return HttpResponse(status=204)
        choice = _choice(run, given)
        if request.method == "HEAD":
            return _event_stream(iter(()))
        if not given.get("follow", "after" not in given):
            return _event_stream(guarded(request, run, _so_far(begun_at(run, position), choice)))
        if not isinstance(request._request, ASGIRequest):
            raise Problem(503, NOT_HERE, {"Retry-After": "2"})
        stream = follow(request, _stream_of(request, run, begun_at(run, position), choice))
        return LiveResponse(stream, content_type=CONTENT_TYPE, headers=HEADERS)


class ListParameters(HeaderFilters):
    follow = serializers.BooleanField(default=True, help_text="as of documents; so it is anyway")
    after = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=LONGEST,
        help_text="the id of the last event: what is new behind it; empty: an id alone",
    )


class LiveListView(RunView):
    renderer_classes = [offered(EVENT_STREAM, MEDIA_TYPE)]

    @extend_schema(parameters=[ListParameters], responses={200: bytes})
    def get(self, request: Request) -> HttpResponseBase:
        """Runs that the filters select, when they begin and when they end, as server-sent events.

        With `after`: those so far, to be asked for again and again.
        """
        given = ListParameters.of(request)
        page = self._begin(request, given)
        if request.method == "HEAD":
            return _event_stream(iter(()))
        if "after" in given:
            return HttpResponse(self._so_far(page), content_type=CONTENT_TYPE, headers=HEADERS)
        if not isinstance(request._request, ASGIRequest):
            raise Problem(503, NOT_HERE, {"Retry-After": "2"})
        stream = follow(request, self._stream(request, page))
        return LiveResponse(stream, content_type=CONTENT_TYPE, headers=HEADERS)

    def _begin(self, request: Request, given: dict[str, Any]) -> ListPage:
        id = request.headers.get("Last-Event-ID") or given.get("after") or None
        filters = {name: value for name, value in given.items() if name not in ("after", "follow")}
        chosen = chosen_runs(request, filters)
        listing = LiveListing(
            chosen.runs.access,
            tuple(chosen.runs.index.catalogs.values()),
            chosen.wanted,
            chosen.query,
            repr(sorted(filters.items())),
        )
        if id is None:
            return begun_now(listing)
        return begun_behind(listing, ListPosition.read(id, listing))

    def _so_far(self, page: ListPage) -> bytes:
        page = page.further()
        note_runs(run for _, run in page.items)
        # An id alone: with nothing new there would be none to go on from.
        return RETRY + (page.text(None) or page.opening())

    def _stream(self, request: Request, page: ListPage) -> FollowedStream:
        def note(page: Following) -> None:
            runs = [run for _, run in page.items]
            record_read(request._request, runs, status=200, result="followed")

        return FollowedStream(
            followed=page.listing,
            begin=page,
            choice=None,
            standing=partial(_standing_of_list, request, page.listing),
            note=note,
            on_watched=lambda watch: None,
        )


def _is_live(request: Request, given: dict[str, Any]) -> bool:
    """Whether server-sent events are asked for. Problem: some of the parameters do not fit."""
    kind = request.accepted_renderer.format
    asked = given.get("follow", False) or "after" in given or kind == EVENT_STREAM
    if not asked:
        if only := sorted({"fields", "streams", "from"} & set(given)):
            raise Problem(400, f"{', '.join(only)}: only with 'follow=true' or 'after='.")
        return False
    if request.query_params.get("format", EVENT_STREAM) != EVENT_STREAM:
        raise Problem(400, f"format: what is followed comes as {EVENT_STREAM} only.")
    if given["fill"]:
        raise Problem(400, "fill: frames are not sent while a run is followed; ask for the arrays.")
    if given.get("from") and given.get("after"):
        raise Problem(400, "from: is where to begin; 'after' goes on from elsewhere.")
    return True


def _position(request: Request, run: Run, given: dict[str, Any]) -> Position:
    """Where to go on: behind the last id that the caller has, which a browser sends by itself."""
    id = request.headers.get("Last-Event-ID") or given.get("after")
    if id:
        return Position.read(id, run)
    return from_now(run) if given.get("from") == "now" else Position()


def _choice(run: Run, given: dict[str, Any]) -> Narrowing:
    """The fields and streams asked for. An open run may get those that it does not have yet."""
    known_streams = {stream_name(descriptor) for descriptor in run.descriptors}
    known_fields = {name for doc in run.descriptors for name in Descriptor(doc).data_keys}
    chosen: dict[str, frozenset[str] | None] = {}
    for parameter, known in (("fields", known_fields), ("streams", known_streams)):
        names = named(given.get(parameter), known)
        chosen[parameter] = None if names is None else frozenset(names)
        if run.stop is not None and (unknown := sorted((chosen[parameter] or set()) - known)):
            raise Problem(400, f"{parameter}: the run has no {', '.join(unknown)[:500]}.")
    return Narrowing(**chosen)


def _stream_of(request: Request, run: Run, page: RunFollowing, choice: Narrowing) -> FollowedStream:
    def note_watched(watch: Watch) -> None:
        record_read(request._request, [run], status=200, bytes=watch.sent, result=watch.result)

    return FollowedStream(
        followed=(run.catalog.name, run.uid),
        begin=page,
        choice=choice,
        standing=partial(_standing, request, run),
        on_watched=note_watched,
    )


def _standing(request: Request, run: Run) -> Standing:
    now = as_it_is_now(run)
    is_allowed = now is not None and still_allowed(request, now)
    return Standing.ALLOWED if is_allowed else Standing.GONE


def _standing_of_list(request: Request, listing: LiveListing) -> Standing:
    """With other rights it is another list."""
    access = access_now(request)
    if access is None:
        return Standing.GONE
    return Standing.ALLOWED if access == listing.access else Standing.CHANGED


def _so_far(page: Following, choice: Narrowing) -> Iterator[bytes]:
    """What there is behind a page; much of it in several answers."""
    yield RETRY + page.opening()
    sent = 0
    while sent < POLLED_BYTES:
        page = page.further()
        text = page.text(choice)
        sent += len(text)
        yield text
        if page.is_last:
            break
    if page.is_end:
        yield page.end()


def _event_stream(content: Iterator[bytes]) -> StreamingHttpResponse:
    return StreamingHttpResponse(content, content_type=CONTENT_TYPE, headers=HEADERS)
