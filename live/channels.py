"""What is new of a run, or of a list of runs, looked for once for all readers in this process.

A reader that is up to date waits for the next page of the channel, which is read, and
written as text, once for all. A page is kept for a while, so that who takes longer finds it still;
who takes too long reads from the database by itself, until it is up to date again. Nothing is kept
for any single reader.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog

from broker_site.threads import in_watching_thread
from headers.mongo import CatalogUnavailable
from live.pages import Following, SharedPage

log = structlog.get_logger(__name__)

SECONDS = 0.4
"""between two looks"""
QUIET_SECONDS = 0.6
"""the same after a minute without news; a document is to be seen within a second all the same"""
QUIET_AFTER = 60.0
AWAY_SECONDS = 3.0
SHARE = 2
"""a look that takes long is followed by a pause this many times as long"""
KEPT_PAGES = 32
KEPT_ROWS = 1000
WOKEN_AT_ONCE = 25


class Channel:
    """The pages of what is followed, as they come."""

    def __init__(self) -> None:
        self.readers = 0
        self._pages: deque[SharedPage] = deque()
        self.next = 0
        """the number of the page that comes next"""
        self.is_broken = False
        """nothing will come any more; readers shall connect anew"""
        self._looking: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self, page: Following) -> None:
        """Looks for what comes behind the page of a reader that is up to date."""
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look_until_broken(page))

    def end(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    def has_lost(self, number: int) -> bool:
        return number < self.next - len(self._pages)

    async def page(self, number: int, seconds: float) -> SharedPage | None:
        """The page of this number; None if it does not come within the time, or is lost."""
        if number >= self.next and not self.is_broken:
            coming = asyncio.get_running_loop().create_future()
            self._waiting.append(coming)
            await asyncio.wait({coming}, timeout=seconds)
            if not coming.done():
                coming.cancel()
                self._waiting = [each for each in self._waiting if each is not coming]
        at = number - (self.next - len(self._pages))
        return self._pages[at] if 0 <= at < len(self._pages) else None

    async def _look_until_broken(self, page: Following) -> None:
        try:
            await self._look(page)
        except Exception:
            log.exception("nothing is looked for any more")
            self.is_broken = True
            await self._wake()

    async def _look(self, page: Following) -> None:
        """Reads on and on; ends with what is followed."""
        news = time.monotonic()
        while not page.is_end:
            begin = time.monotonic()
            try:
                page = await in_watching_thread(page.further)
            except CatalogUnavailable as error:
                log.warning("what is followed cannot be read", reason=str(error))
                await asyncio.sleep(AWAY_SECONDS)
                continue
            if page.items:
                news = begin
                await self._publish(page)
            if page.is_last:
                pause = QUIET_SECONDS if begin - news > QUIET_AFTER else SECONDS
                await asyncio.sleep(max(pause, SHARE * (time.monotonic() - begin)))

    async def _publish(self, page: Following) -> None:
        self._pages.append(SharedPage(page))
        self.next += 1
        while len(self._pages) > KEPT_PAGES or (
            len(self._pages) > 1 and sum(len(each.page.items) for each in self._pages) > KEPT_ROWS
        ):
            self._pages.popleft()
        await self._wake()

    async def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for count, coming in enumerate(waiting, start=1):
            if not coming.done():
                coming.set_result(None)
            if count % WOKEN_AT_ONCE == 0:  # others have their turn in between
                await asyncio.sleep(0)


class Channels:
    """The channels of this process. For its event loop alone."""

    def __init__(self) -> None:
        self._open: list[tuple[Any, Channel]] = []

    @contextmanager
    def of(self, followed: Any) -> Iterator[Channel]:
        """The channel of something, by what equals it; it ends with its last reader."""
        known = (channel for other, channel in self._open if other == followed)
        if (channel := next(known, None)) is None:
            channel = Channel()
            self._open.append((followed, channel))
        channel.readers += 1
        try:
            yield channel
        finally:
            channel.readers -= 1
            if not channel.readers:
                channel.end()
                self._open = [entry for entry in self._open if entry[1] is not channel]


channels = Channels()
