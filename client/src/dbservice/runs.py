"""The client: databases, lists of runs, runs, streams and arrays."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, overload

from dbservice import following, listing, notebook, reading, tables
from dbservice.documents import (
    RUN_FORMATS,
    TABLE_FORMATS,
    Document,
    DocumentReader,
    Download,
    event_page,
    format_of,
)
from dbservice.errors import BrokerError, ConnectionLost, MissingExtra, NotFound
from dbservice.facts import RunFacts, StreamFacts, stream_with
from dbservice.listing import Header
from dbservice.progress import bar
from dbservice.query import Selection
from dbservice.remote import Array
from dbservice.session import Options, Session, server_of
from dbservice.tokens import TokenStore
from dbservice.wire import Request, Response, exchange, together

if TYPE_CHECKING:
    from pathlib import Path

    from dbservice.writing import Writer

URL_VARIABLE = "DBSERVICE_URL"
DEFAULT_COLUMNS = ("scan_id", "time", "plan_name", "stop.exit_status", "uid")


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
    """The runs of a service that you may read. Signs in when it is first asked for something.

    Parameters
    ----------
    url : the address of the service; None for $DBSERVICE_URL or where you signed in last
    catalog : only runs of this one
    token : an API token, for jobs; or set $DBSERVICE_TOKEN
    user : whose kept session to use, where there are several
    anonymous : sign nobody in: public runs only
    timezone : of times in tables, such as "America/New_York"; None for that of this computer
    progress : whether reads of more than two seconds show a bar (never in scripts and logs)
    cache : keep slices and tables of complete runs on disk, up to a size such as "1GB"
    headers : sent along with every request
    timeout : seconds to wait for the next byte
    """
    options = Options(
        address(url), user, anonymous, timezone, progress, cache=cache, timeout=timeout
    )
    session = Session(options, token, dict(headers or {}))
    return Database(session, Selection({} if catalog is None else {"catalog": catalog}))


def address(url: str | None) -> str:
    """The server that a url, or what is remembered, names."""
    url = url or os.environ.get(URL_VARIABLE) or TokenStore().last_server()
    if not url:
        raise ValueError(
            f"Which service? Give its address, connect('https://broker.example.org'), or set"
            f" ${URL_VARIABLE}."
        )
    return server_of(url)


class Runs:
    """Runs, newest first: nothing is asked for until they are used.

    `runs[-1]` is the newest, `runs[1234]` the newest of this scan number, `runs["9c1f3a2b"]` by the
    beginning of its uid; `runs[-5:]` and `runs[[1234, "9c1f3", -2]]` are lists.
    """

    def __init__(self, session: Session, selection: Selection) -> None:
        self._session = session
        self._selection = selection

    def search(self, what: str | Mapping[str, Any] | None = None, **conditions: Any) -> Runs:
        """Those of these runs for which everything holds that is given.

        what: words to be found, or a query: {"$or": [{"sample.name": "LaB6"}, …]}.
        conditions: since, until, plan_name, scan_id, exit_status, … or a path with `__` for each
        dot, and an operator: num_points__gte=50, sample__name="LaB6", stop__reason__regex="beam".
        """
        return Runs(self._session, self._selection.narrowed(what, conditions))

    __call__ = search

    @overload
    def __getitem__(self, key: int | str) -> Run: ...
    @overload
    def __getitem__(self, key: slice | list[Any] | tuple[Any, ...]) -> list[Run]: ...
    def __getitem__(self, key: Any) -> Run | list[Run]:
        if isinstance(key, slice):
            length, chosen = listing.span(key)
            return self.last(length)[chosen]
        if isinstance(key, (list, tuple)):
            steps = [listing.find(self._selection, item) for item in key]
            return [self._run(header) for header in self._session.do(together(steps))]
        return self._run(self._session.do(listing.find(self._selection, key)))

    def __contains__(self, key: object) -> bool:
        if isinstance(key, RunFacts):
            key = key.uid
        try:
            self._session.do(listing.find(self._selection, key))
        except NotFound:
            return False
        return True

    def __iter__(self) -> Iterator[Run]:
        ahead = self._session.ahead(listing.page(self._selection))
        while True:
            page = ahead.result()
            if page.cursor:  # while these are used, the next ones come
                ahead = self._session.ahead(listing.page(self._selection, page.cursor))
            for header in page.headers:
                yield self._run(header)
            if not page.cursor:
                return

    def __len__(self) -> int:
        return self.count()

    def count(self) -> int:
        return self._session.do(listing.count(self._selection))

    @overload
    def last(self, count: None = None) -> Run: ...
    @overload
    def last(self, count: int) -> list[Run]: ...
    def last(self, count: int | None = None) -> Run | list[Run]:
        """The newest run; of a count, that many, newest first."""
        return self._ends(count, oldest_first=False)

    @overload
    def first(self, count: None = None) -> Run: ...
    @overload
    def first(self, count: int) -> list[Run]: ...
    def first(self, count: int | None = None) -> Run | list[Run]:
        """The oldest run; of a count, that many, oldest first."""
        return self._ends(count, oldest_first=True)

    def _ends(self, count: int | None, *, oldest_first: bool) -> Run | list[Run]:
        ordered = replace(self._selection, oldest_first=oldest_first)
        if count is None:
            return self._run(self._session.do(listing.only(ordered)))
        return [self._run(h) for h in self._session.do(listing.newest(ordered, count))]

    def next(self, timeout: float | None = None) -> Run:
        """The next of these runs that begins, as soon as it does.

        timeout: seconds after which TimeoutError is raised.
        """
        begun = _followed(self._session, following.of_runs(self._selection.params, timeout))
        return next(self._run(header) for _, header in begun if header["stop"] is None)

    def follow(self, *, timeout: float | None = None, **conditions: Any) -> Iterator[Document]:
        """The documents of the next run that begins, as they come: `db.follow(plan_name="scan")`.

        conditions: as of `search`. timeout: seconds without news until TimeoutError.
        """
        return self.search(**conditions).next(timeout).follow(timeout=timeout)

    def table(self, *columns: str, limit: int | None = 1000) -> Any:
        """A DataFrame of the newest runs: one request for a thousand.

        columns: paths: `scan_id`, `sample.name` of the start document, `stop.exit_status`, `uid`,
        `catalog`, `proposal`.
        """
        names = columns or DEFAULT_COLUMNS
        rows = self.records(*names, limit=limit)
        return tables.runs_frame(rows, names, self._session.options.timezone)

    def records(self, *columns: str, limit: int | None = 1000) -> list[dict[str, Any]]:
        """The same as dictionaries, without pandas; times are epoch seconds."""
        names = columns or DEFAULT_COLUMNS
        steps = listing.projected(self._selection, listing.fields_of(names), limit)
        return listing.records(self._session.do(steps), names)

    def values(self, *paths: str) -> Any:
        """Which values there are of a path, with how many runs have each; of several, by path."""
        found = self._session.do(listing.values(self._selection, paths))
        return found[paths[0]] if len(paths) == 1 else found

    def _run(self, header: Header) -> Run:
        return Run(self._session, header)

    def __repr__(self) -> str:
        chosen = str(self._selection)
        return f"<Runs of {self._session.options.server}{': ' if chosen else ''}{chosen}>"

    def _repr_html_(self) -> str:
        headers = self._session.do(listing.newest(self._selection, notebook.ROWS))
        return notebook.runs_html(headers, self.count())


class Database(Runs):
    """All runs that you may read, and who you are."""

    def __bool__(self) -> bool:
        return True

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    @property
    def server(self) -> str:
        """Its address."""
        return self._session.options.server

    @property
    def headers(self) -> dict[str, str]:
        """Sent along with every request; yours to change."""
        return self._session.headers

    def login(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        device: bool = False,
        remember: bool = True,
    ) -> None:
        """Signs in; asks for what is not given.

        device: in the browser, as sign-on of the institution and second factors need it.
        remember: False on machines that others use: nothing is kept when this ends.
        """
        self._session.auth.login(username, password, device=device, remember=remember)

    def logout(self) -> None:
        """Ends the session, here and at the service."""
        self._session.auth.logout()

    def whoami(self) -> dict[str, Any]:
        """User, roles, proposals and beamlines, as the service knows them."""
        answer = self._session.do(exchange(Request("GET", "auth/whoami/")))
        who: dict[str, Any] = answer.json()
        return who

    def writer(
        self,
        catalog: str,
        *,
        token: str | None = None,
        on_failure: Literal["raise", "log"] = "raise",
    ) -> Writer:
        """Sends the documents of runs to a catalog: `RE.subscribe(db.writer("csx"))`

        They are on disk before anything else. A run that the service refuses is kept, too, and
        told of at the next start; on_failure="log" only logs it.

        token: an API token of the scope write:documents; None for that of this client.
        """
        from dbservice.writing import Writer

        session = self._session
        if token is not None:
            session = Session(session.options, token, session.headers)
        return Writer(session, catalog, on_failure=on_failure)

    def tiled(self) -> Any:
        """The same runs in Tiled's client, signed in as the same user: for code that needs it."""
        try:
            from tiled.client import from_uri
        except ImportError:
            raise MissingExtra("tiled", "tiled") from None
        session = self._session
        if session.auth.is_given or session.auth.anonymous:
            key = session.auth.token()
        else:
            key = session.lent("tiled", lambda: session.do(reading.tiled_token()))
        return from_uri(f"{session.options.server}/api/v1", api_key=key)

    def close(self) -> None:
        self._session.close()

    def __repr__(self) -> str:
        return super().__repr__().replace("<Runs of", "<Database at")


