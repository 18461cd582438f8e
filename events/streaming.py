"""From pieces, as they come from the database, to an answer on the socket.

What is long is never held: a piece is made when the socket has taken the one before.
"""

import hashlib
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from itertools import chain
from typing import Any

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request

from broker_site import long_answers, media_types
from broker_site.conditional import is_known
from broker_site.encoding import to_json
from broker_site.long_answers import LONG_BYTES
from headers.repositories import Run

CHUNK_BYTES = 2**18
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
MAX_NAME = 100


def chunks(pieces: Iterable[bytes]) -> Generator[bytes, None, None]:
    """The same bytes in chunks worth sending."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def started(
    pieces: Generator[bytes, None, None], size: int | None = None
) -> Generator[bytes, None, None]:
    """The same bytes, the first chunk made now: what fails at once is still told as a problem.

    size: of all bytes, roughly, where it is known; what is long waits for its turn before it begins
    """
    if size is not None and size > LONG_BYTES:
        long_answers.begin()
    made = chunks(pieces)
    first = next(made, b"")

    def resumed() -> Generator[bytes, None, None]:
        with closing(pieces), closing(made):
            yield from long_answers.in_turn(chain([first], made))

    return resumed()


def streamed(
    pieces: Iterator[bytes], media_type: str, *, etag: str | None = None, filename: str = ""
) -> StreamingHttpResponse:
    response = StreamingHttpResponse(pieces, content_type=with_charset(media_type))
    if etag:
        response["ETag"] = etag
    if filename:
        response["Content-Disposition"] = f'attachment; filename="{filename}"'
    return response


def with_charset(media_type: str) -> str:
    """Text says how it is encoded. JSON is always UTF-8 and has no such parameter."""
    is_text = media_type.startswith("text/") or media_type == media_types.NDJSON
    return f"{media_type}; charset=utf-8" if is_text else media_type


def safe_name(*parts: object) -> str:
    """A file name that is one everywhere: letters, digits, dot, dash and underscore."""
    return "_".join(_UNSAFE.sub("-", str(part))[:MAX_NAME] for part in parts if part is not None)


def etag_of(runs: Iterable[Run], *parts: object) -> str | None:
    """The ETag of an answer about complete runs, known before any event is read."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=16)
    for run in runs:
        if run.stop is None:
            return None
        content: list[Any] = [run.catalog.name, run.start, run.stop, run.descriptors]
        digest.update(to_json(content))
    return f'"{digest.hexdigest()}"'


def unchanged(request: Request, etag: str | None) -> HttpResponseBase | None:
    """The answer 304 if the caller has this version already."""
    if etag is None or not is_known(request, etag):
        return None
    return HttpResponse(status=304, headers={"ETag": etag})
