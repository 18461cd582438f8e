"""A lean HTTP client: one kept connection, as a script with a session has."""

import http.client
import re
from typing import Any

import orjson

TIMING = re.compile(r"(\w+);dur=([\d.]+)")


class Client:
    def __init__(self, port: int, credentials: tuple[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers: dict[str, str] = {}
        self.timing: dict[str, float] = {}
        """milliseconds of each phase of the last answer, as the service tells them"""
        if credentials:
            body = dict(zip(("username", "password"), credentials, strict=True))
            tokens = self.post("/api/v1/auth/token/", body)
            self._headers = {"Authorization": f"Bearer {tokens['access']}"}

    def get(self, path: str) -> bytes:
        """The body of an answer, read whole. RuntimeError if it is an error."""
        return self._send("GET", path)

    def post(self, path: str, content: Any) -> Any:
        """The answer to JSON that is sent."""
        return orjson.loads(self._send("POST", path, orjson.dumps(content)))

    def _send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        content = response.read()
        self.timing = {
            name: float(value) for name, value in TIMING.findall(response.headers["Server-Timing"])
        }
        if response.status >= 400:
            raise RuntimeError(f"{path}: {response.status} {content[:300]!r}")
        return content

    def get_json(self, path: str) -> Any:
        return orjson.loads(self.get(path))
