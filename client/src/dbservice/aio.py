"""The client for asyncio: the same names, awaited.

>>> from dbservice.aio import connect
>>> async with connect("https://broker.example.org") as db:
...     run = await db[-1]
...     table = await run.table()
...     async for run in db.search(plan_name="scan"):
...         print(run)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from dbservice import arrays, following, listing, notebook, reading, tables
from dbservice.arrays import Extent
from dbservice.documents import (
    RUN_FORMATS,
    TABLE_FORMATS,
    Document,
    DocumentReader,
    Download,
    event_page,
    format_of,
)
from dbservice.errors import BrokerError, ConnectionLost, NotFound
from dbservice.facts import RunFacts, StreamFacts, stream_with
from dbservice.listing import Header
from dbservice.progress import bar
from dbservice.query import Selection
from dbservice.runs import DEFAULT_COLUMNS, address
from dbservice.session import AsyncSession, Options
from dbservice.wire import Request, exchange, together

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def connect(
    url: str | None = None,
    *,
    catalog: str | None = None,
    token: str | None = None,
    user: str | None = None,
    anonymous: bool = False,
    timezone: str | None = None,
    progress: bool = True,
    cache: str | int | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Database:
    """As `dbservice.connect`."""
    options = Options(
        address(url), user, anonymous, timezone, progress, cache=cache, timeout=timeout
    )
    session = AsyncSession(options, token, dict(headers or {}))
    return Database(session, Selection({} if catalog is None else {"catalog": catalog}))


class Runs:
    """Runs, newest first: `await runs[-1]`, `async for run in runs`."""

    def __init__(self, session: AsyncSession, selection: Selection) -> None:
        self._session = session
        self._selection = selection

    def search(self, what: str | Mapping[str, Any] | None = None, **conditions: Any) -> Runs:
        """Those of these runs for which everything holds that is given; as the blocking one."""
        return Runs(self._session, self._selection.narrowed(what, conditions))

    __call__ = search

    @overload
    def __getitem__(self, key: int | str) -> Awaitable[Run]: ...
    @overload
    def __getitem__(self, key: slice | list[Any] | tuple[Any, ...]) -> Awaitable[list[Run]]: ...
    def __getitem__(self, key: Any) -> Awaitable[Run] | Awaitable[list[Run]]:
        if isinstance(key, (slice, list, tuple)):
            return self._several(key)
        return self._one(key)

    async def _one(self, key: object) -> Run:
        return self._run(await self._session.do(listing.find(self._selection, key)))

    async def _several(self, key: slice | Sequence[Any]) -> list[Run]:
        if isinstance(key, slice):
            length, chosen = listing.span(key)
            return (await self.last(length))[chosen]
        steps = [listing.find(self._selection, item) for item in key]
        return [self._run(header) for header in await self._session.do(together(steps))]

    async def __aiter__(self) -> AsyncIterator[Run]:
        ahead = asyncio.ensure_future(self._session.do(listing.page(self._selection)))
        try:
            while True:
                page = await ahead
                if page.cursor:  # while these are used, the next ones come
                    steps = listing.page(self._selection, page.cursor)
                    ahead = asyncio.ensure_future(self._session.do(steps))
                for header in page.headers:
                    yield self._run(header)
                if not page.cursor:
                    return
        finally:
            ahead.cancel()

    async def count(self) -> int:
        return await self._session.do(listing.count(self._selection))

    @overload
    async def last(self, count: None = None) -> Run: ...
    @overload
    async def last(self, count: int) -> list[Run]: ...
    async def last(self, count: int | None = None) -> Run | list[Run]:
        """The newest run; of a count, that many, newest first."""
        return await self._ends(count, oldest_first=False)

    @overload
    async def first(self, count: None = None) -> Run: ...
    @overload
    async def first(self, count: int) -> list[Run]: ...
    async def first(self, count: int | None = None) -> Run | list[Run]:
        """The oldest run; of a count, that many, oldest first."""
        return await self._ends(count, oldest_first=True)

    async def _ends(self, count: int | None, *, oldest_first: bool) -> Run | list[Run]:
        ordered = replace(self._selection, oldest_first=oldest_first)
        if count is None:
            return self._run(await self._session.do(listing.only(ordered)))
        return [self._run(h) for h in await self._session.do(listing.newest(ordered, count))]

    async def next(self, timeout: float | None = None) -> Run:
        """The next of these runs that begins, as soon as it does."""
        follower = following.of_runs(self._selection.params, timeout)
        async with aclosing(_followed(self._session, follower)) as begun:
            async for _, header in begun:
                if header["stop"] is None:
                    return self._run(header)
        raise NotFound("There will be no more runs.")

    async def follow(
        self, *, timeout: float | None = None, **conditions: Any
    ) -> AsyncIterator[Document]:
        """The documents of the next run that begins, as they come."""
        run = await self.search(**conditions).next(timeout)
        async for item in run.follow(timeout=timeout):
            yield item

    async def table(self, *columns: str, limit: int | None = 1000) -> Any:
        """A DataFrame of the newest runs."""
        names = columns or DEFAULT_COLUMNS
        steps = listing.projected(self._selection, listing.fields_of(names), limit)
        records = listing.records(await self._session.do(steps), names)
        return tables.runs_frame(records, names, self._session.options.timezone)

    async def values(self, *paths: str) -> Any:
        """Which values there are of a path, with how many runs have each; of several, by path."""
        found = await self._session.do(listing.values(self._selection, paths))
        return found[paths[0]] if len(paths) == 1 else found

    def _run(self, header: Header) -> Run:
        return Run(self._session, header)

    def __repr__(self) -> str:
        chosen = str(self._selection)
        return f"<Runs of {self._session.options.server}{': ' if chosen else ''}{chosen}>"


class Database(Runs):
    """All runs that you may read, and who you are."""

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(self, *problem: object) -> None:
        await self.close()

    @property
    def headers(self) -> dict[str, str]:
        """Sent along with every request; yours to change."""
        return self._session.headers

    async def login(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        device: bool = False,
        remember: bool = True,
    ) -> None:
        """Signs in; asks for what is not given."""
        login = self._session.auth.login
        await asyncio.to_thread(login, username, password, device=device, remember=remember)

    async def logout(self) -> None:
        """Ends the session, here and at the service."""
        await asyncio.to_thread(self._session.auth.logout)

    async def whoami(self) -> dict[str, Any]:
        """User, roles, proposals and beamlines, as the service knows them."""
        answer = await self._session.do(exchange(Request("GET", "auth/whoami/")))
        who: dict[str, Any] = answer.json()
        return who

    async def close(self) -> None:
        await self._session.close()


class Run(RunFacts):
    """A run. `await run.load()` brings its streams, if it came out of a list."""

    def __init__(self, session: AsyncSession, header: Header) -> None:
        super().__init__(header, session.options.server)
        self._session = session

    async def load(self) -> Run:
        """Descriptors and streams, if they are not in hand."""
        return self if self.is_loaded else await self.reload()

    async def reload(self) -> Run:
        """Asks anew, as for a run that is still open."""
        self._known = await self._session.do(listing.detail(self.uid))
        return self

    @property
    def streams(self) -> dict[str, Stream]:
        """By name; of a run that is loaded."""
        if not self.is_loaded:
            raise RuntimeError("The streams are not in hand: await run.load() first.")
        descriptors = self._known["descriptors"]
        made = [Stream(self, about, descriptors) for about in self._known["streams"]]
        return {stream.name: stream for stream in made}

    def __getitem__(self, name: str) -> Stream:
        if name not in self.streams:
            known = ", ".join(self.streams) or "none yet"
            raise NotFound(f"The run has no stream {name}; there are {known}.")
        return self.streams[name]

    async def stream(self, name: str = "primary") -> Stream:
        return (await self.load())[name]

    async def table(
        self, stream: str = "primary", fields: Sequence[str] | None = None, **options: Any
    ) -> Any:
        """A DataFrame of a stream."""
        return await (await self.stream(stream)).table(fields, **options)

    async def read(self, stream: str = "primary", fields: Sequence[str] | None = None) -> Any:
        """An xarray Dataset of a stream, all of it in memory."""
        return await (await self.stream(stream)).read(fields)

    async def data(self, field: str, stream: str | None = None) -> Any:
        """A field of all events as an Array; of texts, as an array of objects in memory."""
        streams = (await self.load()).streams
        return await streams[stream or stream_with(streams, field)].data(field)

    async def documents(self, fill: bool = False) -> AsyncIterator[Document]:
        """(name, document) of all that was emitted, in order."""
        reader = DocumentReader(self._path("documents"), fill=fill)
        while True:
            reader.begin()
            try:
                response = await self._session.do(exchange(reader.request))
                async for chunk in response.chunks:
                    for item in reader.feed(chunk):
                        yield item
                return
            except ConnectionLost as error:
                await asyncio.sleep(reader.broken(error))

    def follow(
        self,
        fields: Sequence[str] | None = None,
        streams: Sequence[str] | None = None,
        *,
        new: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Document]:
        """The documents as they come, until the stop; as the blocking one."""
        path = self._path("documents")
        return _followed(self._session, following.of_run(path, fields, streams, new, timeout))

    async def events(self, stream: str = "primary") -> AsyncIterator[dict[str, Any]]:
        """The event documents of a stream, by time."""
        descriptors = (await self.stream(stream))._about["descriptors"]
        cursor: str | None = None
        while True:
            events, cursor = await self._session.do(event_page(descriptors, cursor))
            for event in events:
                yield event
            if not cursor:
                return

    async def export(self, target: str | os.PathLike[str]) -> Path:
        """The run as one file: .h5 (NeXus) or .ndjson (documents). Goes on where it broke."""
        params = {"format": format_of(target, RUN_FORMATS)}
        return await _download(self._session, Request("GET", self._path("export"), params), target)


class Stream(StreamFacts):
    """The events of a run that have the same fields."""

    _run: Run

    @property
    def _session(self) -> AsyncSession:
        return self._run._session

    async def table(
        self,
        fields: Sequence[str] | None = None,
        *,
        times: bool = False,
        fill: bool = False,
        timezone: str | None = None,
    ) -> Any:
        """A DataFrame, as that of the blocking client."""
        inline, external = reading.split(self, self.chosen(fields))
        response = await self._session.do(reading.columns(self, inline, stamps=times))
        zone = timezone or self._session.options.timezone
        table = tables.frame(response, inline, stamps=times, timezone=zone)
        if external and (fill or fields is not None):
            return reading.with_frames(table, await self._frames(external))
        return table

    async def read(self, fields: Sequence[str] | None = None) -> Any:
        """An xarray Dataset, all of it in memory."""
        tables.xarray()
        inline, external = reading.split(self, self.chosen(fields))
        motors = tables.motors_of(self._run.start, self.name, self.inline())
        columns = reading.columns(self, list(dict.fromkeys(inline + motors)))
        response = await self._session.do(columns)
        return reading.dataset(self._run, self, response, await self._frames(external))

    async def data(self, field: str) -> Any:
        """A field of all events as an Array; of texts, as an array of objects in memory."""
        if self.is_text(field):
            return reading.column(await self._session.do(reading.columns(self, [field])), field)
        path = reading.array_path(self, field)
        return Array(self._session, path, field, await self._session.do(arrays.extent(path)))

    async def show(self, field: str, frame: int | None = 0, **options: Any) -> notebook.Picture:
        """The service's picture of a frame."""
        steps = reading.picture(self, field, frame, options)
        return notebook.Picture(await self._session.do(steps))

    async def export(self, target: str | os.PathLike[str]) -> Path:
        """The table as a file: .parquet, .csv, .arrow, .json, .ndjson or .msgpack."""
        params = {"format": format_of(target, TABLE_FORMATS)}
        return await _download(self._session, Request("GET", self._path("table"), params), target)

    async def _frames(self, fields: Sequence[str]) -> dict[str, NDArray[Any]]:
        found = await self._session.do(reading.extents(self, fields))
        made = {
            name: Array(self._session, reading.array_path(self, name), name, extent)
            for name, extent in found.items()
        }
        return {name: await array[...] for name, array in made.items()}


