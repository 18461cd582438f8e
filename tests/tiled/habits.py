"""What scripts of beamlines do, with the stock clients; run in an environment of their own.

Prints a line of JSON: what each habit gave, or the error that it ended with.
Arguments: address, user ("" for nobody), password, node, uid of a run with `primary`.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from databroker.v1 import Broker
from reader import NEW, plain, signed_in
from tiled.client import from_uri
from tiled.client.constructors import from_context
from tiled.queries import (
    Comparison,
    Contains,
    Eq,
    FullText,
    In,
    Key,
    KeysFilter,
    NotEq,
    NotIn,
    Regex,
    SpecsQuery,
    StructureFamilyQuery,
)

from tiled import queries

try:
    from bluesky_tiled_plugins.queries import PartialUID, RawMongo, ScanID, ScanIDRange, TimeRange
except ImportError:  # the clients of 2023
    from databroker.queries import PartialUID, RawMongo, ScanID, ScanIDRange, TimeRange

warnings.simplefilter("ignore")
address, user, password, node, uid = sys.argv[1:6]

context = signed_in(address, user, password).context
catalog = from_context(context)
for part in node.split("/"):
    catalog = catalog[part]
db = Broker(catalog)
run = catalog[uid]
start = run.start
plan = start["plan_name"]
HABITS: dict[str, Callable[[], Any]] = {}


def habit(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        HABITS[name] = function
        return function

    return add


def found(*queries: Any) -> list[str]:
    """The uids that a chain of searches finds."""
    results = catalog
    for query in queries:
        results = results.search(query)
    uids = list(results)
    assert len(uids) == len(results), (len(uids), len(results))
    return sorted(uids)


def field_names() -> list[str]:
    """Of the primary stream's fields, those whose values stand in the events."""
    keys = run["primary"].descriptors[0]["data_keys"]
    return sorted(name for name, key in keys.items() if not key.get("external"))


