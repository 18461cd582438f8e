"""Documents as they were emitted, and files of runs: streams that go on where they broke."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from dbservice.arrays import numpy
from dbservice.errors import BrokerError, ConnectionLost
from dbservice.listing import cursor_of
from dbservice.wire import MSGPACK, TRIES, Request, Response, Steps, backoff, exchange

Document = tuple[str, dict[str, Any]]
LARGEST_DOCUMENT = 2**31 - 1
EVENTS = 1000
OUT_OF_RANGE = 416


class DocumentReader:
    """Documents out of the pieces of an answer; after a break, those not had yet.

    fill: arrays of files stand in the events.
    """

    def __init__(self, path: str, *, fill: bool) -> None:
        params = {"format": "msgpack"} | ({"fill": "true"} if fill else {})
        self.request = Request("GET", path, params, accept=MSGPACK, opened=True)
        self._fill = fill
        self._given = self._seen = self._breaks = 0
        self.begin()

    def begin(self) -> None:
        """Before each answer, which starts with the first document again."""
        import msgpack

        self._unpacker = msgpack.Unpacker(
            strict_map_key=False, max_buffer_size=LARGEST_DOCUMENT, unicode_errors="replace"
        )
        self._seen = 0

    def feed(self, chunk: bytes) -> Iterator[Document]:
        self._unpacker.feed(chunk)
        for name, document in self._unpacker:
            self._seen += 1
            if self._seen > self._given:
                self._given, self._breaks = self._seen, 0
                yield name, _filled(name, document) if self._fill else document

    def broken(self, error: ConnectionLost) -> float:
        """Seconds to wait before another try; raises the error when there were enough."""
        self._breaks += 1
        if self._breaks >= TRIES:
            raise error
        return backoff(self._breaks)


def _filled(name: str, document: dict[str, Any]) -> dict[str, Any]:
    if name != "event":
        return document
    data = {field: _array(value) for field, value in document["data"].items()}
    return {**document, "data": data}


def _array(value: Any) -> Any:
    """An array for {"shape", "dtype", "data": bytes}, which is how arrays are written."""
    if not (isinstance(value, Mapping) and isinstance(value.get("data"), bytes)):
        return value
    return numpy().frombuffer(value["data"], value["dtype"]).reshape(value["shape"])


def event_page(
    descriptors: list[str], cursor: str | None
) -> Steps[tuple[list[dict[str, Any]], str | None]]:
    """One page of the events of descriptors, and where the next one begins."""
    import msgpack

    params: dict[str, Any] = {"descriptor": descriptors, "format": "msgpack", "page_size": EVENTS}
    if cursor:
        params["cursor"] = cursor
    response = yield from exchange(Request("GET", "events/", params, accept=MSGPACK))
    content = msgpack.unpackb(response.content, strict_map_key=False)
    events = [{k: v for k, v in event.items() if k != "_links"} for event in content["results"]]
    return events, cursor_of(content)


class Download:
    """A file that is written while it comes, and goes on where it broke.

    What is there stands in `NAME.part`, with the ETag beside it, until it is whole: a later try
    goes on from there if the service still has the same.
    """

    def __init__(self, request: Request, target: str | os.PathLike[str]) -> None:
        self.target = Path(target)
        if not self.target.parent.is_dir():
            raise FileNotFoundError(
                errno.ENOENT, "There is no such folder", str(self.target.parent)
            )
        self._request = replace(request, opened=True, accept="*/*")
        self._part = Path(f"{self.target}.part")
        self._mark = Path(f"{self.target}.part.etag")
        self._breaks = 0

    @property
    def request(self) -> Request:
        """What to ask for now: the rest, or all of it."""
        etag, size = self._had()
        if not size:
            return self._request
        return replace(self._request, headers={"Range": f"bytes={size}-", "If-Range": etag})

    def begin(self, response: Response) -> IO[bytes]:
        """The file to write the pieces of an answer into."""
        etag, size = self._had()
        match = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
        if response.status == 206 and match and int(match[1]) == size:
            return self._part.open("ab")
        self._mark.unlink(missing_ok=True)
        self._part.unlink(missing_ok=True)
        etag = response.headers.get("etag", "")
        if etag.startswith('"') and "content-encoding" not in response.headers:
            self._mark.write_text(etag)
        return self._part.open("wb")

    def broken(self, error: ConnectionLost, came: int) -> float:
        """Seconds to wait before another try; raises the error when there were enough."""
        resumed = came and self._had()[1]
        self._breaks = 1 if resumed else self._breaks + 1
        if self._breaks >= TRIES:
            raise error
        return backoff(self._breaks)

    def refused(self, error: BrokerError) -> None:
        """Begins anew if what is there cannot go on (416); raises any other error."""
        if error.status != OUT_OF_RANGE or not self._had()[1]:
            raise error
        self._mark.unlink(missing_ok=True)

    def finish(self) -> Path:
        os.replace(self._part, self.target)
        self._mark.unlink(missing_ok=True)
        return self.target

    def _had(self) -> tuple[str, int]:
        try:
            return self._mark.read_text(), self._part.stat().st_size
        except OSError:
            return "", 0


def format_of(target: str | os.PathLike[str], formats: Mapping[str, str]) -> str:
    """The service's name of the format that a file's name asks for."""
    suffix = Path(target).suffix.lower()
    if suffix not in formats:
        raise ValueError(f"{suffix or 'no suffix'}: files are named {', '.join(formats)}")
    return formats[suffix]


RUN_FORMATS = {".h5": "h5", ".hdf5": "h5", ".nxs": "h5", ".ndjson": "ndjson", ".jsonl": "ndjson"}
TABLE_FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".msgpack": "msgpack",
}
