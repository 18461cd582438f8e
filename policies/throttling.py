"""How much one principal may ask for: requests per minute, streamed bytes per hour.

Counted in windows of fixed length, per user or, for anonymous callers, per network: in Redis for
all processes together (BROKER_CACHE_URL), else by each process for itself.
"""

import time
from typing import Any

import structlog
from django.conf import settings
from django.core.cache import caches
from django.http import HttpRequest
from redis.exceptions import RedisError
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from policies.addresses import client_network
from policies.models import User
from policies.shared_cache import count

log = structlog.get_logger(__name__)

MINUTE = 60
HOUR = 3600


class RequestRate(BaseThrottle):
    """Requests per minute; anonymous callers have fewer."""

    def allow_request(self, request: Request, view: Any) -> bool:
        user = request.user
        if isinstance(user, User):
            return _count("requests", str(user.pk), 1, MINUTE) <= (settings.REQUESTS_USER or 1e18)
        return admit_anonymous(request._request)

    def wait(self) -> float:
        return _left(MINUTE)


def admit_anonymous(request: HttpRequest) -> bool:
    """Counts a request of nobody in particular; False if it is one too many."""
    limit = settings.REQUESTS_ANON
    return not limit or _count("requests", client_network(request), 1, MINUTE) <= limit


class ByteBudget:
    """The bytes that a caller may still have streamed in this hour."""

    def __init__(self, request: Request) -> None:
        known = isinstance(request.user, User)
        self._limit = settings.STREAM_BYTES_USER if known else settings.STREAM_BYTES_ANON
        self._who = str(request.user.pk) if known else client_network(request._request)

    def check(self) -> None:
        """Refuses to begin another stream when the budget is spent."""
        if self._limit and self.spend(0) >= self._limit:
            raise Throttled(_left(HOUR), "The bytes that you may read in an hour are used up.")

    def spend(self, size: int) -> int:
        """Counts bytes; gives all of this hour."""
        return _count("bytes", self._who, size, HOUR)


def _count(what: str, who: str, amount: int, seconds: int) -> int:
    counters, key = caches["counters"], f"{what}:{who}:{int(time.time() // seconds)}"
    try:
        return count(counters, key, amount, 2 * seconds)
    except RedisError as error:
        # A limit protects the service; without its counters, the service goes on.
        log.warning("requests are not counted", error=str(error))
        return 0


def _left(seconds: int) -> float:
    """Until the next window begins."""
    return seconds - time.time() % seconds