HABITS |= {
    # Which runs there are, and how one of them is reached.
    "uids": lambda: list(catalog),
    "length": lambda: len(catalog),
    "repr": lambda: repr(catalog),
    "newest": lambda: catalog[-1].start["uid"],
    "second newest": lambda: catalog[-2].start["uid"],
    "oldest": lambda: catalog.values().first().start["uid"],
    "last": lambda: catalog.values().last().start["uid"],
    "tail": lambda: [found.start["uid"] for found in catalog.values().tail(3)],
    "head": lambda: [found.start["uid"] for found in catalog.values().head(3)],
    "a slice": lambda: [found.start["uid"] for found in catalog.values()[2:5]],
    "keys backwards": lambda: list(catalog.keys()[:-4:-1]),
    "by uid": lambda: catalog[uid].start["uid"],
    "by prefix": lambda: catalog[uid[:8]].start["uid"],
    "by uid accessor": lambda: catalog.uid[uid[:8]].start["uid"],
    "by scan id": lambda: catalog[start["scan_id"]].start["scan_id"],
    "by scan id accessor": lambda: catalog.scan_id[start["scan_id"]].start["scan_id"],
    "several": lambda: [found.start["uid"] for found in catalog[[uid, uid[:8]]]],
    "unknown": lambda: catalog["ffffffff-0000-4000-8000-000000000000"],
    "is in": lambda: [uid in catalog, "nonsense" in catalog],
    "by an address": lambda: from_uri(run.uri, api_key=api_key()).start["uid"],
    # Searches.
    "eq": lambda: found(Eq("plan_name", plan)),
    "key": lambda: found(Key("plan_name") == plan),
    "noteq": lambda: found(NotEq("plan_name", plan)),
    "comparison": lambda: found(Comparison("ge", "scan_id", start["scan_id"])),
    "contains": lambda: found(Contains("detectors", start["detectors"][0])),
    "in": lambda: found(In("plan_name", [plan, "no such plan"])),
    "notin": lambda: found(NotIn("plan_name", [plan, "no such plan"])),
    "regex": lambda: found(Regex("plan_name", f"^{plan[:3]}")),
    "regex in any case": lambda: found(Regex("plan_name", plan.upper(), case_sensitive=False)),
    "unsafe regex": lambda: found(Regex("plan_name", "(a+)+$")),
    "malformed regex": lambda: found(Regex("plan_name", "(")),
    "fulltext": lambda: found(FullText(plan)),
    "keys filter": lambda: found(KeysFilter([uid])),
    "specs": lambda: found(SpecsQuery(include=["BlueskyRun"])),
    "other specs": lambda: found(SpecsQuery(include=["something else"])),
    "structure family": lambda: found(StructureFamilyQuery("container")),
    "other family": lambda: found(StructureFamilyQuery("array")),
    "stop": lambda: found(Eq("stop.exit_status", "fail")),
    "scan_id": lambda: found(ScanID(start["scan_id"])),
    "scan_id_range": lambda: found(ScanIDRange(start["scan_id"], start["scan_id"] + 2)),
    "partial_uid": lambda: found(PartialUID(uid[:8])),
    "time_range": lambda: found(
        TimeRange(since=start["time"] - 1, until=start["time"] + 1, timezone="UTC")
    ),
    "time range of texts": lambda: found(
        TimeRange(since=datetime.fromtimestamp(start["time"], UTC).date().isoformat())
    ),
    "raw mongo": lambda: found(RawMongo({"plan_name": plan})),
    "a dictionary": lambda: found({"plan_name": plan}),
    "chained": lambda: found(Key("plan_name") == plan, Regex("uid", f"^{uid[:4]}")),
    "chained of one kind": lambda: found(
        Key("plan_name") == plan, Key("scan_id") == start["scan_id"]
    ),
    "search and uid": lambda: catalog.search(Key("plan_name") == plan)[uid].start["uid"],
    "search and newest": lambda: catalog.search(Key("plan_name") == plan)[-1].start["uid"],
    "sorted": lambda: list(catalog.sort(("start.time", -1)))[:3],
    "sorted by scan id": lambda: [
        found.start["scan_id"] for found in catalog.sort(("scan_id", 1)).values()
    ],
    "distinct": lambda: catalog.distinct("plan_name", counts=True)["metadata"],
    "distinct without counts": lambda: catalog.distinct("start.plan_name")["metadata"],
    # One run.
    "start": lambda: plain(dict(run.start)),
    "stop document": lambda: plain(run.stop),
    "run repr": lambda: repr(run),
    "streams": lambda: list(run),
    "stream repr": lambda: repr(run["primary"]),
    "attribute": lambda: list(run.primary.data),
    "tab": lambda: "primary" in dir(run),
    "stream descriptors": lambda: [d["uid"] for d in run["primary"].descriptors],
    "read": lambda: plain(run["primary"].read()),
    "read some": lambda: plain(run["primary"].read(["time"])),
    "to_dask": lambda: plain(run["primary"].to_dask().compute()),
    "one field": lambda: plain(run["primary"]["data"]["time"][:2]),
    "array protocol": lambda: plain(run.primary.data["time"].__array__()),
    "timestamps": lambda: plain(run["primary"]["timestamps"].read()),
    "config": lambda: {
        device: plain(run["primary"]["config"][device].read())
        for device in run["primary"]["config"]
    },
    "config timestamps": lambda: {
        device: plain(run["primary"]["config_timestamps"][device].read())
        for device in run["primary"]["config_timestamps"]
    },
    "to_dataframe": lambda: sorted(run["primary"].read(["time"]).to_dataframe().columns),
    "documents": lambda: [name for name, _ in run.documents()],
    "filled": lambda: [name for name, _ in run.documents(fill=True)],
    "no such stream": lambda: run["nonsense"],
    "no such field": lambda: run["primary"]["data"]["nonsense"],
    "metadata": lambda: sorted(run.metadata),
    "v2": lambda: run.v2.start["uid"],
    # The interface of databroker 1.
    "header": lambda: db[uid].start["uid"],
    "header of newest": lambda: db[-1].start["uid"],
    "headers": lambda: [header.start["uid"] for header in db[uid, uid[:8]]],
    "call": lambda: sorted(header.start["uid"] for header in db(plan_name=plan)),
    "call with words": lambda: sorted(header.start["uid"] for header in db(plan)),
    "call with times": lambda: sorted(header.start["uid"] for header in db(since="2020")),
    "table": lambda: sorted(db[uid].table().columns),
    "table of fields": lambda: sorted(db[uid].table(fields=field_names()[:1]).columns),
    "filled table": lambda: sorted(db[uid].table(fill=True).columns),
    "data": lambda: len(list(db[uid].data("time"))),
    "fields": lambda: sorted(db[uid].fields()),
    "devices": lambda: sorted(db[uid].devices()),
    "stream names": lambda: sorted(db[uid].stream_names),
    "config data": lambda: {d: db[uid].config_data(d) for d in sorted(db[uid].devices())},
    "events": lambda: [event["seq_num"] for event in db[uid].events()],
    "header documents": lambda: [name for name, _ in db[uid].documents()],
    "restream": lambda: [name for name, _ in db.restream(db[uid])],
    "xarray": lambda: plain(db[uid].xarray()),
    "xarray_dask": lambda: plain(db[uid].xarray_dask().compute()),
    "html": lambda: "<table>" in db[uid]._repr_html_(),
}


