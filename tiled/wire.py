"""Answers as Tiled's clients take them: exact content types, ETags, errors with `detail`."""

import hashlib
from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgpack
import numpy as np
from django.http import HttpResponse, HttpResponseBase
from rest_framework.request import Request

from broker_site import media_types
from broker_site.conditional import is_known
from broker_site.encoding import to_json
from broker_site.problems import Problem

VARY = "Accept, Authorization"
RETRIED = 500
"""from this status on, the clients try again for 45 s"""


def answer(request: Request, content: Any) -> HttpResponseBase:
    """Content as msgpack to who asks for it, else as JSON. An ETag stands on every 200.

    Without one, the client's cache would take the answer for fresh for ever.
    """
    written, kind = _written(request, content)
    etag = f'"{hashlib.blake2b(written + kind.encode(), digest_size=16).hexdigest()}"'
    headers = {"ETag": etag, "Vary": VARY}
    if is_known(request, etag):
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(written, kind, headers=headers)


def uncached(request: Request, content: Any, status: int = 200) -> HttpResponse:
    """The same, never to be stored."""
    written, kind = _written(request, content)
    return HttpResponse(written, kind, status, headers={"Cache-Control": "no-store", "Vary": VARY})


def _written(request: Request, content: Any) -> tuple[bytes, str]:
    """Content as the caller takes it, and its media type."""
    if media_types.X_MSGPACK in request.headers.get("Accept", ""):
        return to_msgpack(content), media_types.X_MSGPACK
    return to_json(content), media_types.JSON


def refusal(problem: Problem) -> HttpResponse:
    """A problem whose type is plain JSON: of another one the clients show no `detail`.

    What will never be served is 422 here, because they repeat whatever is 500 or more.
    """
    status = problem.status
    if status == 409 or (status >= RETRIED and status != 503):
        status = 422
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        **problem.extra,
        "detail": problem.detail,
    }
    return HttpResponse(to_json(body), media_types.JSON, status, headers=problem.headers)


def to_msgpack(value: Any) -> bytes:
    """Dates with a zone as timestamps; what msgpack does not know becomes text."""
    return bytes(msgpack.packb(value, default=_plain, datetime=True))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value.isoformat() if isinstance(value, datetime) else str(value)
