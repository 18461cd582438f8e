"""The stock clients of Tiled, in environments of their own, against the running service.

They read the demo's runs; what databroker 1.2 reads from the databases themselves is the measure.
"""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from demo.load import catalogs_toml, load, manifest
from demo.people import password_of
from tests.programs import lacking
from tests.running import ROOT, Installation, Instance
from tests.test_parity import read_all

GENERATIONS = {"2026": ".venv-tiled", "2023": ".venv-tiled-old"}
SCRIPTS = ROOT / "tests" / "tiled"
PEOPLE = ("", "alice", "bob", "sue", "dan")
RUNS = manifest()["csx"]
# databroker 1.2 drops the events of descriptors without name.
OLD_STYLE = manifest()["hxn"]["old_style"]
Doc = dict[str, Any]


@dataclass(frozen=True)
class Demo:
    """The service over the demo's runs, with its people, and what databroker reads of them."""

    service: Instance
    files: Path
    read: Mapping[str, Doc]


@pytest.fixture(scope="module")
def demo(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    load(mongo_uri, folder / "data")
    catalogs = folder / "catalogs.toml"
    catalogs.write_text(catalogs_toml(mongo_uri, folder / "data"))
    installation = Installation.make(folder, BROKER_CATALOGS=str(catalogs))
    people = "from demo.people import create_people; create_people()"
    installation.manage("shell", "--verbosity", "0", "-c", people)
    with installation.instance() as instance:
        yield Demo(instance, folder / "data", read_all(mongo_uri, folder))


def printed(generation: str, script: str, home: Path, *arguments: str) -> list[Any]:
    """The lines of JSON that a script prints in the environment of stock clients."""
    python = ROOT / GENERATIONS[generation] / "bin" / "python"
    if not python.exists():
        lacking(f"{GENERATIONS[generation]}, which `make test` installs,")
    done = subprocess.run(
        [python, SCRIPTS / script, *arguments],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def listed(service: Instance, user: str, catalog: str = "") -> list[Doc]:
    """The runs that a person may read, oldest first, as the service's own routes list them."""
    client = httpx.Client(base_url=f"{service.address}/api/v1/", timeout=60)
    if user:
        given = {"username": user, "password": password_of(user)}
        token = client.post("auth/token/", json=given).json()["access"]
        client.headers["Authorization"] = f"Bearer {token}"
    query = {"ordering": "time", "page_size": "1000"} | ({"catalog": catalog} if catalog else {})
    found: list[Doc] = client.get("headers/", params=query).json()["results"]
    return found


# -- all that there is -----------------------------------------------------------------------------


WALKS = [
    *(("2026", user, "all") for user in PEOPLE),
    ("2023", "", "all"),
    ("2023", "dan", "all"),
    ("2026", "alice", "all_v3"),
    ("2026", "dan", "all_v3"),
]


@pytest.mark.parametrize(("generation", "user", "node"), WALKS)
def test_all_that_a_person_reads_is_what_the_database_holds(
    generation: str, user: str, node: str, demo: Demo, tmp_path: Path
) -> None:
    """Complete, failed, aborted and open runs, scalars, texts, spectra and frames."""
    runs = printed(generation, "walk_with_tiled.py", tmp_path, *as_(demo, user), node)
    assert [run["uid"] for run in runs] == [run["uid"] for run in listed(demo.service, user)]
    assert len(runs) > (60 if user == "dan" else 0)
    compared = 0
    for run in runs:
        expected = demo.read[run["uid"]]
        if run["uid"] == OLD_STYLE:
            continue
        assert by_uid(run["documents"]) == by_uid(pages_apart(expected["documents"])), run["uid"]
        assert len(run["documents"]) == len(pages_apart(expected["documents"]))
        assert sorted(run["streams"]) == sorted(expected["tables"])
        for name, read in run["streams"].items():
            events = events_of(expected["filled"], name)
            for field in {key for event in events for key in event["data"]}:
                values = [event["data"].get(field) for event in events]
                assert read[field] == values, (run["uid"], name, field)
                compared += 1
    assert compared > (200 if user == "dan" else 10)


def as_(demo: Demo, user: str) -> tuple[str, str, str]:
    return demo.service.address, user, password_of(user) if user else ""


def pages_apart(documents: list[Any]) -> list[Any]:
    return [item for item in documents if item[0] in KINDS]


KINDS = ("start", "descriptor", "event", "resource", "datum", "stop")


def by_uid(documents: list[Any]) -> dict[tuple[str, str], Any]:
    return {(name, doc.get("uid") or doc.get("datum_id")): doc for name, doc in documents}


def events_of(documents: list[Any], stream: str) -> list[Doc]:
    named = {
        doc["uid"] for name, doc in documents if name == "descriptor" and doc["name"] == stream
    }
    return [doc for name, doc in documents if name == "event" and doc["descriptor"] in named]


# -- habits ----------------------------------------------------------------------------------------

Chooses = Callable[[Doc], bool]
REFUSED = re.compile(r"ClientError: 400: .*pattern")
HABITUAL = [
    ("2026", "", "public"),
    ("2026", "alice", "failed"),
    ("2026", "alice", "open"),
    ("2026", "bob", "public"),
    ("2026", "sue", "not_a_number"),
    ("2026", "dan", "aborted"),
    ("2026", "dan", "hostile"),
    ("2023", "", "public"),
    ("2023", "alice", "open"),
    ("2023", "dan", "not_a_number"),
]


@pytest.mark.parametrize(("generation", "user", "name"), HABITUAL)
def test_habits_of_scripts_work_unchanged(
    generation: str, user: str, name: str, demo: Demo, tmp_path: Path
) -> None:
    uid = RUNS[name]
    arguments = (*as_(demo, user), "csx/raw", uid)
    (found,) = printed(generation, "habits.py", tmp_path, *arguments)
    runs = listed(demo.service, user, "csx")
    (run,) = (run for run in runs if run["uid"] == uid)
    start, plan = run["start"], run["start"]["plan_name"]
    check_which_runs(found, runs, run)
    for habit, chooses in searches(start, plan).items():
        if habit in found:
            chosen = [run["uid"] for run in runs if chooses(run)]
            assert found[habit] == sorted(chosen), habit
    counts = Counter(run["start"]["plan_name"] for run in runs)
    values = {item["value"]: item["count"] for item in found["distinct"]["start.plan_name"]}
    assert values == counts
    (alike,) = found["distinct without counts"].values()
    assert alike == [
        {"value": v["value"], "count": None} for v in found["distinct"]["start.plan_name"]
    ]
    check_one_run(found, run, demo.read[uid])
    check_header(found, run, demo.read[uid])
    check_who(found, user)
    files = {habit: size for habit, size in found.items() if "." in habit}
    assert len(files) == 9
    assert all(isinstance(size, int) and size > 0 for size in files.values()), files


def check_which_runs(found: Doc, runs: list[Doc], run: Doc) -> None:
    uids, uid = [run["uid"] for run in runs], run["uid"]
    assert found["uids"] == uids
    assert found["length"] == len(uids)
    assert found["repr"].startswith("<Catalog {")
    assert found["newest"] == found["last"] == found["header of newest"] == uids[-1]
    assert found["second newest"] == uids[-2]
    assert found["oldest"] == uids[0]
    assert found["tail"] == uids[-3:]
    assert found["head"] == uids[:3]
    assert found["a slice"] == uids[2:5]
    assert found["keys backwards"] == uids[:-4:-1]
    assert found["sorted"] == uids[:-4:-1]
    assert found["sorted by scan id"] == sorted(run["start"]["scan_id"] for run in runs)
    for habit in ("by uid", "by prefix", "by uid accessor", "by an address", "header", "v2"):
        assert found[habit] == uid, habit
    assert found["by scan id"] == found["by scan id accessor"] == run["start"]["scan_id"]
    assert found["several"] == found["headers"] == [uid, uid]
    assert found["unknown"]["error"].startswith("KeyError")
    assert found["is in"] == [True, False]
    same_plan = [r["uid"] for r in runs if r["start"]["plan_name"] == run["start"]["plan_name"]]
    assert found["search and newest"] == same_plan[-1]
    assert found["search and uid"] == uid


def searches(start: Doc, plan: str) -> dict[str, Chooses]:
    """What each search should find among the runs that the person may read."""

    def same_plan(run: Doc) -> bool:
        return bool(run["start"]["plan_name"] == plan)

    def itself(run: Doc) -> bool:
        return bool(run["uid"] == start["uid"])

    def anything(run: Doc) -> bool:
        return True

    def nothing(run: Doc) -> bool:
        return False

    number = start["scan_id"]
    return {
        **dict.fromkeys(("eq", "key", "in", "raw mongo", "a dictionary", "call"), same_plan),
        **dict.fromkeys(("noteq", "notin"), lambda run: not same_plan(run)),
        "comparison": lambda run: run["start"]["scan_id"] >= number,
        "contains": lambda run: start["detectors"][0] in run["start"]["detectors"],
        "regex": lambda run: run["start"]["plan_name"].startswith(plan[:3]),
        "like": lambda run: run["start"]["plan_name"].startswith(plan[:3]),
        "regex in any case": lambda run: plan in run["start"]["plan_name"],
        **dict.fromkeys(("keypresent", "specs", "structure family", "call with times"), anything),
        **dict.fromkeys(("key absent", "other specs", "other family"), nothing),
        **dict.fromkeys(("keys filter", "scan_id", "partial_uid", "time_range"), itself),
        **dict.fromkeys(("chained", "chained of one kind"), itself),
        "stop": lambda run: (run["stop"] or {}).get("exit_status") == "fail",
        "scan_id_range": lambda run: number <= run["start"]["scan_id"] < number + 2,
        "time range of texts": lambda run: run["start"]["time"] >= start["time"] // 86400 * 86400,
    }


def check_one_run(found: Doc, run: Doc, expected: Doc) -> None:
    """Equal to what the database holds, as databroker 1.2 reads it."""
    assert found["start"] == run["start"]
    assert found["stop document"] == run["stop"]
    assert found["metadata"] == ["start", "stop", "summary"]
    assert sorted(found["streams"]) == sorted(found["stream names"]) == sorted(expected["tables"])
    assert found["run repr"].startswith("<BlueskyRun")
    assert "primary" in found["stream repr"]
    assert found["tab"] is True
    descriptors = [doc for kind, doc in expected["documents"] if kind == "descriptor"]
    mine = [doc["uid"] for doc in descriptors if doc["name"] == "primary"]
    assert found["stream descriptors"] == mine
    if "descriptors" in found:
        assert sorted(found["descriptors"]) == sorted(doc["uid"] for doc in descriptors)
    events = events_of(expected["documents"], "primary")
    read = {field: [e["data"][field] for e in events] for field in events[0]["data"]}
    read["time"] = [event["time"] for event in events]
    times = {name: [e["timestamps"][name] for e in events] for name in events[0]["data"]}
    for habit in ("read", "read by path", "to_dask", "dask client", "xarray", "xarray_dask"):
        assert found.get(habit, read) == read, habit
    assert found["read some"] == {"time": read["time"]}
    assert found["attribute"] == ["time", *(name for name in read if name != "time")]
    assert found["one field"] == read["time"][:2]
    assert found["array protocol"] == read["time"]
    assert found["timestamps"] == times | {"time": read["time"]}
    for habit, part in (("config", "data"), ("config timestamps", "timestamps")):
        for device, values in found[habit].items():
            recorded = descriptors_of(descriptors, mine, device, part)
            assert values == recorded, (habit, device)
    for habit in ("no such stream", "no such field"):
        assert found[habit] == {"error": "KeyError: 'nonsense'"}
    kinds = ["start", "descriptor", "event_page", *(["stop"] if run["stop"] else [])]
    assert set(found["documents"]) == set(found["filled"]) == set(kinds)
    assert found["documents"][0] == "start"


def descriptors_of(descriptors: list[Doc], uids: list[str], device: str, part: str) -> Doc:
    recorded = [d["configuration"][device][part] for d in descriptors if d["uid"] in uids]
    return {name: [values[name] for values in recorded] for name in recorded[0]}


def check_header(found: Doc, run: Doc, expected: Doc) -> None:
    """The interface of databroker 1."""
    fields = sorted(expected["tables"]["primary"])
    assert set(found["fields"]) >= set(fields)
    assert found["table"] == found["filled table"] == sorted([*fields, "time"])
    assert found["table of fields"] == sorted([fields[0], "time"])
    events = events_of(expected["documents"], "primary")
    assert found["data"] == len(events)
    if run["stop"]:  # without, databroker 2.0.2 itself fails to wrap the stop document
        assert found["events"] == [event["seq_num"] for event in events]
        assert found["html"] is True
        kinds = Counter(kind for kind, _ in expected["documents"])
        assert Counter(found["header documents"]) == Counter(found["restream"]) == kinds
    assert set(found["config data"]) == set(found["devices"])
    assert run["uid"] in found["call"]
    assert run["uid"] in found["call with words"]


def check_who(found: Doc, user: str) -> None:
    for habit in ("unsafe regex", "malformed regex"):
        assert REFUSED.match(found[habit]["error"]), habit
    if not user:
        assert "401" in found["whoami"]["error"]
        return
    assert found["whoami"] == user
    note, same, works, ended = found["api key"]
    assert (note, same, works) == ("habit", True, [True, True])
    assert ended.startswith("ClientError: 401")
    assert found["logout"] is True


# -- files that are missing ------------------------------------------------------------------------


@pytest.mark.parametrize("generation", GENERATIONS)
def test_of_a_run_whose_files_are_gone_all_else_is_read(
    generation: str, demo: Demo, tmp_path: Path
) -> None:
    """The client says that the link is broken; it does not try again for 45 seconds."""
    uid, run = next(
        (uid, run)
        for uid, run in demo.read.items()
        if any(kind == "resource" for kind, _ in run["documents"])
    )
    gone = [
        demo.files / Path(doc["root"]).relative_to("/facility/data") / doc["resource_path"]
        for kind, doc in run["documents"]
        if kind == "resource"
    ]
    for file in gone:
        file.rename(file.with_name(file.name + ".gone"))
    try:
        (found,) = printed(generation, "read_scalars.py", tmp_path, *as_(demo, "dan"), uid)
    finally:
        for file in gone:
            file.with_name(file.name + ".gone").rename(file)
    events = events_of(run["documents"], "primary")
    external = set(found["external"])
    assert external
    scalars = {field: [event["data"][field] for event in events] for field in events[0]["data"]}
    assert found["scalars"] == {f: v for f, v in scalars.items() if f not in external}
    assert found["table"] == sorted({*scalars, "time"} - external)
    assert found["documents"] == len(events)
    assert set(found["shapes"]) == external
    for error in found["errors"].values():
        assert error.startswith(("KeyError", "ClientError: 410")), error
    assert found["seconds"] < 30


def test_the_layout_of_tileds_writer_is_read_by_the_newest_clients(
    demo: Demo, tmp_path: Path
) -> None:
    uid = RUNS["public"]
    (found,) = printed("2026", "read_layout3.py", tmp_path, *as_(demo, ""), uid)
    expected = demo.read[uid]
    events = events_of(expected["documents"], "primary")
    fields = list(events[0]["data"])
    assert found["is_sql"] is True
    assert found["by prefix"] == uid
    assert found["streams"] == ["baseline", "primary"]
    assert sorted(found["fields"]) == sorted([*fields, "time"])
    assert found["columns"][:2] == ["seq_num", "time"]
    assert set(found["columns"][2:]) == {*fields, *(f"ts_{field}" for field in fields)}
    assert found["timestamps"] == [event["timestamps"][fields[0]] for event in events]
    assert found["one"] == [event["data"][fields[0]] for event in events]
    uids = [doc["uid"] for kind, doc in expected["documents"] if kind == "descriptor"]
    assert sorted(found["descriptors"]) == sorted(uids)
    assert set(found["documents"]) == {"start", "descriptor", "event_page", "stop"}
    assert found["v2"] == found["v1"] == sorted([*fields, "time"])
    assert found["csv"] > 100
