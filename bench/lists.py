"""Lists of many runs over many catalogs, beside pymongo reading the same documents by uid.

    python -m bench.lists [--runs 30000] [--catalogs 30] [--only facets]

Through HTTP, with the index of runs in SQLite and, where Debian's postgresql is installed, in
PostgreSQL. With `--runs 1000000` it takes half an hour, and an embedded MongoDB that goes over all
of a collection for what is new (docs/OPERATIONS.md) is busy with that meanwhile. One that
BROKER_BENCH_MONGO_URI names keeps the runs for the next time.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from bench import index
from bench.client import Client
from bench.headers import ADMIN, MEMBER, PASSWORD
from bench.measuring import Row, side_by_side, table
from bench.servers import ROOT, mongo, postgresql, service, service_environment

URL = "/api/v1/headers/"
STAFF, MANY = "staff", "member-of-2500"
CALLERS = {
    "data admin": ADMIN,
    "staff": STAFF,
    "member": MEMBER,
    "member of 2,500": MANY,
    "anonymous": None,
}
PEOPLE = f"""
from datetime import timedelta
from django.utils import timezone
from policies.models import Beamline, Membership, Proposal, User
for name in ({MEMBER!r}, {ADMIN!r}, {STAFF!r}, {MANY!r}):
    User.objects.create_user(name, password={PASSWORD!r}, data_admin=name == {ADMIN!r})
Beamline.objects.create(name="b03").staff.add(User.objects.get(username={STAFF!r}))
numbers = {list(index.PROPOSALS)!r}
Proposal.objects.bulk_create(Proposal(proposal_id=str(number)) for number in numbers)
Proposal.objects.filter(proposal_id__in=list(map(str, numbers[:20]))).update(
    public_from=timezone.now() - timedelta(days=1)
)
def join(name, some):
    user = User.objects.get(username=name)
    for proposal in Proposal.objects.filter(proposal_id__in=list(map(str, some))):
        Membership.objects.create(proposal=proposal, user=user)
