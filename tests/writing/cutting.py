"""Something between a writer and the service that cuts connections where it is told."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PIECE = 65536
Cut = tuple[int | None, int | None]
"""behind so many bytes of the request, and of the answer; None: not at all"""


@dataclass
class CuttingProxy:
    """Cuts each connection behind so many bytes of the request, or of the answer.

    cuts: of the connections to come; behind the last of them, connections are left alone.
    """

    target: tuple[str, int]
    cuts: list[Cut]
    port: int = 0
    connections: int = 0
    _opened: list[socket.socket] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self.target)
                self._opened += [near, far]
                self.connections += 1
                request, answer = self.cuts.pop(0) if self.cuts else (None, None)
                for one, other, limit in ((near, far, request), (far, near, answer)):
                    threading.Thread(target=_pump, args=(one, other, limit), daemon=True).start()

    def close(self) -> None:
        for opened in self._opened:
            opened.close()


def _pump(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    """Hands on so many bytes, and then ends both ways."""
    left = limit
    with suppress(OSError):
        while left is None or left > 0:
            piece = source.recv(PIECE if left is None else min(PIECE, left))
            if not piece:
                break
            target.sendall(piece)
            left = None if left is None else left - len(piece)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def cutting(target: tuple[str, int], cuts: list[Cut]) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(target, cuts)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]
        threading.Thread(target=proxy.accept, args=(listener,), daemon=True).start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            proxy.close()
