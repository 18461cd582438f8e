"""What is said to the service and what comes back, without any input or output.

Everything that the client does is a generator of effects (`Steps`): send this request, wait so
long, get me a token. The sync client and the async one differ only in how they perform effects.
"""

from __future__ import annotations

import json
import math
import random
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

from dbservice.errors import BrokerError, BrokerWarning, ConnectionLost, error_of

T = TypeVar("T")
Meter = Callable[[int], object]
TRIES = 5
LONGEST_WAIT = 120.0
"""seconds; who is to wait longer is told so instead"""
PASSING = frozenset({429, 502, 503, 504})
"""statuses that may be another one soon"""
LONGEST_LINE = 6000
"""characters of parameters in an address; more go into the body"""

JSON = "application/json"
MSGPACK = "application/msgpack"
ARROW = "application/vnd.apache.arrow.stream"
BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Request:
    """A request. path: below the API's root, quoted. body: for JSON, or bytes as they are."""

    method: Literal["GET", "HEAD", "POST", "DELETE"]
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    accept: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    kept: Literal["no", "memory", "disk"] = "no"
    """where a copy of the answer may be kept, to be asked about instead of sent again"""
    opened: bool = False
    """the content comes piece by piece"""
    tries: int = TRIES
    silence: float | None = None
    """seconds without a byte until the connection counts as lost, where they are special"""
    meter: Meter | None = field(default=None, compare=False)
    """called with each number of bytes that came"""
    into: memoryview | None = field(default=None, compare=False)
    """where content of just that length goes; it is the answer's `content` then"""

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does the same as once."""
        return self.method in ("GET", "HEAD") or self.is_read_by_post

    @property
    def is_read_by_post(self) -> bool:
        return self.method == "POST" and self.path.startswith(("headers/", "events/"))

    @property
    def name(self) -> str:
        """What tells its answer from others'."""
        return f"{self.path}?{urlencode(sorted(self.params.items()), doseq=True)} {self.accept}"

    def fitted(self) -> Request:
        """The same, with parameters that are too long for an address in the body."""
        if self.method != "GET" or len(urlencode(dict(self.params), doseq=True)) <= LONGEST_LINE:
            return self
        return replace(self, method="POST", params={}, body=dict(self.params))


@dataclass
class Response:
    """headers: names in lower case. chunks: of an opened answer, an iterator, maybe async."""

    status: int
    headers: Mapping[str, str]
    content: bytes | memoryview = b""
    chunks: Any = None

    def json(self) -> Any:
        try:
            return json.loads(bytes(self.content))
        except ValueError:
            kind = self.headers.get("content-type", "something")
            raise BrokerError(f"This is no Data Broker Service: it answers with {kind}.") from None


@dataclass(frozen=True)
class Send:
    """Gives the Response; ConnectionLost if there is none."""

    request: Request
    token: str | None


@dataclass(frozen=True)
class Sleep:
    seconds: float


@dataclass(frozen=True)
class Authorize:
    """Gives the token to send, None for nobody. spent: one that does not work any more."""

    spent: str | None = None


@dataclass(frozen=True)
class Together:
    """Gives the results of all, done four at a time. done: called with each one's place."""

    steps: Sequence[Steps[Any]]
    done: Callable[[int], None] | None = None


@dataclass(frozen=True)
class Recall:
    """Gives the kept (etag, response) of a request, or None."""

    request: Request


@dataclass(frozen=True)
class Keep:
    request: Request
    etag: str
    response: Response


Effect = Send | Sleep | Authorize | Together | Recall | Keep
Steps = Generator[Effect, Any, T]


def exchange(request: Request) -> Steps[Response]:
    """The answer to a request: signed in, tried again when that can help, taken from what is kept.

    Raises BrokerError for an answer that is an error.
    """
    request = request.fitted()
    kept = (yield Recall(request)) if request.kept != "no" else None
    asked = request
    if kept is not None:
        asked = replace(request, headers={**request.headers, "If-None-Match": kept[0]})
    response = yield from _answered(asked)
    if kept is not None and response.status == 304:
        response = kept[1]
    _warn(request, response.headers)
    etag = response.headers.get("etag")
    if etag and request.kept != "no" and response.status == 200:
        yield Keep(request, etag, response)
    return response


def _answered(request: Request) -> Steps[Response]:
    token = yield Authorize()
    renewed = False
    for attempt in range(1, request.tries + 1):
        try:
            response: Response = yield Send(request, token)
        except ConnectionLost:
            if not request.repeatable or attempt == request.tries:
                raise
            yield Sleep(backoff(attempt))
            continue
        if response.status == 401 and token and not renewed:
            renewed, token = True, (yield Authorize(spent=token))
            continue
        if response.status < 400:
            return response
        wait = _wait(request, response, attempt)
        if wait is None:
            break
        yield Sleep(wait)
    raise error_of(response.status, response.headers, bytes(response.content))


def _wait(request: Request, response: Response, attempt: int) -> float | None:
    """Seconds until another try; None if there is to be none."""
    if response.status not in PASSING or not request.repeatable or attempt == request.tries:
        return None
    asked = retry_after(response.headers.get("retry-after", ""))
    if asked is None:
        return backoff(attempt)
    return asked if asked <= LONGEST_WAIT else None


def backoff(attempt: int, longest: float = math.inf) -> float:
    """Seconds: 0.5, 1, 2, 4, …, `longest`, each between half and the whole of it."""
    return min(longest, 2.0 ** (attempt - 2)) * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


def retry_after(text: str) -> float | None:
    """Seconds of a Retry-After, which is a number or a date; None if it is neither."""
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _warn(request: Request, headers: Mapping[str, str]) -> None:
    """With the address, because Python shows the same text only once."""
    text = headers.get("warning", "")
    if text:
        message = text.split('"')[1] if text.count('"') >= 2 else text
        warnings.warn(f"{message} ({request.path})", BrokerWarning, stacklevel=2)


def together(
    steps: Sequence[Steps[T]], done: Callable[[int], None] | None = None
) -> Steps[list[T]]:
    """The results of all, four at a time, in order."""
    results: list[T] = yield Together(steps, done)
    return results