join({MEMBER!r}, numbers[1000:3000:1000])
join({MANY!r}, numbers[::2])
"""
PAGES = {
    "first page": "",
    "page of 2023": "?until=2023",
    "page of a plan": "?plan_name=xanes",
    "page by scan id": "?ordering=-scan_id",
    "page of a motor": "?motor=th",
}
QUICK = {
    "search, frequent word": "?search=gold",
    "search, rare words": "?search=alignment+1f",
    "search, two words": "?search=gold+foil+77",
    "open runs": "?exit_status=open",
    "failed runs": "?exit_status=fail",
}
SUMS = {
    "count": "count/",
    "count since 2023": "count/?since=2023",
    "count of a plan": "count/?plan_name=xanes",
    "count of failed": "count/?exit_status=fail",
    "count of a frequent word": "count/?search=gold",
    "count of a motor": "count/?motor=th",
    "facet plan_name": "facets/?fields=plan_name",
    "facet proposal": "facets/?fields=proposal",
    "facet motors": "facets/?fields=motors",
    "facet sample.name": "facets/?fields=sample.name",
    "facet cycle": "facets/?fields=cycle",
    "four facets": "facets/?fields=plan_name,catalog,exit_status,motors",
    "facet plan_name since 2023": "facets/?fields=plan_name&since=2023",
    "facet motors of a plan": "facets/?fields=motors&plan_name=xanes",
    "facet motors of a word": "facets/?fields=motors&search=gold",
}


class Script:
    """Reads the documents of a page by uid, as fast as somebody can who knows them."""

    def __init__(self, client: index.Client, results: list[dict[str, Any]]) -> None:
        self._client = client
        self._uids: dict[str, list[str]] = defaultdict(list)
        for run in results:
            self._uids[index.database_name(int(run["catalog"][1:]))].append(run["uid"])

    def read(self) -> int:
        found = 0
        for name, uids in self._uids.items():
            database = self._client[name]
            found += len(list(database.run_start.find({"uid": {"$in": uids}})))
            list(database.run_stop.find({"run_start": {"$in": uids}}))
        return found


@dataclass(frozen=True)
class Figures:
    """What is asked of one service."""

    mongo: index.Client
    port: int
    runs: int
    catalogs: int
    only: str

    def rows(self) -> Iterator[Row]:
        for name in CALLERS:
            for what, local, remote, target in self._questions(self._client(name)):
                if self.only in f"{name}: {what}":
                    row = side_by_side(f"{name}: {what}", local, remote, 2, target, rounds=3)
                    print(row.name, round(row.service_ms), file=sys.stderr, flush=True)
                    yield row
        if self.only in "until 1,000 new runs are listed":
            yield self._catch_up()

    def _client(self, caller: str) -> Client:
        """A new one, as the service ends connections on which nothing is asked for long."""
        name = CALLERS[caller]
        return Client(self.port, (name, PASSWORD) if name else None)

    def _questions(
        self, client: Client
    ) -> Iterator[tuple[str, Callable[[], object], Callable[[], object], str]]:
        """(what, the local script, the service, target)"""
        for what, address in PAGES.items():
            local = Script(self.mongo, client.get_json(URL + address)["results"]).read
            yield what, local, partial(client.get, URL + address), "≤ 2"
        deep = self._deep(client)
        local = Script(self.mongo, client.get_json(deep)["results"]).read
        yield "deep page, by its cursor", local, partial(client.get, deep), "≤ 2"
        yield from self._header(client)
        local = Script(self.mongo, client.get_json(URL)["results"]).read
        for targets, questions in (("≤ 100 ms", QUICK), ("≤ 300 ms", SUMS)):
            for what, address in questions.items():
                yield what, local, partial(client.get, URL + address), targets
        table = URL + "?page_size=1000&fields=start.scan_id,start.plan_name"
        yield "table of 1,000 runs", local, partial(client.get, table), ""

    def _deep(self, client: Client) -> str:
        """The address of a page that is as deep as the cursors of 30 pages of 1,000 lead."""
        address = f"{URL}?page_size=1000&fields=uid&until=2022"
        for _ in range(30):
            following = client.get_json(address)["next"]
            if following is None:
                break
            address = _path(following)
        return address.replace("page_size=1000", "page_size=100").replace("&fields=uid", "")

    def _header(
        self, client: Client
    ) -> Iterator[tuple[str, Callable[[], object], Callable[[], object], str]]:
        """One run by its uid beside the three queries that a script needs."""
        known = self._with_descriptors(client)
        if not known:
            return
        local, remote = cycle(known), cycle(known)

        def read() -> object:
            name, uid = next(local)
            database = self.mongo[name]
            start = database.run_start.find_one({"uid": uid})
            stop = database.run_stop.find_one({"run_start": uid})
            return start, stop, list(database.event_descriptor.find({"run_start": uid}))

        yield "header by uid", read, lambda: client.get(f"{URL}{next(remote)[1]}/"), "≤ 2"

    def _with_descriptors(self, client: Client) -> list[tuple[str, str]]:
        """(database, uid) of some runs that have a descriptor."""
        found = client.get_json(f"{URL}?page_size=1000&include=descriptors")["results"]
        return [
            (index.database_name(int(run["catalog"][1:])), run["uid"])
            for run in found
            if run["descriptors"]
        ][:50]

    def _catch_up(self) -> Row:
        """Milliseconds until the list has 1,000 runs that are new."""
        client = self._client("data admin")
        page = client.get_json(URL)["results"]
        taken = []
        for _ in range(3):
            newest = page[0]["uid"]
            index.insert_more(self.mongo, self.runs, self.catalogs, 1000)
            time.sleep(1.5)
            begun = time.perf_counter()
            while page[0]["uid"] == newest:
                page = client.get_json(URL)["results"]
            taken.append((time.perf_counter() - begun) * 1000)
        script = Script(self.mongo, page)
        begun = time.perf_counter()
        script.read()
        local = (time.perf_counter() - begun) * 1000
        return Row("until 1,000 new runs are listed", local, max(taken), "≤ 1,000 ms")


def _path(address: str) -> str:
    return "/" + address.split("/", 3)[3]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.lists", description=__doc__)
    parser.add_argument("--runs", type=int, default=30_000)
    parser.add_argument("--catalogs", type=int, default=30)
    parser.add_argument("--only", default="", help="questions whose name has this")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="broker-lists-")))
        uri, kind = stack.enter_context(mongo(folder))
        client: index.Client = stack.enter_context(MongoClient(uri))
        index.fill(client, given.runs, given.catalogs)
        print(f"MongoDB: {kind}; {given.runs:,} runs in {given.catalogs} catalogs", flush=True)
        databases = {"SQLite": ""}
        if found := stack.enter_context(postgresql()):
            databases["PostgreSQL"] = found
        for name, database in databases.items():
            rate, rows = _measured(folder, database, uri, client, given)
            print(f"\n{name}: first fill of {rate:,.0f} runs a second (≥ 5,000)\n\n{table(rows)}")


def _measured(
    folder: Path, database: str, uri: str, client: index.Client, given: argparse.Namespace
) -> tuple[float, list[Row]]:
    """The rate of the first fill, and the table."""
    catalogs = index.catalogs_file(given.catalogs, uri)
    begun = _prepare(folder, catalogs, database)
    rate = given.runs / begun
    with service(folder, catalogs, database) as port:
        figures = Figures(client, port, given.runs, given.catalogs, given.only)
        return rate, list(figures.rows())


def _prepare(folder: Path, catalogs: str, database: str) -> float:
    """Makes the people and fills the index. Seconds of the fill."""
    environment = os.environ | service_environment(folder, catalogs, database=database)
    manage = [sys.executable, str(ROOT / "manage.py")]
    for command in (["migrate", "--verbosity", "0"], ["shell", "--verbosity", "0", "-c", PEOPLE]):
        subprocess.run([*manage, *command], env=environment, check=True)
    begun = time.perf_counter()
    subprocess.run([*manage, "index_runs"], env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
