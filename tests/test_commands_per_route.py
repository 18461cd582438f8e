"""What each route costs, as commands sent to MongoDB: a baseline, changed only on purpose."""

import json
from collections.abc import Callable

import pytest

from policies.models import Proposal
from tests.conftest import Actor, Commands
from tests.documents import Recorder

# Address → commands when one catalog holds the runs and is the only one asked.
# A route that asks more needs a reason in the commit that changes this table.
PAGE = ["find run_start", "find run_stop"]
CONDITIONED = ["aggregate run_start", "find run_stop"]
BASELINE = {
    "headers/?catalog=csx": ["find run_start", "find run_stop"],
    "headers/?catalog=csx&include=descriptors": [
        "find run_start",
        "find run_stop",
        "find event_descriptor",
    ],
    "headers/?catalog=csx&page_size=1&ordering=time": ["find run_start", "find run_stop"],
    "headers/?catalog=csx&exit_status=success": PAGE,
    'headers/?catalog=csx&query={{"descriptor.name": "primary"}}': CONDITIONED,
    "headers/?catalog=csx&since=2020&plan_name=scan&proposal=310000": PAGE,
    "headers/?catalog=csx&search=scan&motor=th": [],
    "headers/count/?catalog=csx": [],
    "headers/facets/?catalog=csx&fields=plan_name,proposal,catalog,sample.name": [],
    "headers/facets/?catalog=csx&fields=title": ["aggregate run_start"],
}
# Tiled's protocol asks for nothing more than the service's own routes. A page has the names of the
# streams of its runs.
TILED_PAGE = [*PAGE, "find event_descriptor"]
TILED = {
    "metadata/csx/raw": [],
    "search/csx/raw": TILED_PAGE,
    "search/csx/v3": TILED_PAGE,
    "search/csx/raw?fields=count": [],
    "search/csx/raw?fields=": TILED_PAGE,
    "search/csx/raw?page[limit]=1&sort=-time": TILED_PAGE,
    # Once for the page, once for how many there are.
    "search/csx/raw?filter[eq][condition][key]=start.plan_name"
    "&filter[eq][condition][value]=%22scan%22": [*CONDITIONED, *TILED_PAGE[2:], *CONDITIONED[:1]],
    "search/csx/raw?filter[partial_uid][condition][partial_uids]={prefix}": TILED_PAGE,
    "search/csx/raw?filter[fulltext][condition][text]=scan&fields=count": [],
    "distinct/csx/raw?metadata=plan_name&metadata=sample.name&counts=true": [],
    "distinct/csx/v3?metadata=title": ["aggregate run_start"],
}
ONE_RUN = ["aggregate run_start"]
TILED_BY_KEY = {
    **dict.fromkeys(
        ("metadata/csx/raw/{uid}", "metadata/all/{uid}", "search/csx/raw/{uid}"), ONE_RUN
    ),
    **dict.fromkeys(("metadata/csx/v3/{uid}", "metadata/all_v3/{uid}/primary"), ONE_RUN),
    "metadata/csx/raw/{uid}/primary/config": ONE_RUN,
    "distinct/csx/raw/{uid}?metadata=plan_name": ONE_RUN,
    "search/csx/raw/{uid}/primary/data": [*ONE_RUN, "find event"],
    "metadata/csx/raw/{uid}/primary/data/det": [*ONE_RUN, "find event"],
    "array/full/csx/raw/{uid}/primary/data/det": [*ONE_RUN, "find event"],
    "array/block/csx/raw/{uid}/primary/data/det?block=0": [*ONE_RUN, "find event"],
    "container/full/csx/raw/{uid}/primary/data?format=arrow": [*ONE_RUN, "find event"],
    "table/full/csx/v3/{uid}/primary/internal": [*ONE_RUN, "find event"],
    "table/partition/csx/v3/{uid}/primary/internal": [*ONE_RUN, "find event"],
    "search/csx/v3/{uid}/primary": [*ONE_RUN, "find event"],
    "documents/csx/raw/{uid}": [*ONE_RUN, "find event"],
}
# Of two catalogs, the one that holds the run is asked, as the index knows; both for a uid
# that is none, and for what the index does not have.
BY_KEY = {
    "headers/{uid}/": ["aggregate run_start"],
    "headers/{prefix}/": ["aggregate run_start"] * 3,
    "headers/-1/": [*PAGE, "find event_descriptor"],
    "headers/{uid}/streams/": ["aggregate run_start"],
    "descriptors/{descriptor}/": ["find event_descriptor"] * 2 + ["aggregate run_start"] * 2,
}


