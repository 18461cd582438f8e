"""The routes of many runs as one zip, and of how large it will be."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from django.db.models import Q
from django.http import HttpResponse, HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from broker_site.connection import require_client
from broker_site.openapi import answers
from broker_site.parameters import PlainText, Texts
from broker_site.problems import RETRY, Problem, not_found
from events.archive import FILES, Archive, Pieces
from events.renderers import offered
from events.streaming import started, streamed
from events.views import EventView
from headers.downloads import run_downloads, table_downloads
from headers.index.sums import DAY
from headers.lists import Chosen, HeaderFilters, chosen_runs
from headers.repositories import Run
from headers.templatetags.runs import size as size_in_words
from headers.views import streams
from policies.requests import guarded_many

MAX_RUNS = 500
MAX_TICKED = 200
MAX_BYTES = 50 * 10**9
SAMPLED = 8
"""newest runs of which the size of all is reckoned"""
PAGE = 20
"""runs whose documents are fetched at once, by the rights that hold then"""
MEDIA_TYPE, NAME = "application/zip", "runs.zip"
WAIT_SECONDS = 5
_archives = threading.BoundedSemaphore(2)
"""archives that this process writes at once: each takes a thread for long"""


class ArchivedFile(PlainText):
    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        if value not in FILES:
            raise serializers.ValidationError(f"is one of {', '.join(FILES)}.")
        return value


class ArchiveParameters(HeaderFilters):
    repeatable = ("find", "run", "files")
    run = Texts(
        serializers.CharField(max_length=500),
        required=False,
        max_length=MAX_TICKED,
        help_text="uid; repeatable: of the runs that the filters select, only these",
    )
    files = Texts(
        ArchivedFile(),
        required=False,
        max_length=len(FILES),
        help_text="what to put into the folder of each run; repeatable; h5 unless given",
    )


class ArchiveSize(serializers.Serializer[object]):
    runs = serializers.IntegerField()
    events = serializers.IntegerField(help_text="of runs that have ended")
    bytes = serializers.IntegerField(help_text="roughly, as the newest of the runs are")
    most_runs = serializers.IntegerField()
    most_bytes = serializers.IntegerField()


class ArchiveSizeView(EventView):
    @extend_schema(parameters=[ArchiveParameters], responses={200: ArchiveSize} | answers(404))
    def get(self, request: Request) -> Response:
        """How many runs a zip of these would hold, and about how many bytes."""
        return Response(expected(request, ArchiveParameters.of(request)))


class ArchiveView(EventView):
    renderer_classes = [offered("zip", MEDIA_TYPE)]

    @extend_schema(parameters=[ArchiveParameters], responses={200: bytes} | answers(404, 413))
    def get(self, request: Request) -> HttpResponseBase:
        """Runs as one zip: a folder for each, and `runs.csv` that tells what became of each.

        It is streamed, newest run first. A run that cannot be written is named in `runs.csv`.
        """
        given = ArchiveParameters.of(request)
        check_size(expected(request, given))
        if request.method == "HEAD":
            return HttpResponse(content_type=MEDIA_TYPE)
        archive = Archive(files_of(given), partial(require_client, request._request))
        pieces = started(_one_of_few(archive.pieces(runs_of(request, given))))
        return streamed(guarded_many(request, archive.read, pieces), MEDIA_TYPE, filename=NAME)


def _one_of_few(pieces: Pieces) -> Pieces:
    """The same, while not too many others are written. Problem (503) with the first piece."""
    if not _archives.acquire(timeout=WAIT_SECONDS):
        raise Problem(503, "Too many archives are being written. Try again soon.", RETRY)
    try:
        yield from pieces
    finally:
        _archives.release()


def files_of(given: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(given.get("files", FILES[:1])))


def selected(request: Request, given: Mapping[str, Any]) -> Chosen:
    """What may be read now of what is asked for."""
    chosen = chosen_runs(request, given)
    if "run" not in given:
        return chosen
    named = Q(uid__in=list(given["run"]))
    return replace(chosen, wanted=replace(chosen.wanted, also=chosen.wanted.also & named))


def runs_of(request: Request, given: Mapping[str, Any]) -> Iterator[Run]:
    """The runs, some at once, each page by the rights that hold when it is fetched."""
    cursor, count = None, 0
    while True:
        chosen = selected(request, given)
        page = chosen.page(PAGE, salt="archive", cursor=cursor, descriptors=True)
        yield from page.runs[: MAX_RUNS - count]
        count += len(page.runs)
        cursor = page.next
        if cursor is None or count >= MAX_RUNS:
            return


def expected(request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
    """Problem (404) where there is no run that may be read."""
    chosen = selected(request, given)
    sums = chosen.sums(DAY, 0.0)
    if not sums.runs:
        raise not_found()
    some = chosen.page(SAMPLED, salt="archive", descriptors=True).runs
    sizes = [run_bytes(run, files_of(given)) for run in some]
    return {
        "runs": sums.runs,
        "events": sums.events,
        "bytes": round(sum(sizes) / max(1, len(sizes)) * sums.runs),
        "most_runs": MAX_RUNS,
        "most_bytes": MAX_BYTES,
    }


def run_bytes(run: Run, files: list[str]) -> float:
    """About how large the files of a run are."""
    found = streams(run)
    sizes = {file.format: file.bytes or 0.0 for file in run_downloads("", found)["files"]}
    tables = [file for stream in found for file in table_downloads("", stream)]
    sizes["csv"] = sum(file.bytes or 0.0 for file in tables if file.format == "csv")
    return sum(sizes[kind] for kind in files)


def check_size(about: Mapping[str, Any]) -> None:
    """Problem (413) where it is too large for one zip."""
    if about["runs"] > MAX_RUNS:
        detail = f"These are {about['runs']} runs; one zip holds at most {MAX_RUNS}."
    elif about["bytes"] > MAX_BYTES:
        detail = (
            f"These runs are about {size_in_words(about['bytes'])}; one zip holds at most "
            f"{size_in_words(MAX_BYTES)}."
        )
    else:
        return
    raise Problem(413, f"{detail} Narrow the filters, or take them a part at a time.", **about)
