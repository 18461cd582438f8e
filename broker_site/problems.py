"""Errors as problem details (RFC 9457): one shape for everything that goes wrong."""

import errno
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string
from redis.exceptions import RedisError
from rest_framework import exceptions
from rest_framework.response import Response

from broker_site import media_types
from broker_site.database import advice, lacks_tables
from broker_site.encoding import to_json

log = structlog.get_logger(__name__)

MEDIA_TYPE = media_types.PROBLEM
NOT_FOUND = "There is nothing here that you may read."
RETRY = {"Retry-After": "5"}


class Problem(Exception):
    """An error to tell the caller. `detail` says what to do about it."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra


def not_found() -> Problem:
    """The one answer for what is hidden and for what does not exist."""
    return Problem(404, NOT_FOUND)


def problem_response(problem: Problem) -> HttpResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    return HttpResponse(
        to_json(body), status=problem.status, content_type=MEDIA_TYPE, headers=problem.headers
    )


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse | None:
    """Django REST framework's hook. None lets a defect become a 500 with a traceback in the log."""
    problem = as_problem(error)
    if problem is None:
        return None
    request = context["request"]
    if getattr(getattr(request, "accepted_renderer", None), "format", "") != "api":
        return problem_response(problem)
    # In the browsable API the same content is shown inside of its page.
    return Response(
        {"detail": problem.detail, **problem.extra}, problem.status, None, problem.headers
    )


def as_problem(error: Exception) -> Problem | None:
    if isinstance(error, Problem):
        return error
    if isinstance(error, Http404 | exceptions.NotFound):
        return not_found()
    if isinstance(error, PermissionDenied):
        return Problem(403, "You may not do this.")
    if isinstance(error, OperationalError | InterfaceError | RedisError) or lacks_tables(error):
        return _database_away(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disc_full(error)
    if not isinstance(error, exceptions.APIException):
        return None
    if isinstance(error, exceptions.ValidationError):
        return Problem(400, _sentences(error.detail), errors=error.detail)
    return Problem(error.status_code, str(error.detail), _headers(error))


def _database_away(error: Exception) -> Problem:
    """People and policies cannot be asked, or not be written: nobody's rights are known."""
    reason = f"BROKER_CACHE_URL: {error}" if isinstance(error, RedisError) else advice(error)
    log.error("the policy database, or what workers share, does not answer", error=reason)
    return Problem(503, "The database of policies does not answer. Try again soon.", RETRY)


def _disc_full(error: OSError) -> Problem:
    log.error("no room for temporary files; see TMPDIR", error=str(error))
    detail = "The service has no room left for large answers. Ask for less, or tell its operators."
    return Problem(503, detail, {"Retry-After": "60"})


def _headers(error: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait) + 1)
    return headers


def _sentences(detail: Any, name: str = "") -> str:
    """`name: what is wrong` for each error of a serializer, nested ones included."""
    if isinstance(detail, Mapping):
        return "; ".join(_sentences(value, str(key)) for key, value in detail.items())
    if isinstance(detail, list):
        return "; ".join(_sentences(item, name) for item in detail)
    return f"{name}: {detail}" if name and name != "non_field_errors" else str(detail)


def error_view(status: int, detail: str) -> Any:
    """A handler for errors outside of the API's views, such as an unknown path."""
    problem = Problem(status, detail)

    def handler(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
        return _shown(request, problem)

    return handler


def failure_view(detail: str) -> Any:
    """The handler for what is raised outside of the API's views, middleware included."""
    defect = Problem(500, detail)

    def handler(request: HttpRequest) -> HttpResponse:
        # Django gives this handler no exception, but calls it while it handles one.
        error = sys.exception()
        known = as_problem(error) if isinstance(error, Exception) else None
        return _shown(request, known or defect)

    return handler


def _shown(request: HttpRequest, problem: Problem) -> HttpResponse:
    """As a page for people, or as problem details for programs."""
    if request.path_info.startswith("/api/") or not request.accepts("text/html"):
        return problem_response(problem)
    # A page that tells of a failure must not need what may be broken: who asks, the database.
    asking = None if problem.status >= 500 else request
    page = render_to_string("error.html", {"problem": problem}, asking)
    return HttpResponse(page, status=problem.status, headers=problem.headers)
