"""One reader's stream of what comes: documents of a run, or runs."""

import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from rest_framework.request import Request

from broker_site.problems import RETRY, Problem
from broker_site.threads import in_thread
from headers.mongo import CatalogUnavailable
from live.channels import Channel, channels
from live.messages import GONE, HEARTBEAT
from live.messages import RETRY as RECONNECT
from live.pages import Following
from policies import audit
from policies.addresses import client_network
from policies.models import User
from policies.throttling import ByteBudget

CHECKED_EVERY = 4.0
"""seconds; who may not read the run any more is told within five"""
HEARTBEAT_SECONDS = 15.0
LONGEST_SECONDS = 2 * 3600.0
FOLLOWERS = 1000
"""of this process"""
FOLLOWERS_EACH = 100
"""of one user, or of one network of anonymous callers"""


class Followers:
    """Who follows something now, counted by the event loop."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def admit(self, request: Request) -> str:
        """The name under which this caller is counted. Problem: there are too many."""
        who = _name(request)
        if self._counts[who] >= FOLLOWERS_EACH:
            detail = f"You follow {FOLLOWERS_EACH} runs or lists already. Close some of them."
            raise Problem(429, detail, RETRY)
        if self._counts.total() >= FOLLOWERS:
            raise Problem(503, "Too many readers follow runs here. Try again soon.", RETRY)
        return who

    def enter(self, who: str) -> None:
        self._counts[who] += 1

    def leave(self, who: str) -> None:
        self._counts[who] -= 1
        if not self._counts[who]:
            del self._counts[who]


followers = Followers()


def _name(request: Request) -> str:
    known = isinstance(request.user, User)
    return f"user {request.user.pk}" if known else f"network {client_network(request._request)}"


class Standing(Enum):
    """What becomes of a reader."""

    ALLOWED = "goes on"
    CHANGED = "comes again, and gets something else"
    GONE = "may not read this any more"


@dataclass
class Watch:
    """Sees to it that a stream ends when its reader may not read it any more, and that what was
    sent is counted.
    """

    budget: ByteBudget
    ask: Callable[[], Standing]
    """asks the database"""
    result: str = "broken off"
    sent: int = 0
    _unspent: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _checked: float = field(
        # Those who come together shall not ask together for ever.
        default_factory=lambda: time.monotonic() - random.uniform(0, CHECKED_EVERY)  # noqa: S311
    )
    _spoken: float = field(default_factory=time.monotonic)

    def count(self, chunk: bytes) -> bytes:
        self.sent += len(chunk)
        self._unspent += len(chunk)
        self._spoken = time.monotonic()
        return chunk

    @property
    def seconds(self) -> float:
        """Until there is something to do beside sending what comes."""
        now = time.monotonic()
        due = min(self._checked + CHECKED_EVERY, self._spoken + HEARTBEAT_SECONDS)
        return max(0.0, due - now)

    @property
    def is_silent(self) -> bool:
        return time.monotonic() - self._spoken >= HEARTBEAT_SECONDS

    @property
    def is_over(self) -> bool:
        return time.monotonic() - self._begun >= LONGEST_SECONDS

    async def standing(self) -> Standing:
        """As the database says, when it is time to ask."""
        if time.monotonic() - self._checked < CHECKED_EVERY:
            return Standing.ALLOWED
        self._checked = time.monotonic()
        standing = await in_thread(self._check)
        if standing is not Standing.ALLOWED:
            self.result = "access ended"
        return standing

    def _check(self) -> Standing:
        self.spend()
        return self.ask()

    def spend(self) -> None:
        self.budget.spend(self._unspent)
        self._unspent = 0


@dataclass(frozen=True)
class FollowedStream:
    """What a reader follows, and what is to be told of it."""

    followed: Any
    """by what the readers of the same are known"""
    begin: Following
    choice: Any
    standing: Callable[[], Standing]
    on_watched: Callable[[Watch], None]
    """called in the end, in a thread"""
    note: Callable[[Following], None] | None = None
    """called with each page that is sent, in a thread"""


def follow(request: Request, stream: FollowedStream) -> AsyncGenerator[bytes, None]:
    """The server-sent events of a stream, until it or the access ends.

    Raises Throttled or Problem at once where the caller may not begin another stream.
    """
    who = followers.admit(request)
    budget = ByteBudget(request)
    budget.check()
    audit.take_over()
    return _watched(stream, Watch(budget, stream.standing), who)


async def _watched(stream: FollowedStream, watch: Watch, who: str) -> AsyncGenerator[bytes, None]:
    followers.enter(who)
    try:
        with channels.of(stream.followed) as channel:
            async for chunk in _Reader(stream, watch, channel).chunks():
                yield watch.count(chunk)
    except CatalogUnavailable:
        watch.result = "catalog away"  # the client comes again
    finally:
        followers.leave(who)
        await in_thread(_note, stream, watch)


def _note(stream: FollowedStream, watch: Watch) -> None:
    watch.spend()
    stream.on_watched(watch)


class _Reader:
    def __init__(self, stream: FollowedStream, watch: Watch, channel: Channel) -> None:
        self._watch = watch
        self._channel = channel
        self._choice = stream.choice
        self._note = stream.note
        self._page = stream.begin
        """the last one that was sent"""
        self._number = 0
        """of the next page of the channel"""

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield RECONNECT + self._page.opening()
        behind = True
        while not (self._page.is_end or self._watch.is_over or self._channel.is_broken):
            standing = await self._watch.standing()
            if standing is Standing.GONE:
                yield GONE
            if standing is not Standing.ALLOWED:
                return
            if chunk := await (self._own() if behind else self._shared()):
                if self._note is not None:
                    await in_thread(self._note, self._page)
                yield chunk
            elif self._watch.is_silent:
                yield HEARTBEAT
            if behind:
                behind = not self._page.is_last
            behind = behind or self._channel.has_lost(self._number)
        if self._page.is_end:
            self._watch.result = "complete"
            yield self._page.end()

    async def _own(self) -> bytes:
        """The next page, read for this reader alone."""
        self._number = self._channel.next  # what comes from now on is shared
        self._page = await in_thread(self._page.further)
        if self._page.is_last:
            self._channel.begin(self._page)
        return self._page.text(self._choice)

    async def _shared(self) -> bytes:
        """What the next page of the channel has for this reader; nothing if none comes in time."""
        shared = await self._channel.page(self._number, self._watch.seconds)
        if shared is None:
            return b""
        self._number += 1
        if shared.page.before == self._page.after:
            self._page = shared.page
            return shared.text(self._choice)
        self._page = shared.page.seen_from(self._page.after)
        return self._page.text(self._choice)
