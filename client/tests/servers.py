"""Small real HTTP servers that misbehave as they are asked to."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray


@dataclass
class Asked:
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """cut: after how many bytes of the content the connection breaks; None for not at all."""

    status: int = 200
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None


def problem(status: int, detail: str, /, **more: Any) -> Answer:
    headers = {"Content-Type": "application/problem+json", "X-Request-ID": "r-17"}
    body = {"status": status, "detail": detail, **more}
    return Answer(status, json.dumps(body).encode(), headers)


def plain(content: Any) -> Answer:
    return Answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})


@dataclass
class Server:
    url: str
    asked: list[Asked]


@contextmanager
def serving(answer: Callable[[Asked], Answer]) -> Iterator[Server]:
    """A server that answers as the function says."""
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            parts = urlsplit(self.path)
            params = {k: v[-1] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            one = Asked(self.command, parts.path, params, dict(self.headers.items()), body)
            asked.append(one)
            self.give(answer(one))

        do_GET = do_HEAD = do_POST = do_DELETE = do

        def give(self, given: Answer) -> None:
            self.send_response(given.status)
            for name, value in given.headers.items():
                self.send_header(name, value)
            if self.command != "HEAD" or "content-length" not in map(str.lower, given.headers):
                self.send_header("Content-Length", str(len(given.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.content[: given.cut])
            if given.cut is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_address[1]}", asked)
    finally:
        server.shutdown()
        server.server_close()


def passing_on(site: str, change: Callable[[Asked, Answer], Answer]) -> Callable[[Asked], Answer]:
    """Answers of another server, changed on the way."""

    def answer(asked: Asked) -> Answer:
        query = "&".join(f"{k}={urllib.request.quote(v)}" for k, v in asked.params.items())  # type: ignore[attr-defined]
        headers = {
            name: value
            for name, value in asked.headers.items()
            if name.lower() in ("accept", "authorization", "content-type", "if-none-match")
        }
        url = f"{site}{asked.path}{'?' if query else ''}{query}"
        request = urllib.request.Request(url, asked.body or None, headers, method=asked.method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                given = Answer(response.status, response.read(), dict(response.headers.items()))
        except urllib.error.HTTPError as error:
            given = Answer(error.code, error.read(), dict(error.headers.items()))
        hop = ("transfer-encoding", "connection", "date", "server")
        dropped = (*hop, "content-length") if asked.method != "HEAD" else hop
        given.headers = {k: v for k, v in given.headers.items() if k.lower() not in dropped}
        return change(asked, given)

    return answer


def array_answer(whole: NDArray[Any], asked: Asked) -> Answer:
    """What the service answers for a slice of an array."""
    part = whole[_index(asked.params.get("slice", ""))]
    headers = {
        "X-Array-Shape": ",".join(map(str, part.shape)),
        "X-Array-Dtype": whole.dtype.str,
        "Content-Type": "application/octet-stream",
        "ETag": '"1"',
    }
    if asked.method == "HEAD":
        return Answer(200, b"", headers | {"Content-Length": str(part.nbytes)})
    return Answer(200, np.ascontiguousarray(part).tobytes(), headers)


def _index(text: str) -> tuple[int | slice, ...]:
    items: list[int | slice] = []
    for item in filter(None, text.split(",")):
        numbers = [int(n) if n else None for n in item.split(":")]
        one = numbers[0] if re.fullmatch(r"-?\d+", item) else slice(*numbers)
        assert one is not None
        items.append(one)
    return tuple(items)
