"""`python -m bench.clients`: our client beside plain downloads, stock clients on two services.

The peer is `tiled serve` over databroker's adapter for MongoDB, in an environment of its own
(`make .venv-peer/server`). Where that is not installed, its half is skipped.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pymongo import MongoClient

from bench import events, headers
from bench.__main__ import CATALOGS, FOLDER, prepare_policies
from bench.client import Client
from bench.measuring import Row, table
from bench.servers import (
    ROOT,
    free_port,
    mongo,
    running,
    service,
    service_environment,
    wait_until_alive,
)

PEER = ROOT / ".venv-peer" / "bin" / "tiled"
PEER_CONFIG = """
authentication: {{allow_anonymous_access: true}}
trees:
  - path: /headers
    tree: databroker.mongo_normalized:Tree.from_uri
    args: {{uri: "{base}/bench"}}
  - path: /events
    tree: databroker.mongo_normalized:Tree.from_uri
    args: {{uri: "{base}/bench_events", root_map: {{"/facility/data": "{data}"}}}}
"""


def main() -> None:
    folder = FOLDER / "clients"
    data = FOLDER / "events" / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("policies.sqlite3*"):
        path.unlink()
    with mongo(FOLDER) as (base, kind):
        headers.fill(MongoClient(f"{base}/bench").get_default_database())
        events.fill(MongoClient(f"{base}/bench_events").get_default_database(), data)
        catalogs = "".join(
            CATALOGS.format(name=name, uri=f"{base}/{database}", folder=data)
            for name, database in (("headers", "bench"), ("events", "bench_events"))
        )
        prepare_policies(folder, catalogs)
        _fill_index(folder, catalogs)
        with service(folder, catalogs) as port:
            token = _token(port)
            print(f"MongoDB: {kind}; {os.cpu_count()} cores\n\nOur client:\n")
            print(table(_own(port, token), "plain download", "client"), flush=True)
            _print_stock(base, data, folder, port, token)


def _fill_index(folder: Path, catalogs: str) -> None:
    """Before anything is measured: at first it takes a while."""
    environment = os.environ | service_environment(folder, catalogs)
    command = [sys.executable, str(ROOT / "manage.py"), "index_runs"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def _token(port: int) -> str:
    client = Client(port, (headers.ADMIN, headers.PASSWORD))
    wanted = {"name": "bench", "scopes": ["read:metadata", "read:data"], "expires_in": 86400}
    return str(client.post("/api/v1/auth/api-tokens/", wanted)["token"])


def _own(port: int, token: str) -> list[Row]:
    arguments = [f"http://127.0.0.1:{port}", token, events.MOVIE]
    return _measured(".venv-client", "with_own_client.py", *arguments)


def _print_stock(base: str, data: Path, folder: Path, port: int, token: str) -> None:
    if not PEER.exists():
        print("\nSkipped: the stock client on `tiled serve`; .venv-peer is not installed.")
        return
    with _peer(base, data, folder) as peer:
        api = f"http://127.0.0.1:{port}/api/v1/metadata"
        addresses = [f"{peer}/headers", f"{peer}/events", f"{api}/headers/raw", f"{api}/events/raw"]
        uids = events.SCAN, events.MOVIE
        rows = _measured(".venv-tiled", "with_stock_client.py", *addresses, token, *uids)
    print("\nTiled's stock client, on `tiled serve` over the same MongoDB and on the service:\n")
    print(table(rows, "peer"))


@contextmanager
def _peer(base: str, data: Path, folder: Path) -> Iterator[str]:
    """The address of the root of `tiled serve`."""
    config, port = folder / "peer.yml", free_port()
    config.write_text(PEER_CONFIG.format(base=base, data=data))
    arguments = [str(PEER), "serve", "config", str(config), "--public"]
    arguments += ["--host", "127.0.0.1", "--port", str(port)]
    with running(arguments, folder / "peer.log", dict(os.environ)):
        wait_until_alive(f"http://127.0.0.1:{port}/healthz")
        yield f"http://127.0.0.1:{port}/api/v1/metadata"


def _measured(environment: str, script: str, *arguments: str) -> list[Row]:
    """What a script prints in another environment, where nothing of ours is to be found."""
    python = ROOT / environment / "bin" / "python"
    process = subprocess.run(
        [python, ROOT / "bench" / script, *arguments],
        stdout=subprocess.PIPE,
        env={"HOME": str(FOLDER / "clients"), "PATH": os.environ["PATH"]},
        cwd=FOLDER,
        check=True,
    )
    return [Row(**json.loads(line)) for line in process.stdout.splitlines()]


if __name__ == "__main__":
    main()
