"""Clients that ask a running service on and on, and remember what they were answered."""

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.running import PASSWORD

SIGN_IN = "/api/v1/auth/token/"
CREDENTIALS = json.dumps({"username": "alice", "password": PASSWORD}).encode()


def ask(port: int, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of one request, by a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@dataclass
class Load:
    """One client for each path, asking until the end of the `with` block."""

    port: int
    paths: tuple[str, ...]
    right: dict[str, bytes] = field(default_factory=dict)
    """what an answer of 200 must be, for the paths whose answers do not change"""
    statuses: Counter[int] = field(default_factory=Counter)
    """how often each status was answered; 0 stands for a connection that broke"""
    posted: Counter[int] = field(default_factory=Counter)
    """those of `statuses` that answered a POST"""
    wrong: int = 0
    longest: float = 0.0
    last_failure: float = 0.0
    """when an answer was last not 200, on the monotonic clock"""
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._ask, args=(path,)) for path in self.paths]
        for thread in self._threads:
            thread.start()
        return self

    def _ask(self, path: str) -> None:
        body = CREDENTIALS if path == SIGN_IN else None
        while not self._over.is_set():
            begin = time.monotonic()
            try:
                status, content = ask(self.port, path, body)
            except (OSError, http.client.HTTPException):
                status, content = 0, b""
            now = time.monotonic()
            self.statuses[status] += 1
            if body is not None:
                self.posted[status] += 1
            self.longest = max(self.longest, now - begin)
            if status != 200:
                self.last_failure = now
            elif path in self.right and content != self.right[path]:
                self.wrong += 1

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
