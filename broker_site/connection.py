"""Is the client that a long piece of work is for still there?"""

import select
import socket
from collections.abc import Iterable, Iterator
from typing import TypeVar

from django.http import HttpRequest


class ClientLeft(Exception):
    """The client closed its connection; nobody waits for the answer."""


Piece = TypeVar("Piece")


def while_wanted(request: HttpRequest, pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The same pieces of work, as long as somebody waits for their result."""
    for piece in pieces:
        require_client(request)
        yield piece


def require_client(request: HttpRequest) -> None:
    """Raises ClientLeft if the connection that the request came by is closed at its other end.

    Told by gunicorn's socket; of another server, nothing is known, and nothing raised.
    """
    connection = request.META.get("gunicorn.socket")
    if not isinstance(connection, socket.socket) or connection.fileno() < 0:
        return
    ends = select.poll()
    ends.register(connection, select.POLLRDHUP)
    if any(
        event & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, event in ends.poll(0)
    ):
        raise ClientLeft
