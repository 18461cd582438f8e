"""Tiled's stock client on `tiled serve`, and the same client on this service, in turns.

Run where the client is installed, in .venv-tiled. Prints a line of JSON for each of the table.
Arguments: addresses of the catalogs of headers and of events at the peer, the same at the service,
API token for the service, uids of the runs with scalars and with frames.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

from databroker.v1 import Broker
from measuring import side_by_side
from tiled.client import from_uri

FIVE_TIMES = "≤ 0.2"
FRAMES = 10
PAGE = 100
SECONDS = 600.0
"""until an answer of the peer counts as lost: its table takes long"""


@dataclass(frozen=True)
class Reader:
    """One client, on either service."""

    headers: Any
    events: Any
    scan: str
    movie: str

    def header(self, uid: str) -> Any:
        return self.headers[uid].start

    def page(self) -> list[Any]:
        return [run.start for run in self.headers.values().head(PAGE)]

    def table(self) -> Any:
        return Broker(self.events)[self.scan].table()

    def frames(self) -> Any:
        return self.events[self.movie]["primary"]["data"]["image"][0:FRAMES]


def main() -> None:
    peers, ours, token, uids = sys.argv[1:3], sys.argv[3:5], sys.argv[5], sys.argv[6:8]
    peer = Reader(*(from_uri(address, timeout=SECONDS) for address in peers), *uids)
    service = Reader(*(from_uri(address, api_key=token) for address in ours), *uids)
    check_equal(peer, service)
    turns = cycle(list(service.headers.keys().head(200)))

    def one(reader: Reader) -> Callable[[], Any]:
        return lambda: reader.header(next(turns))

    measured = (
        ("one header", one(peer), one(service), 20, 5),
        ("a page of 100 runs", peer.page, service.page, 1, 5),
        ("10 frames of 512 × 512", peer.frames, service.frames, 1, 5),
        ("table of 100,000 events", peer.table, service.table, 1, 2),
    )
    for name, local, action, repeat, rounds in measured:
        row = side_by_side(name, local, action, repeat, FIVE_TIMES, rounds)
        print(json.dumps(asdict(row)), flush=True)


def check_equal(peer: Reader, service: Reader) -> None:
    """That both give the same is what makes their times comparable."""
    if peer.page() != service.page() or (peer.frames() != service.frames()).any():
        raise RuntimeError("The peer and the service differ in what they give.")


if __name__ == "__main__":
    main()
