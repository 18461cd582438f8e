"""What is new of a run, looked for once for all of its readers in this process.

A reader that is up to date waits for the next page of the run's channel, which is read, and
written as text, once for all. A page is kept for a while, so that who takes longer finds it still;
who takes too long reads from the database by itself, until it is up to date again. Nothing is kept
for any single reader.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from broker_site.threads import in_thread
from headers.mongo import CatalogUnavailable
from headers.repositories import Run
from live.messages import Choice, written
from live.positions import Position
from live.reading import Page, read

log = structlog.get_logger(__name__)

SECONDS = 0.4
"""between two looks at a run"""
QUIET_SECONDS = 0.8
"""the same after a minute without news; a document is to be seen within a second all the same"""
QUIET_AFTER = 60.0
AWAY_SECONDS = 3.0
SHARE = 10
"""a look that takes long is followed by a pause this many times as long"""
KEPT_PAGES = 32
KEPT_ROWS = 1000
WOKEN_AT_ONCE = 25


class SharedPage:
    """A page, and its text for each choice that a reader has made."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._texts: dict[Choice, bytes] = {}

    def text(self, choice: Choice) -> bytes:
        if choice not in self._texts:
            self._texts[choice] = written(self.page, choice)
        return self._texts[choice]


class Channel:
    """The pages of one run, as they come."""

    def __init__(self) -> None:
        self.readers = 0
        self._pages: deque[SharedPage] = deque()
        self.next = 0
        """the number of the page that comes next"""
        self.is_broken = False
        """nothing will come any more; readers shall connect anew"""
        self._looking: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []

    def begin(self, run: Run, position: Position) -> None:
        """Looks for what comes behind the position of a reader that is up to date."""
        if self._looking is None:
            self._looking = asyncio.ensure_future(self._look_until_broken(run, position))

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

    async def _look_until_broken(self, run: Run, position: Position) -> None:
        try:
            await self._look(run, position)
        except Exception:
            log.exception("a run is not followed any more", run=run.uid)
            self.is_broken = True
            await self._wake()

    async def _look(self, run: Run, position: Position) -> None:
        """Reads on and on; ends with the run."""
        news = time.monotonic()
        while True:
            begin = time.monotonic()
            pause = QUIET_SECONDS if begin - news > QUIET_AFTER else SECONDS
            try:
                page = await in_thread(read, run, position)
            except CatalogUnavailable as error:
                log.warning("a followed run cannot be read", reason=str(error))
                await asyncio.sleep(AWAY_SECONDS)
                continue
            run, position = page.run, page.after
            if page.items:
                news = begin
                await self._publish(page)
            if position.stopped:
                return
            if page.is_last:
                await asyncio.sleep(max(pause, SHARE * (time.monotonic() - begin)))

    async def _publish(self, page: Page) -> None:
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
        self._open: dict[tuple[str, str | None], Channel] = {}

    @contextmanager
    def of(self, run: Run) -> Iterator[Channel]:
        """The channel of a run, which ends with its last reader."""
        key = (run.catalog.name, run.uid)
        channel = self._open.get(key) or self._open.setdefault(key, Channel())
        channel.readers += 1
        try:
            yield channel
        finally:
            channel.readers -= 1
            if not channel.readers:
                channel.end()
                self._open.pop(key, None)


channels = Channels()
