"""The access of a request's caller, at its beginning and while an answer is streamed."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from rest_framework.exceptions import Throttled
from rest_framework.request import Request

from broker_site.problems import Problem, not_found
from broker_site.timing import phase
from policies import audit
from policies.addresses import client_address
from policies.models import APIToken, Session, User
from policies.principals import access_of
from policies.rule.access import Access, Catalog
from policies.rule.conditions import Document
from policies.sessions import TokenRefused, running_session
from policies.throttling import ByteBudget
from policies.tokens import APITokenRefused, check_usable, narrowed

CHECKED_EVERY = 5.0


class ReadableRun(Protocol):
    """What of a run is needed to ask again whether it may be read."""

    @property
    def uid(self) -> str | None: ...
    @property
    def proposal(self) -> str | None: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def start(self) -> Document: ...


class AccessEnded(Exception):
    """The caller may not read this run any more; the stream breaks off."""


def access_for(request: Request | HttpRequest) -> Access:
    """What the caller may read, read from the database now."""
    user = request.user
    with phase("policy"):
        return _access(user, getattr(request, "auth", None))


def guarded(
    request: Request, run: ReadableRun, chunks: Iterator[bytes], every: float = CHECKED_EVERY
) -> "GuardedStream":
    """The chunks of an answer about a run, as long as the caller may read it.

    Asks again every few seconds and then raises AccessEnded, which closes the
    connection. Counts the bytes, for the audit trail and the caller's budget;
    raises Throttled, before anything is sent, when that is spent, and Problem (404) when the
    caller may not read the run any more: the answer may have taken long to prepare.
    """
    return _guarded(GuardedStream(request, [run], chunks, every))


def guarded_many(
    request: Request,
    runs: Sequence[ReadableRun],
    chunks: Iterator[bytes],
    every: float = CHECKED_EVERY,
) -> "GuardedStream":
    """The same of many runs, one after the other: the last of `runs` is the one that is sent."""
    return _guarded(GuardedStream(request, runs, chunks, every))


def _guarded(stream: "GuardedStream") -> "GuardedStream":
    try:
        stream.begin()
    except (Throttled, Problem):
        stream.give_up()
        raise
    audit.take_over()
    return stream


class GuardedStream:
    """An iterator whose `close` the server calls when the client is gone or has everything."""

    def __init__(
        self,
        request: Request,
        runs: Sequence[ReadableRun],
        chunks: Iterator[bytes],
        every: float,
    ) -> None:
        self._request = request
        self._runs = runs
        self._chunks = chunks
        self._every = every
        self._budget = ByteBudget(request)
        self._checked = time.monotonic()
        self._bytes = self._unspent = 0
        self._result = "broken off"
        self._noted = False

    def begin(self) -> None:
        """Raises Throttled or Problem where nothing is to be sent."""
        self._budget.check()
        if not self._is_allowed():
            raise not_found()

    def give_up(self) -> None:
        _close(self._chunks)

    def _is_allowed(self) -> bool:
        return not self._runs or still_allowed(self._request, self._runs[-1])

    def __iter__(self) -> "GuardedStream":
        return self

    def __next__(self) -> bytes:
        if time.monotonic() - self._checked >= self._every:
            self._check()
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._result = "complete"
            raise
        self._bytes += len(chunk)
        self._unspent += len(chunk)
        return chunk

    def close(self) -> None:
        if self._noted:
            return
        self._noted = True
        _close(self._chunks)
        self._spend()
        audit.record_read(
            self._request._request,
            self._runs,
            status=200,
            bytes=self._bytes,
            result=self._result,
        )

    def _check(self) -> None:
        self._spend()
        if not self._is_allowed():
            self._result = "access ended"
            raise AccessEnded
        self._checked = time.monotonic()

    def _spend(self) -> None:
        self._budget.spend(self._unspent)
        self._unspent = 0


def _close(chunks: Iterator[bytes]) -> None:
    """Frees what a generator holds open."""
    close: Any = getattr(chunks, "close", None)
    if close is not None:
        close()


def still_allowed(request: Request, run: ReadableRun) -> bool:
    """May the caller read this run now, as the database says at this moment?"""
    access = access_now(request)
    return access is not None and access.allows(run.catalog, run.start)


def access_now(request: Request) -> Access | None:
    """The caller's access, everything about them read anew. None: they are signed out."""
    try:
        return _access_now(request)
    except (APITokenRefused, TokenRefused):
        return None


def _access_now(request: Request) -> Access | None:
    auth = request.auth
    if isinstance(auth, Session):
        return access_of(running_session(auth.pk).user)
    if isinstance(auth, APIToken):
        token = APIToken.objects.select_related("user").filter(pk=auth.pk).first()
        if token is None:
            return None
        check_usable(token, client_address(request._request))
        return _access(token.user, token)
    if not isinstance(request.user, User):
        return access_of(AnonymousUser())
    user = _browser_user(request._request)
    return access_of(user) if user == request.user else None


def _browser_user(request: HttpRequest) -> User | AnonymousUser:
    """Who the session cookie stands for now."""
    session = request.session
    if session.session_key is None or not session.exists(session.session_key):
        return AnonymousUser()
    # Reads the user anew and compares the password that the session was made with.
    return get_user(request)


def _access(user: User | AnonymousUser, auth: object) -> Access:
    access = access_of(user)
    return narrowed(access, auth) if isinstance(auth, APIToken) else access
