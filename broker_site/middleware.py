"""What every request gets: an id, timings, one log line."""

import re
import secrets
import time
from collections.abc import Callable
from functools import cache

import structlog
from csp.utils import build_policy
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware
from django.utils.cache import patch_vary_headers
from django.utils.functional import LazyObject

from broker_site.metrics import observe
from broker_site.timing import phases, server_timing

log = structlog.get_logger(__name__)
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


class RequestContextMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        begin = time.perf_counter()
        request_id = _request_id(request)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        seconds: dict[str, float] = {}
        phases.set(seconds)
        response = self.get_response(request)
        phases.set(None)
        seconds["total"] = time.perf_counter() - begin
        observe(request, response, seconds["total"])
        response["X-Request-ID"] = request_id
        response.setdefault("Content-Security-Policy", _content_security_policy())
        response["Server-Timing"] = server_timing(_for(request, seconds))
        _forbid_sharing(request, response)
        # The path only: a query string may hold what a caller looks for.
        log.info(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            milliseconds=round(seconds["total"] * 1000, 1),
        )
        return response


class HostMiddleware(CommonMiddleware):
    """Refuses hosts that are not BROKER_ALLOWED_HOSTS, but to probes, which come by address."""

    PROBES = frozenset({"/livez", "/readyz", "/metrics"})

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path_info in self.PROBES else super().process_request(request)


def _for(request: HttpRequest, seconds: dict[str, float]) -> dict[str, float]:
    """All phases for facility staff. For others the total alone: how long a database was busy
    would tell them of what it holds.
    """
    user = vars(request).get("user")
    if isinstance(user, LazyObject):
        # Only if somebody else has asked already; another query would be one too many.
        user = vars(request).get("_cached_user")
    return seconds if getattr(user, "is_staff", False) else {"total": seconds["total"]}


@cache
def _content_security_policy() -> str:
    """The one policy of all answers. csp's own middleware composes it anew, twice, for each."""
    return str(build_policy())


def _request_id(request: HttpRequest) -> str:
    """The caller's own id where it is harmless, so that logs of several services join."""
    given = request.headers.get("X-Request-ID", "")
    return given if ACCEPTED_ID.fullmatch(given) else secrets.token_hex(16)


def _forbid_sharing(request: HttpRequest, response: HttpResponse) -> None:
    """Answers depend on who asks: no shared cache may keep them, unless they say so themselves."""
    # What stands on these pages, such as recovery codes, is not for the browser's disk either.
    secret = request.path_info.startswith("/accounts/")
    response.setdefault("Cache-Control", "no-store" if secret else "private, no-cache")
    if request.path_info.startswith("/api/"):
        patch_vary_headers(response, ("Accept", "Authorization", "Cookie"))
