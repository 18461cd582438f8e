"""Our client beside plain downloads of the same; run where it is installed, in .venv-client.

Prints a line of JSON for each of the table. Arguments: address, API token, uid of the run with
frames.
"""

import http.client
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from urllib.parse import urlsplit

import httpx
from dbservice import connect
from measuring import Row, side_by_side

RUNS = 1000
COLUMNS = ("scan_id", "plan_name", "sample.name", "stop.exit_status")

address, token, movie = sys.argv[1:4]
events = connect(address, catalog="events", token=token, progress=False)
headers = connect(address, catalog="headers", token=token, progress=False)
connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=600)
sent: list[str] = []
"""the addresses of what our client asked for"""


def raw(path: str) -> Callable[[], bytes]:
    """Downloads and does nothing else."""

    def download() -> bytes:
        connection.request("GET", f"/api/v1/{path}", headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {content[:300]!r}")
        return content

    return download


def table_of_runs() -> Row:
    fields = ",".join(f"start.{name}".replace("start.stop.", "stop.") for name in COLUMNS)
    name = f"a table of {RUNS:,} runs"
    plain = raw(f"headers/?catalog=headers&page_size={RUNS}&fields={fields}")
    row = side_by_side(name, plain, lambda: headers.table(*COLUMNS, limit=RUNS), 1, "", 5)
    sent.clear()
    if len(headers.table(*COLUMNS, limit=RUNS)) != RUNS or len(sent) != 1:
        raise RuntimeError(f"The table of {RUNS} runs took these requests: {sent}")
    return Row(row.name, row.local_ms, row.service_ms, "1 request")


def tell(row: Row) -> None:
    print(json.dumps(asdict(row)), flush=True)


def main() -> None:
    sending = httpx.Client.send

    def send(client: httpx.Client, request: httpx.Request, **options: object) -> httpx.Response:
        sent.append(str(request.url))
        return sending(client, request, **options)  # type: ignore[arg-type]

    httpx.Client.send = send  # type: ignore[method-assign, assignment]
    newest = events[-1]
    arrow = raw(f"headers/{newest.uid}/streams/primary/table/?format=arrow")
    frames = raw(f"headers/{movie}/streams/primary/data/image/?format=octet-stream")
    tell(
        side_by_side(
            "105 MB of frames", frames, lambda: events[movie].data("image")[...], 1, "≤ 1.3", 5
        )
    )
    tell(table_of_runs())
    tell(
        side_by_side(
            "db[-1].table() of 100,000 events", arrow, lambda: events[-1].table(), 1, "≤ 1.2", 5
        )
    )


if __name__ == "__main__":
    main()