class Array:
    """An array at the service: `await array[3, :, ::4]`. The first axis is the event."""

    def __init__(self, session: AsyncSession, path: str, name: str, extent: Extent) -> None:
        self._session = session
        self._path = path
        self._extent = extent
        self.name = name

    @property
    def shape(self) -> tuple[int, ...]:
        return self._extent.shape

    @property
    def dtype(self) -> Any:
        return arrays.numpy().dtype(self._extent.dtype)

    @property
    def nbytes(self) -> int:
        return self._extent.nbytes

    def __len__(self) -> int:
        return self.shape[0]

    async def __getitem__(self, index: object) -> Any:
        with bar(None, self.name, wanted=self._session.options.progress) as meter:
            steps = arrays.read(self._path, self._extent, index, meter)
            values = await self._session.do(steps)
        return values if values.ndim else values[()]

    def __repr__(self) -> str:
        return f"<Array {self.name} {self._extent.dtype} {list(self._extent.shape)}>"


async def _download(
    session: AsyncSession, request: Request, target: str | os.PathLike[str]
) -> Path:
    download = Download(request, target)
    while True:
        came = 0
        try:
            response = await session.do(exchange(download.request))
            with download.begin(response) as file:
                async for chunk in response.chunks:
                    came += file.write(chunk)
            return download.finish()
        except ConnectionLost as error:
            await asyncio.sleep(download.broken(error, came))
        except BrokerError as error:
            download.refused(error)


async def _followed(
    session: AsyncSession, follower: following.Follower
) -> AsyncGenerator[Any, None]:
    while not follower.ended:
        try:
            response = await session.do(exchange(follower.request))
            follower.begin(response)
            async with aclosing(response.chunks) as chunks:
                async for chunk in chunks:
                    for item in follower.feed(chunk):
                        yield item
            await asyncio.sleep(follower.pause())
        except BrokerError as error:
            await asyncio.sleep(follower.broken(error))
