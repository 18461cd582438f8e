"""Sessions perform effects: what the client wants done, with one server, as one user."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from dbservice.auth import Auth
from dbservice.cache import Cache, DiskCache, MemoryCache, key_of, size_of
from dbservice.transport import AsyncTransport, Transport
from dbservice.wire import (
    Authorize,
    Effect,
    Keep,
    Recall,
    Request,
    Response,
    Send,
    Sleep,
    Steps,
    Together,
    exchange,
)

T = TypeVar("T")
AT_ONCE = 4
YOUNG = 4 * 3600.0
"""seconds; half of the life of what is lent"""


@dataclass(frozen=True)
class Options:
    """How a client behaves. Nothing in here is secret."""

    server: str
    user: str | None = None
    anonymous: bool = False
    timezone: str | None = None
    """of times in tables: a name; None for that of this computer"""
    progress: bool = True
    cache: str | int | None = None
    """bytes of slices and tables that are kept on disk"""
    timeout: float | None = None
    """seconds without a byte"""


def server_of(url: str) -> str:
    """Scheme, host and prefix of a service, whichever of its addresses is given."""
    parts = urlsplit(url if "//" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"{url!r} is no address of a service, such as https://broker.example.org")
    path = parts.path.partition("/api/v1")[0].rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


class Base:
    """What both kinds of session have: options, tokens and kept answers."""

    def __init__(
        self, options: Options, token: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        self.options = options
        self.headers = dict(headers or {})
        self._blocking = Transport(options.server, self.headers, options.timeout)
        self.auth = Auth(
            options.server,
            self._blocking.send,
            token=token,
            user=options.user,
            anonymous=options.anonymous,
        )
        disk = None if options.cache is None else DiskCache(size_of(options.cache))
        self._caches: dict[str, Cache | None] = {"memory": MemoryCache(), "disk": disk}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.options.server!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Without tokens: where it is opened again, the tokens of that place are used.
        options = {**self.options.__dict__, "user": self.options.user or self.auth.user}
        return reopened, (type(self), Options(**options))

    def recalled(self, request: Request) -> tuple[str, Response] | None:
        cache = self._caches[request.kept]
        return cache.get(self._key(request)) if cache is not None else None

    def keep(self, effect: Keep) -> None:
        cache = self._caches[effect.request.kept]
        if cache is not None:
            cache.put(self._key(effect.request), effect.etag, effect.response)

    def _key(self, request: Request) -> str:
        return key_of(self.options.server, self.auth.identity, request)


class Session(Base):
    """Performs effects by blocking."""

    def __init__(
        self, options: Options, token: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(options, token, headers)
        self._threads: ThreadPoolExecutor | None = None
        self._lent: dict[object, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def do(self, steps: Steps[T]) -> T:
        """Takes all the steps; gives what they return."""
        take: Callable[[], Effect] = partial(next, steps)
        while True:
            try:
                effect = take()
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                take = partial(steps.send, self._perform(effect))
            except Exception as error:
                take = partial(steps.throw, error)

    def ahead(self, steps: Steps[T]) -> Future[T]:
        """The same in the background."""
        return self._pool().submit(self.do, steps)

    def chunks(self, request: Request) -> Iterator[bytes]:
        """The content of an answer, piece by piece."""
        chunks: Iterator[bytes] = self.do(exchange(request)).chunks
        return chunks

    def lent(self, purpose: object, make: Callable[[], str]) -> str:
        """A short-lived token for something else; the one of this purpose, while it is young."""
        made, token = self._lent.get(purpose, (-math.inf, ""))
        if time.monotonic() - made > YOUNG:
            token = make()
            self._lent[purpose] = (time.monotonic(), token)
        return token

    def for_workers(self, purpose: object, make: Callable[[], str]) -> WorkerSession:
        """A session for other processes, with such a token. Nobody needs none."""
        token = None if self.auth.anonymous else self.lent(purpose, make)
        return WorkerSession(replace(self.options, progress=False), token)

    def close(self) -> None:
        self._blocking.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return self._blocking.send(effect)
            case Sleep():
                return time.sleep(effect.seconds)
            case Authorize():
                return self.auth.token(effect.spent)
            case Recall():
                return self.recalled(effect.request)
            case Keep():
                return self.keep(effect)
            case Together():
                return self._together(effect)

    def _together(self, effect: Together) -> list[Any]:
        if len(effect.steps) < 2:
            return [self._done(effect, place, steps) for place, steps in enumerate(effect.steps)]
        work = [
            self._pool().submit(self._done, effect, place, steps)
            for place, steps in enumerate(effect.steps)
        ]
        try:
            return [future.result() for future in work]
        finally:
            for future in work:
                future.cancel()

    def _done(self, effect: Together, place: int, steps: Steps[Any]) -> Any:
        result = self.do(steps)
        if effect.done is not None:
            effect.done(place)
        return result

    def _pool(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="dbservice")
            return self._threads


class WorkerSession(Session):
    """For the workers of a cluster: takes its token along, a narrow and short-lived one."""

    def __init__(self, options: Options, token: str | None = None) -> None:
        super().__init__(options, token)
        self._token = token

    def __reduce__(self) -> tuple[Any, ...]:
        return reopened, (type(self), self.options, self._token)


class AsyncSession(Base):
    """Performs effects by awaiting; what needs a lock or a person, in a thread."""

    def __init__(
        self, options: Options, token: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(options, token, headers)
        self._transport = AsyncTransport(options.server, self.headers, options.timeout)

    async def do(self, steps: Steps[T]) -> T:
        """Takes all the steps; gives what they return."""
        take: Callable[[], Effect] = partial(next, steps)
        while True:
            try:
                effect = take()
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                take = partial(steps.send, await self._perform(effect))
            except Exception as error:
                take = partial(steps.throw, error)

    async def close(self) -> None:
        await self._transport.close()
        self._blocking.close()

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Send():
                return await self._transport.send(effect)
            case Sleep():
                return await asyncio.sleep(effect.seconds)
            case Authorize():
                return await asyncio.to_thread(self.auth.token, effect.spent)
            case Recall():
                return await asyncio.to_thread(self.recalled, effect.request)
            case Keep():
                return await asyncio.to_thread(self.keep, effect)
            case Together():
                return await self._together(effect)

    async def _together(self, effect: Together) -> list[Any]:
        free = asyncio.Semaphore(AT_ONCE)

        async def one(place: int, steps: Steps[Any]) -> Any:
            async with free:
                result = await self.do(steps)
            if effect.done is not None:
                effect.done(place)
            return result

        tasks = [asyncio.ensure_future(one(*item)) for item in enumerate(effect.steps)]
        return await _all_or_none(tasks)


async def _all_or_none(tasks: Sequence[asyncio.Future[Any]]) -> list[Any]:
    try:
        gathered: Awaitable[list[Any]] = asyncio.gather(*tasks)
        return await gathered
    finally:
        for task in tasks:
            task.cancel()


_opened: dict[tuple[Any, ...], Base] = {}
_opening = threading.Lock()


def reopened(kind: type[Base], options: Options, token: str | None = None) -> Base:
    """The session that this process has for what was pickled elsewhere; one for all of it."""
    with _opening:
        key = (kind, options, token)
        if key not in _opened:
            _opened[key] = kind(options, token)
        return _opened[key]
