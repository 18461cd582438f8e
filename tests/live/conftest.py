"""The process for live streams, in a thread of the tests, over their own databases."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
from django.conf import settings
from django.db import connections

from broker_site.asgi_handler import Handler
from headers.index import catch_up
from policies.sessions import begin_session
from tests.conftest import People

SECONDS = 30


@dataclass
class Event:
    """A server-sent event."""

    name: str
    data: Any
    id: str


class Followed:
    """An answer, read as server-sent events."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self._response = response

    def body(self) -> bytes:
        return self._response.read()

    def problem(self) -> dict[str, Any]:
        return dict(json.loads(self.body()))

    def events(self) -> Iterator[Event]:
        """Until the server ends the stream."""
        lines: list[str] = []
        while line := self._response.readline():
            if line.strip():
                lines.append(line.decode().rstrip("\n"))
                continue
            if (event := parsed(lines)) is not None:
                yield event
            lines = []

    def documents(self) -> Iterator[tuple[str, Any, str]]:
        """Documents one by one, with the id of the event that they came with."""
        for event in self.events():
            for name, document in unpacked(event):
                yield name, document, event.id


def parsed(lines: list[str]) -> Event | None:
    parts = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
    if "data" not in parts:
        return None
    return Event(parts["event"], json.loads(parts["data"]), parts.get("id", ""))


def unpacked(event: Event) -> Iterator[tuple[str, Any]]:
    if event.name != "event_page":
        yield event.name, event.data
        return
    for row, seq_num in enumerate(event.data["seq_num"]):
        document = {
            key: {name: column[row] for name, column in value.items()}
            if isinstance(value, dict)
            else value[row]
            for key, value in event.data.items()
            if key != "descriptor"
        }
        assert document["seq_num"] == seq_num
        yield "event", document | {"descriptor": event.data["descriptor"]}


@dataclass
class LiveServer:
    port: int
    people: People
    opened: list[http.client.HTTPConnection] = field(default_factory=list)

    def get(self, path: str, actor: str = "alice", **headers: str) -> Followed:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        self.opened.append(connection)
        if actor != "nobody" and "Authorization" not in headers and "Cookie" not in headers:
            access = begin_session(getattr(self.people, actor)).access
            headers["Authorization"] = f"Bearer {access}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", f"/api/v1/{path}", headers=named)
        return Followed(connection.getresponse())

    def follow(self, uid: str, parameters: str = "", **options: str) -> Followed:
        return self.get(f"headers/{uid}/documents/?follow=true{parameters}", **options)


@contextmanager
def serving(people: People) -> Iterator[LiveServer]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            Handler(),
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            lifespan="off",
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    live = LiveServer(listener.getsockname()[1], people)
    try:
        yield live
    finally:
        for connection in live.opened:
            connection.close()
        server.should_exit = True
        thread.join(10)
        listener.close()


@pytest.fixture
def live(
    transactional_db: None, people: People, catalogs: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LiveServer]:
    catch_up.fresh_index(settings.CATALOGS, settings.CATALOGS)
    # Several threads list runs side by side here: one of them catches up, as in production.
    monkeypatch.setattr(catch_up, "SECONDS_BETWEEN", 0.3)
    with serving(people) as server:
        yield server
    connections.close_all()