if NEW:
    HABITS |= {
        "like": lambda: found(queries.Like("plan_name", plan[:3] + "%")),
        "keypresent": lambda: found(queries.KeyPresent("scan_id")),
        "descriptors": lambda: [d["uid"] for d in run.descriptors],
        "read by path": lambda: plain(run["primary", "data"].read()),
        "key absent": lambda: found(queries.KeyPresent("scan_id", exists=False)),
    }

# What is written to files.


def exported(node: Any, name: str) -> int:
    """Bytes of the file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        node.export(str(file))
        return file.stat().st_size


def exports(node: Any, name: str) -> Callable[[], int]:
    return lambda: exported(node(), name)


for suffix in ("csv", "parquet", "arrow", "json"):
    HABITS[f"table.{suffix}"] = exports(lambda: run["primary"]["data"], f"table.{suffix}")
for suffix in ("npy", "csv", "json", "h5"):
    HABITS[f"array.{suffix}"] = exports(lambda: run["primary"]["data"]["time"], f"array.{suffix}")
HABITS["run.h5"] = lambda: exported(run, "run.h5")

# Who one is.


def api_key() -> str | None:
    return str(context.create_api_key(expires_in=600)["secret"]) if user else None


@habit("whoami")
def whoami() -> str:
    return str(context.whoami()["identities"][0]["id"])


@habit("api key")
def with_api_key() -> Any:
    """Made, used, looked at and revoked."""
    made = context.create_api_key(expires_in=600, note="habit")
    client = from_uri(address, api_key=made["secret"])
    seen = client.context.which_api_key()
    by_address = from_uri(f"{address}?api_key={made['secret']}")
    length = [len(c[node.split("/")[0]]) > 0 for c in (client, by_address)]
    context.revoke_api_key(made["first_eight"])
    try:
        from_uri(address, api_key=made["secret"])
    except Exception as error:
        return [seen["note"], seen["first_eight"] == made["first_eight"], length, named(error)]
    return "works on"


@habit("dask client")
def dask_client() -> Any:
    lazy = from_context(context, "dask")
    for part in node.split("/"):
        lazy = lazy[part]
    return plain(lazy[uid]["primary"].read().compute())


@habit("logout")
def logout() -> Any:
    if not user:
        return None
    context.logout()
    return context.http_client.auth is None


def named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


for name, function in HABITS.items():
    try:
        HABITS[name] = function()
    except Exception as error:
        HABITS[name] = {"error": named(error)}  # type: ignore[assignment]
print(json.dumps(HABITS, default=str))