class Run(RunFacts):
    """A run. Streams are attributes: `run.primary`; what is in files is read when it is used."""

    def __init__(self, session: Session, header: Header | None, uid: str = "") -> None:
        super().__init__(header or {"uid": uid}, session.options.server)
        self._session = session
        self._streams: dict[str, Stream] | None = None
        self._plotted = ""

    @property
    def _header(self) -> Header:
        if "start" not in self._known:
            self._known = self._session.do(listing.detail(self._known["uid"]))
        return self._known

    def reload(self) -> Run:
        """Asks anew, as for a run that is still open."""
        self._known = self._session.do(listing.detail(self.uid))
        self._streams = None
        return self

    @property
    def descriptors(self) -> list[dict[str, Any]]:
        return list(self._whole()["descriptors"])

    @property
    def streams(self) -> dict[str, Stream]:
        """By name."""
        if self._streams is None:
            whole = self._whole()
            made = [Stream(self, about, whole["descriptors"]) for about in whole["streams"]]
            self._streams = {stream.name: stream for stream in made}
        return self._streams

    @property
    def stream_names(self) -> list[str]:
        return list(self.streams)

    def _whole(self) -> Header:
        if not self.is_loaded:
            self.reload()
        return self._known

    def __getitem__(self, name: str) -> Stream:
        if name not in self.streams:
            known = ", ".join(self.streams) or "none yet"
            still = " The run is still open: run.reload() asks anew." if not self.stop else ""
            raise NotFound(f"The run has no stream {name}; there are {known}.{still}")
        return self.streams[name]

    def __getattr__(self, name: str) -> Stream:
        if name.startswith("_"):  # what notebooks and copy look for
            raise AttributeError(name)
        try:
            return self[name]
        except NotFound as error:
            raise AttributeError(error.detail) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(self.streams if self.is_loaded else ())]

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.streams) if self.is_loaded else []

    def __iter__(self) -> Iterator[str]:
        return iter(self.streams)

    def table(
        self,
        stream: str = "primary",
        fields: Sequence[str] | None = None,
        *,
        times: bool = False,
        fill: bool = False,
        timezone: str | None = None,
    ) -> Any:
        """A DataFrame of a stream: index `seq_num`, `time` localised, a column a field.

        fields: only these. times: adds `ts_…`, when each value was taken. What is kept in files
        is left out, unless it is named in fields or fill is true: then all of it is loaded.
        """
        return self[stream].table(fields, times=times, fill=fill, timezone=timezone)

    def read(self, stream: str = "primary", fields: Sequence[str] | None = None) -> Any:
        """An xarray Dataset along `time`; scanned motors are coordinates, units are attributes.

        With dask installed, what is kept in files is lazy.
        """
        return self[stream].read(fields)

    xarray = read

    def data(self, field: str, stream: str | None = None) -> Any:
        """A field of all events as an Array, of whichever stream has it."""
        return self[stream or stream_with(self.streams, field)].data(field)

    def fields(self, stream: str | None = None) -> list[str]:
        chosen = self.streams.values() if stream is None else [self[stream]]
        return list(dict.fromkeys(name for one in chosen for name in one.fields()))

    def devices(self, stream: str | None = None) -> list[str]:
        chosen = self.streams.values() if stream is None else [self[stream]]
        return list(dict.fromkeys(name for one in chosen for name in one.devices()))

    def config(self, device: str, stream: str = "primary") -> dict[str, Any]:
        """The configuration of a device."""
        return self[stream].config(device)

    def config_data(self, device: str) -> dict[str, list[dict[str, Any]]]:
        """By stream, the configuration of a device in each descriptor."""
        found = {name: stream.configurations(device) for name, stream in self.streams.items()}
        return {name: recorded for name, recorded in found.items() if recorded}

    def documents(self, fill: bool = False) -> Iterator[Document]:
        """(name, document) of all that was emitted, in order: `for item in …: callback(*item)`."""
        reader = DocumentReader(self._path("documents"), fill=fill)
        while True:
            reader.begin()
            try:
                for chunk in self._session.chunks(reader.request):
                    yield from reader.feed(chunk)
                return
            except ConnectionLost as error:
                time.sleep(reader.broken(error))

    def follow(
        self,
        fields: Sequence[str] | None = None,
        streams: Sequence[str] | None = None,
        *,
        new: bool = False,
        timeout: float | None = None,
    ) -> Iterator[Document]:
        """The documents as they come: `for item in run.follow(): callback(*item)`, until the stop.

        fields, streams: of events, only these. new: without the events that are there already.
        timeout: seconds without news after which TimeoutError is raised.
        """
        path = self._path("documents")
        return _followed(self._session, following.of_run(path, fields, streams, new, timeout))

    def events(self, stream: str = "primary") -> Iterator[dict[str, Any]]:
        """The event documents of a stream, by time."""
        return self[stream].events()

    def export(self, target: str | os.PathLike[str]) -> Path:
        """The run as one file: .h5 (NeXus) or .ndjson (documents). Goes on where it broke."""
        params = {"format": format_of(target, RUN_FORMATS)}
        return _download(self._session, Request("GET", self._path("export"), params), target)

    def _repr_html_(self) -> str:
        return notebook.run_html(self, self._counts(), self._plotted)

    def _counts(self) -> dict[str, Any]:
        """Events by stream, as far as it is known without asking."""
        if self.is_loaded:
            return {name: stream.event_count for name, stream in self.streams.items()}
        return dict((self.stop or {}).get("num_events") or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return Run, (self._session, None, self.uid)


class Stream(StreamFacts):
    """The events of a run that have the same fields. `stream["theta"]` is an Array."""

    _run: Run

    @property
    def _session(self) -> Session:
        return self._run._session

    def __getitem__(self, field: str) -> Any:
        return self.data(field)

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields())

    def _ipython_key_completions_(self) -> list[str]:
        return self.fields()

    def table(
        self,
        fields: Sequence[str] | None = None,
        *,
        times: bool = False,
        fill: bool = False,
        timezone: str | None = None,
    ) -> Any:
        """A DataFrame, see Run.table."""
        inline, external = reading.split(self, self.chosen(fields))
        response = self._columns(inline, stamps=times)
        zone = timezone or self._session.options.timezone
        table = tables.frame(response, inline, stamps=times, timezone=zone)
        if external and (fill or fields is not None):
            found = self._session.do(reading.extents(self, external))
            whole = {name: Array(self, name, extent)[...] for name, extent in found.items()}
            return reading.with_frames(table, whole)
        self._run._plotted = self._plot(table) or self._run._plotted
        return table

    def read(self, fields: Sequence[str] | None = None) -> Any:
        """An xarray Dataset, see Run.read."""
        tables.xarray()
        inline, external = reading.split(self, self.chosen(fields))
        motors = tables.motors_of(self._run.start, self.name, self.inline())
        response = self._columns(list(dict.fromkeys(inline + motors)))
        found = self._session.do(reading.extents(self, external))
        frames = {name: Array(self, name, extent) for name, extent in found.items()}
        lazy = tables.has("dask")
        arrays = {name: a.dask() if lazy else a[...] for name, a in frames.items()}
        return reading.dataset(self._run, self, response, arrays)

    xarray = read

    def data(self, field: str) -> Any:
        """A field of all events as an Array; of texts, as an array of objects in memory."""
        if not self.is_text(field):
            return Array(self, field)
        return reading.column(self._session.do(reading.columns(self, [field])), field)

    def events(self) -> Iterator[dict[str, Any]]:
        """The event documents by time, the next page fetched ahead."""
        descriptors = self._about["descriptors"]
        ahead = self._session.ahead(event_page(descriptors, None))
        while True:
            events, cursor = ahead.result()
            if cursor:
                ahead = self._session.ahead(event_page(descriptors, cursor))
            yield from events
            if not cursor:
                return

    def export(self, target: str | os.PathLike[str]) -> Path:
        """The table as a file: .parquet, .csv, .arrow, .json, .ndjson or .msgpack."""
        params = {"format": format_of(target, TABLE_FORMATS)}
        return _download(self._session, Request("GET", self._path("table"), params), target)

    def _columns(self, fields: Sequence[str], *, stamps: bool = False) -> Response:
        with bar(None, self.name, wanted=self._session.options.progress) as meter:
            return self._session.do(reading.columns(self, fields, stamps=stamps, meter=meter))

    def _plot(self, table: Any) -> str:
        """A thumbnail of the first hinted number over the scanned motor."""
        numbers = [name for name in table.columns if table[name].dtype.kind in "iuf"]
        motors = tables.motors_of(self._run.start, self.name, numbers)
        signals = [n for n in [*self.hinted(), *numbers] if n in numbers and n not in motors]
        if not signals or len(motors) > 1:
            return ""
        x = motors[0] if motors else None
        some = table.iloc[:: max(1, len(table) // notebook.POINTS)]
        xs = some[x] if x else some.index
        label = f"{signals[0]} over {x or 'events'}"
        return notebook.thumbnail(map(float, xs), map(float, some[signals[0]]), label)


def _followed(session: Session, follower: following.Follower) -> Iterator[Any]:
    while not follower.ended:
        try:
            response = session.do(exchange(follower.request))
            follower.begin(response)
            with closing(response.chunks) as chunks:
                for chunk in chunks:
                    yield from follower.feed(chunk)
            time.sleep(follower.pause())
        except BrokerError as error:
            time.sleep(follower.broken(error))


def _download(session: Session, request: Request, target: str | os.PathLike[str]) -> Path:
    download = Download(request, target)
    with bar(None, download.target.name, wanted=session.options.progress) as meter:
        while True:
            came = 0
            try:
                response = session.do(exchange(download.request))
                with download.begin(response) as file:
                    for chunk in response.chunks:
                        came += file.write(chunk)
                        meter(len(chunk))
                return download.finish()
            except ConnectionLost as error:
                time.sleep(download.broken(error, came))
            except BrokerError as error:
                download.refused(error)


def stack(
    runs: Sequence[Run],
    by: str,
    stream: str = "primary",
    fields: Sequence[str] | None = None,
) -> Any:
    """Several runs as one Dataset along a dimension of their metadata, such as "sample.name".

    Events are aligned by `seq_num`; what shorter runs lack is NaN.
    """
    xr, pd = tables.xarray(), tables.pandas()
    path = [by] if by in listing.OF_RUN else listing.column_path(by).split(".")
    values = [listing.value_at({**run.metadata, **run._known}, path) for run in runs]
    parts = [_by_number(run.read(stream, fields)) for run in runs]
    return xr.concat(parts, pd.Index(values, name=by.replace(".", "_")), join="outer")


def _by_number(data: Any) -> Any:
    """Along seq_num instead of time, which differs between runs."""
    others = [name for name in data.indexes if name != "time"]
    plain = data.drop_indexes(others) if others else data
    return plain.reset_coords(others).swap_dims(time="seq_num").reset_coords("time")