def sent(commands: Commands) -> list[str]:
    return sorted(f"{e.command_name} {e.command[e.command_name]}" for e in commands.sent)


ROUTES = BASELINE | BY_KEY | TILED | TILED_BY_KEY


@pytest.mark.parametrize("address", ROUTES)
@pytest.mark.parametrize("count", [1, 7])
def test_a_route_costs_these_commands_however_many_runs_there_are(
    address: str,
    count: int,
    acting_as: Actor,
    recorder: Recorder,
    commands: Commands,
    index_stands: Callable[[], None],
) -> None:
    for _ in range(count):
        uid = recorder.run()
    client = acting_as("alice")
    (descriptor,) = client.get(f"/api/v1/headers/{uid}/").json()["descriptors"]
    names = {"uid": uid, "prefix": uid[:8], "descriptor": descriptor["uid"]}
    index_stands()
    commands.sent.clear()
    response = client.get("/api/v1/" + address.format(**names))
    assert response.status_code == 200
    if response.streaming:
        assert b"".join(response)
    assert sent(commands) == sorted(ROUTES[address])


def test_what_the_columns_of_a_complete_stream_are_is_read_once(
    acting_as: Actor, recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    """Of 100,000 events it takes as long as to send them. Events may still be on their way."""
    complete, late = recorder.run(events=3), recorder.run(events=3)
    descriptor = recorder.descriptor(late, name="other")
    recorder.events(descriptor, 1)
    client = acting_as("alice")
    index_stands()
    shapes = []
    for address in (f"{complete}/primary", f"{late}/other"):
        for _ in range(2):
            commands.sent.clear()
            page = client.get(f"/api/v1/search/csx/raw/{address}/data").json()
            shapes.append(page["data"][0]["attributes"]["structure"]["shape"])
            shapes.append(sent(commands))
            recorder.events(descriptor, 1, time=2e9)
    commands.sent.clear()
    address = f"/api/v1/container/full/csx/raw/{complete}/primary/data?format=json&field="
    (times,) = json.loads(b"".join(client.get(address + "time"))).values()
    once = ["aggregate run_start"]
    whole = [*once, "find event"]
    assert sent(commands) == once
    table = client.get(f"/api/v1/headers/{complete}/streams/primary/table/?format=json")
    assert times == json.loads(b"".join(table))["time"]
    assert shapes[:4] == [[3], whole, [3], once]
    assert shapes[5::2] == [whole, whole]


def test_a_page_of_a_hundred_runs_is_one_batch_of_each_command(
    acting_as: Actor,
    recorder: Recorder,
    commands: Commands,
    index_stands: Callable[[], None],
) -> None:
    for number in range(101):
        start = {"uid": f"run-{number}", "time": float(number), "data_session": "pass-310000"}
        recorder.insert("csx", "run_start", start)
        recorder.stop(f"run-{number}")
    client = acting_as("alice")
    index_stands()
    commands.sent.clear()
    page = client.get("/api/v1/headers/?catalog=csx").json()
    assert len(page["results"]) == 100
    assert page["next"]
    assert sent(commands) == ["find run_start", "find run_stop"]


def test_who_may_read_nothing_costs_nothing(
    acting_as: Actor,
    recorder: Recorder,
    commands: Commands,
    index_stands: Callable[[], None],
) -> None:
    client = acting_as("nobody")
    index_stands()
    Proposal.objects.update(public_from=None)
    commands.sent.clear()
    assert client.get("/api/v1/headers/").json()["results"] == []
    assert commands.sent == []


def test_no_join_has_both_fields_and_a_pipeline(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    """MongoDB before 5.0 refuses `$lookup` with localField and pipeline, as other servers do."""
    uid = recorder.run(events=2)
    recorder.descriptor(uid, name="other")
    alice, dan = acting_as("alice"), acting_as("dan")
    commands.sent.clear()
    for path in (
        *BASELINE,
        "headers/{uid}/",
        "headers/{uid}/documents/",
        "headers/{uid}/export/",
        "headers/{uid}/streams/",
        "headers/{uid}/streams/primary/table/",
        "headers/{uid}/streams/primary/data/det/",
        'headers/?query={{"stop.x": 1, "descriptor.y": 2}}',
    ):
        for client in (alice, dan):
            response = client.get("/api/v1/" + path.format(uid=uid))
            assert response.status_code == 200
            if response.streaming:
                assert b"".join(response)
    pipelines = [
        event.command["pipeline"] for event in commands.sent if "pipeline" in event.command
    ]
    joins = [stage["$lookup"] for stages in pipelines for stage in stages if "$lookup" in stage]
    assert joins
    assert all(set(join) == {"from", "localField", "foreignField", "as"} for join in joins)
