"""Django as an ASGI application, for the process that serves streams which go on for hours.

A request goes through the middleware and to its view in a thread, as in the production server
for all else. A view that gives an asynchronous stream has its thread back at once: the stream
is written by the event loop, and ends when the client is gone. Django's own handler keeps a thread,
and with it a connection to the database, for each request as long as its answer takes.
"""

import asyncio
import tempfile
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    MutableMapping,
)
from contextlib import aclosing, suppress
from contextvars import Context, copy_context
from typing import IO, Any, cast

import structlog
from django.core import signals
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import set_script_prefix

from broker_site.problems import Problem, problem_response
from broker_site.threads import in_context

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_IN_MEMORY = 2**20
LARGEST_BODY = 2**26


class LiveResponse(StreamingHttpResponse):
    """An answer that the event loop goes on with, for as long as its client stays."""

    def __init__(self, stream: AsyncGenerator[bytes, None], **options: Any) -> None:
        super().__init__(stream, **options)
        self.stream = stream


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Handler(BaseHandler):
    def __init__(self) -> None:
        super().__init__()
        self.load_middleware()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            with suppress(ClientGone):
                await self._serve(scope, receive, send)
        else:  # nobody offers WebSockets here
            await send({"type": "websocket.close", "code": 1000})

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        context = copy_context()
        with tempfile.SpooledTemporaryFile(BODY_IN_MEMORY) as body:
            whole = await _received(receive, body)
            response = (
                await in_context(context, self._answer, scope, body)
                if whole
                else problem_response(Problem(413, "The body is too large."))
            )
        answering = asyncio.ensure_future(_write(response, context, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        await asyncio.wait({answering, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (answering, gone):
            task.cancel()  # of no effect where it is done
        await asyncio.wait({answering, gone})
        await in_context(context, response.close)
        if not answering.cancelled():
            answering.result()  # an answer that breaks off closes the connection

    def _answer(self, scope: Message, body: IO[bytes]) -> HttpResponseBase:
        set_script_prefix("/")
        signals.request_started.send(sender=self.__class__, scope=scope)
        return self.get_response(ASGIRequest(scope, body))


async def _live(receive: Receive, send: Send) -> None:
    """The protocol of a server's begin and end."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _received(receive: Receive, body: IO[bytes]) -> bool:
    """Reads the body of a request. False: it is too large, and the rest was left."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body.write(message.get("body", b""))
        if body.tell() > LARGEST_BODY:
            return False
        more = message.get("more_body", False)
    body.seek(0)
    return True


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(response: HttpResponseBase, context: Context, send: Send) -> None:
    headers = [(name.lower().encode(), value.encode("latin1")) for name, value in response.items()]
    headers += [
        (b"set-cookie", cookie.OutputString().encode()) for cookie in response.cookies.values()
    ]
    status = response.status_code
    await send({"type": "http.response.start", "status": status, "headers": headers})
    async with aclosing(_pieces(response, context)) as pieces:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _pieces(response: HttpResponseBase, context: Context) -> AsyncGenerator[bytes, None]:
    """The content as it is made: by the event loop, or piece after piece in a thread."""
    if isinstance(response, LiveResponse):
        async with aclosing(response.stream) as stream:
            async for piece in stream:
                yield piece
    elif isinstance(response, HttpResponse):
        yield response.content
    else:
        pieces = iter(cast(Iterable[bytes], response))
        made = await in_context(context, _next, pieces)
        while made is not None:
            yield made
            made = await in_context(context, _next, pieces)


def _next(pieces: Iterator[bytes]) -> bytes | None:
    return next(pieces, None)
