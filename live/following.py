"""One reader's stream of the documents of a run."""

import time
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from django.db import close_old_connections
from rest_framework.request import Request

from broker_site.problems import RETRY, Problem
from broker_site.threads import in_thread
from headers.mongo import CatalogUnavailable
from headers.repositories import Run
from live.channels import Channel, channels
from live.messages import GONE, HEARTBEAT, Choice, end, write, written
from live.messages import RETRY as RECONNECT
from live.positions import Position
from live.reading import Page, read
from policies import audit
from policies.addresses import client_network
from policies.models import User
from policies.requests import still_allowed
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


@dataclass
class Watch:
    """Sees to it that a stream ends when its reader may not read the run any more, and that what
    was sent is counted and told to the audit trail.
    """

    request: Request
    run: Run
    budget: ByteBudget
    result: str = "broken off"
    sent: int = 0
    _unspent: int = 0
    _begun: float = field(default_factory=time.monotonic)
    _checked: float = field(default_factory=time.monotonic)
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

    async def allows(self) -> bool:
        """Asks the database, when it is time to."""
        if time.monotonic() - self._checked < CHECKED_EVERY:
            return True
        self._checked = time.monotonic()
        if await in_thread(self._check):
            return True
        self.result = "access ended"
        return False

    def _check(self) -> bool:
        close_old_connections()
        self._spend()
        return still_allowed(self.request, self.run)

    def _spend(self) -> None:
        self.budget.spend(self._unspent)
        self._unspent = 0

    def tell(self) -> None:
        close_old_connections()
        self._spend()
        audit.record_read(
            self.request._request, [self.run], status=200, bytes=self.sent, result=self.result
        )


def follow(
    request: Request, run: Run, position: Position, choice: Choice
) -> AsyncGenerator[bytes, None]:
    """The stream of a run's documents behind a position, until the run or the access ends.

    Raises Throttled or Problem at once where the caller may not begin another stream.
    """
    who = followers.admit(request)
    budget = ByteBudget(request)
    budget.check()
    audit.take_over()
    return _watched(Watch(request, run, budget), who, position, choice)


async def _watched(
    watch: Watch, who: str, position: Position, choice: Choice
) -> AsyncGenerator[bytes, None]:
    followers.enter(who)
    try:
        with channels.of(watch.run) as channel:
            async for chunk in _Reader(watch, channel, position, choice).chunks():
                yield watch.count(chunk)
    except CatalogUnavailable:
        watch.result = "catalog away"  # the client comes again
    finally:
        followers.leave(who)
        await in_thread(watch.tell)


class _Reader:
    def __init__(self, watch: Watch, channel: Channel, position: Position, choice: Choice) -> None:
        self._watch = watch
        self._channel = channel
        self._position = position
        self._choice = choice
        self._number = 0
        """of the next page of the channel"""
        self._run = watch.run

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        yield RECONNECT
        behind = True
        while not (self._position.stopped or self._watch.is_over or self._channel.is_broken):
            if not await self._watch.allows():
                yield GONE
                return
            if behind:
                self._number = self._channel.next
                page = await in_thread(read, self._run, self._position)
                behind = not page.is_last
                if chunk := self._of_own(page):
                    yield chunk
                if not behind:
                    self._channel.begin(page.run, self._position)
            elif chunk := await self._from_channel():
                yield chunk
            elif self._watch.is_silent:
                yield HEARTBEAT
            behind = behind or self._channel.has_lost(self._number)
        if self._position.stopped:
            self._watch.result = "complete"
            yield end(self._run, self._position)

    def _of_own(self, page: Page) -> bytes:
        self._run, self._position = page.run, page.after
        return written(page, self._choice)

    async def _from_channel(self) -> bytes:
        """What the next page has for this reader; nothing where none comes in time."""
        shared = await self._channel.page(self._number, self._watch.seconds)
        if shared is None:
            return b""
        self._number += 1
        page = self._run_of(shared.page)
        if page.before == self._position:
            self._position = page.after
            return shared.text(self._choice)
        before, new = self._position, []
        for name, document in page.items:
            if not self._position.includes(name, document):
                self._position = self._position.and_then(name, document)
                new.append((name, document))
        return write(page.run, before, new, self._choice)

    def _run_of(self, page: Page) -> Page:
        self._run = page.run
        return page
