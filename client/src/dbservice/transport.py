"""Requests on the wire, by httpx: the one module that does so."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping
from typing import Any

import httpx

from dbservice import __version__
from dbservice.errors import ConnectionLost
from dbservice.wire import Request, Response, Send

CONNECTIONS = 8
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 120.0
"""without a byte from the service"""


def _options(server: str, retry_silence: float | None) -> dict[str, Any]:
    silence = SILENCE_SECONDS if retry_silence is None else retry_silence
    return {
        "base_url": f"{server}/api/v1/",
        "headers": {
            "User-Agent": f"dbservice/{__version__}",
            "Accept-Encoding": "zstd, gzip" if importlib.util.find_spec("zstandard") else "gzip",
        },
        "limits": httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
        "timeout": httpx.Timeout(silence, connect=CONNECT_SECONDS, pool=None),
        "follow_redirects": True,
    }


def _arguments(send: Send, own: Mapping[str, str]) -> dict[str, Any]:
    request = send.request
    headers = {**own, **request.headers, "Accept": request.accept}
    if send.token:
        headers["Authorization"] = f"Bearer {send.token}"
    arguments: dict[str, Any] = {"params": dict(request.params), "headers": headers}
    if isinstance(request.body, bytes):
        arguments["content"] = request.body
    elif request.body is not None:
        arguments["json"] = request.body
    if request.silence is not None:
        arguments["timeout"] = httpx.Timeout(request.silence, connect=CONNECT_SECONDS, pool=None)
    return arguments


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _lost(error: httpx.RequestError, request: Request) -> ConnectionLost:
    server = error.request.url.copy_with(path="/", query=None)
    text = f"No answer from {server} to {request.method} {request.path}: {error or repr(error)}"
    if "WRONG_VERSION_NUMBER" in text:
        text += f" Does the service speak http? connect('http://{server.netloc.decode()}')"
    return ConnectionLost(text)


class _Content:
    """What comes of an answer: in its place if it has one, for which large ones are not copied."""

    def __init__(self, response: httpx.Response, request: Request) -> None:
        self._meter = request.meter
        self._chunks: list[bytes] = []
        self._came = 0
        self._into = request.into
        plain = response.status_code == 200 and "content-encoding" not in response.headers
        length = None if self._into is None else str(len(self._into))
        if not plain or response.headers.get("content-length") != length:
            self._into = None

    def add(self, chunk: bytes) -> None:
        if self._meter is not None:
            self._meter(len(chunk))
        if self._into is None:
            self._chunks.append(chunk)
        else:
            self._into[self._came : self._came + len(chunk)] = chunk
        self._came += len(chunk)

    @property
    def whole(self) -> bytes | memoryview:
        return b"".join(self._chunks) if self._into is None else self._into


class Transport:
    """The blocking one. headers: sent along with every request."""

    def __init__(
        self, server: str, headers: MutableMapping[str, str], timeout: float | None = None
    ) -> None:
        self._client = httpx.Client(**_options(server, timeout))
        self._headers = headers

    def send(self, send: Send) -> Response:
        request = send.request
        built = self._client.build_request(
            request.method, request.path, **_arguments(send, self._headers)
        )
        try:
            response = self._client.send(built, stream=True)
            if request.opened and response.status_code < 400:
                chunks = _chunks(response, request)
                return Response(response.status_code, _headers(response), chunks=chunks)
            content = _Content(response, request)
            try:
                for chunk in response.iter_bytes():
                    content.add(chunk)
            finally:
                response.close()
        except httpx.RequestError as error:
            raise _lost(error, request) from error
        return Response(response.status_code, _headers(response), content.whole)

    def close(self) -> None:
        self._client.close()


def _chunks(response: httpx.Response, request: Request) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes()
    except httpx.RequestError as error:
        raise _lost(error, request) from error
    finally:
        response.close()


class AsyncTransport:
    """The same for asyncio."""

    def __init__(
        self, server: str, headers: MutableMapping[str, str], timeout: float | None = None
    ) -> None:
        self._client = httpx.AsyncClient(**_options(server, timeout))
        self._headers = headers

    async def send(self, send: Send) -> Response:
        request = send.request
        built = self._client.build_request(
            request.method, request.path, **_arguments(send, self._headers)
        )
        try:
            response = await self._client.send(built, stream=True)
            if request.opened and response.status_code < 400:
                chunks = _async_chunks(response, request)
                return Response(response.status_code, _headers(response), chunks=chunks)
            content = _Content(response, request)
            try:
                async for chunk in response.aiter_bytes():
                    content.add(chunk)
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            raise _lost(error, request) from error
        return Response(response.status_code, _headers(response), content.whole)

    async def close(self) -> None:
        await self._client.aclose()


async def _async_chunks(response: httpx.Response, request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_bytes():
            yield chunk
    except httpx.RequestError as error:
        raise _lost(error, request) from error
    finally:
        await response.aclose()
