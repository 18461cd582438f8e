"""Lists of many runs over many catalogs, beside pymongo reading the same documents by uid.

    python -m bench.lists [--runs 30000] [--catalogs 30]

With a million runs it takes the fast server (`bench.servers.mongo`) and some patience.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from bench.client import Client
from bench.headers import ADMIN, MEMBER, PASSWORD
from bench.index import catalogs_file, fill_mongo
from bench.measuring import Row, side_by_side, table
from bench.servers import ROOT, mongo, service, service_environment

URL = "/api/v1/headers/"
PEOPLE = f"""
from datetime import timedelta
from django.utils import timezone
from policies.models import Membership, Proposal, User
for name in ({MEMBER!r}, {ADMIN!r}):
    User.objects.create_user(name, password={PASSWORD!r}, data_admin=name == {ADMIN!r})
member = User.objects.get(username={MEMBER!r})
for number in (301000, 302000):
    proposal = Proposal.objects.create(proposal_id=str(number))
    Membership.objects.create(proposal=proposal, user=member)
for number in range(300000, 300020):
    Proposal.objects.create(
        proposal_id=str(number), public_from=timezone.now() - timedelta(days=1)
    )
"""
QUESTIONS = {
    "count": "count/",
    "facets": "facets/?fields=plan_name,catalog,sample.name,motors",
    "search for a common word": "?search=gold",
    "search for rare words": "?search=alignment+1f",
    "open runs": "?exit_status=open",
    "failed runs": "?exit_status=fail",
    "runs by scan id": "?ordering=-scan_id",
    "a table of 1,000 runs": "?page_size=1000&fields=start.scan_id,start.plan_name",
}


class Script:
    """Reads the documents of a page by uid, as fast as somebody can who knows them."""

    def __init__(self, uri: str, results: list[dict[str, Any]]) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(uri)
        self._uids: dict[str, list[str]] = defaultdict(list)
        for run in results:
            self._uids[f"bench_index_{run['catalog'][1:]}"].append(run["uid"])

    def read(self) -> int:
        found = 0
        for name, uids in self._uids.items():
            database = self._client[name]
            found += len(list(database.run_start.find({"uid": {"$in": uids}})))
            list(database.run_stop.find({"run_start": {"$in": uids}}))
        return found


def rows(uri: str, port: int, depth: int) -> Iterator[Row]:
    callers = {
        "data admin": Client(port, (ADMIN, PASSWORD)),
        "member": Client(port, (MEMBER, PASSWORD)),
        "anonymous": Client(port),
    }
    for name, client in callers.items():
        first = client.get_json(URL)
        deep = first
        for _ in range(depth):
            if deep["next"]:
                deep = client.get_json(deep["next"].partition("127.0.0.1:" + str(port))[2])
        for what, page in (("first", first), ("deep", deep)):
            address = f"{URL}?until={page['results'][0]['start']['time'] + 1e-6:.6f}"
            script = Script(uri, page["results"])
            yield _row(f"{name}: {what} page of 100", script.read, client, address, "≤ 2")
        script = Script(uri, first["results"])
        for what, address in QUESTIONS.items():
            yield _row(f"{name}: {what}", script.read, client, URL + address)


def _row(
    name: str, local: Callable[[], object], client: Client, address: str, target: str = ""
) -> Row:
    return side_by_side(name, local, partial(client.get, address), 3, target, rounds=5)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lists", description=__doc__)
    parser.add_argument("--runs", type=int, default=30_000)
    parser.add_argument("--catalogs", type=int, default=30)
    given = parser.parse_args()
    with TemporaryDirectory(prefix="broker-lists-") as name:
        folder = Path(name)
        with mongo(folder) as (uri, kind):
            fill_mongo(uri, given.runs, given.catalogs)
            catalogs = catalogs_file(given.catalogs, uri)
            rate = given.runs / _prepare(folder, catalogs)
            with service(folder, catalogs) as port:
                lines = table(list(rows(uri, port, depth=given.runs // 1000)))
    print(
        f"MongoDB: {kind}; {given.runs:,} runs in {given.catalogs} catalogs; local: 100 documents"
    )
    print(f"first fill of the index: {rate:,.0f} runs a second\n\n{lines}")


def _prepare(folder: Path, catalogs: str) -> float:
    """Makes the people and fills the index. Seconds of the fill."""
    environment = os.environ | service_environment(folder, catalogs)
    manage = [sys.executable, str(ROOT / "manage.py")]
    for command in (["migrate", "--verbosity", "0"], ["shell", "--verbosity", "0", "-c", PEOPLE]):
        subprocess.run([*manage, *command], env=environment, check=True)
    begun = time.perf_counter()
    subprocess.run([*manage, "index_runs"], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
