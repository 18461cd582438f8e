"""What is new as it comes: server-sent events, gone on with behind the last one after a break.

Where the service's process for live streams is missing, the same is asked for again and again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dbservice.errors import BrokerError, ConnectionLost, NotFound
from dbservice.wire import PASSING, TRIES, Request, Response, backoff

EVENT_STREAM = "text/event-stream"
POLL_SECONDS = 1.0
LONGEST_PAUSE = 30.0
NO_CONTENT = 204
AWAY = frozenset({502, 503, 504})
"""statuses by which the service, or what is in front of it, says that there are no streams here"""
Item = tuple[str, Any]


class Follower:
    """Follows an address: what to ask for, and what comes of the pieces of the answers.

    timeout: seconds without news after which TimeoutError is raised; None: never.
    """

    def __init__(self, path: str, params: Mapping[str, Any], timeout: float | None = None) -> None:
        self._path = path
        self._params = dict(params)
        self._timeout = timeout
        self._news = time.monotonic()
        self._id = ""
        self._polls = self._connected = False
        self._failures = 0
        self._waiting = b""
        self.ended = False
        """there will be no more"""

    @property
    def request(self) -> Request:
        """What to ask for now."""
        params = dict(self._params)
        headers = {"Last-Event-ID": self._id} if self._id and not self._polls else {}
        if self._polls:
            params.pop("follow", None)
            params["after"] = self._id
            if self._id:
                params.pop("from", None)
        return Request(
            "GET",
            self._path,
            params,
            accept=EVENT_STREAM,
            headers=headers,
            opened=True,
            tries=1,
            silence=self._timeout,
        )

    def begin(self, response: Response) -> None:
        """An answer has begun; what was half there comes again."""
        self._connected, self._waiting = True, b""
        self.ended = response.status == NO_CONTENT

    def feed(self, chunk: bytes) -> Iterator[Item]:
        """Documents and the like that are complete now: (name, content)."""
        *blocks, self._waiting = (self._waiting + chunk).split(b"\n\n")
        for block in blocks:
            yield from self._items(block.decode())
        self._check_time()

    def pause(self) -> float:
        """Seconds until the next request, after an answer that ended by itself."""
        self._check_time()
        return POLL_SECONDS if self._polls else 0.1

    def broken(self, error: BrokerError) -> float:
        """Seconds until another try; raises the error when none is of use."""
        self._check_time()
        lost = isinstance(error, ConnectionLost)
        if error.status in AWAY and not self._polls:
            self._polls = True
            return 0.0
        if not (lost or error.status in PASSING):
            raise error
        self._failures += 1
        if self._failures >= TRIES and not self._connected:
            raise error
        return min(LONGEST_PAUSE, backoff(min(self._failures, 8)))

    def _items(self, block: str) -> Iterator[Item]:
        lines = [line.partition(": ") for line in block.split("\n")]
        fields = {name: value for name, _, value in lines if name}
        if "data" in fields:
            self._news, self._failures = time.monotonic(), 0
            yield from self._contents(fields.get("event", ""), json.loads(fields["data"]))
        # Behind the items: who stops amid them gets them again.
        self._id = fields.get("id", self._id)

    def _contents(self, name: str, content: Any) -> Iterator[Item]:
        if name == "gone":
            raise NotFound("You may not read this any more.", status=404)
        if name == "end":
            self.ended = True
        elif name == "event_page":
            yield from (("event", event) for event in events_of(content))
        else:
            yield name, content

    def _check_time(self) -> None:
        if self._timeout is not None and time.monotonic() - self._news >= self._timeout:
            raise TimeoutError(f"nothing new for {self._timeout:g} s")


def events_of(page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The single events of an event_page."""
    for row in range(len(page["seq_num"])):
        event = {"descriptor": page["descriptor"]}
        for key, value in page.items():
            if isinstance(value, dict):
                event[key] = {name: column[row] for name, column in value.items()}
            elif key != "descriptor":
                event[key] = value[row]
        yield event


def of_run(
    path: str,
    fields: Sequence[str] | None,
    streams: Sequence[str] | None,
    new: bool,
    timeout: float | None,
) -> Follower:
    """Of the documents of a run. path: that of its documents."""
    params: dict[str, Any] = {"follow": "true"}
    params |= {} if fields is None else {"fields": list(fields)}
    params |= {} if streams is None else {"streams": list(streams)}
    params |= {"from": "now"} if new else {}
    return Follower(path, params, timeout)


def of_runs(params: Mapping[str, Any], timeout: float | None) -> Follower:
    """Of runs that begin."""
    return Follower("headers/live/", params, timeout)
