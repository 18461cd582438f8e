"""What each route costs, as commands sent to MongoDB: a baseline, changed only on purpose."""

import pytest

from policies.models import Proposal
from tests.conftest import Actor, Commands
from tests.documents import Recorder

# Address → commands when one catalog holds the runs and is the only one asked.
# A route that asks more needs a reason in the commit that changes this table.
CONDITIONED = ["aggregate run_start", "find run_stop"]
BASELINE = {
    "headers/?catalog=csx": ["find run_start", "find run_stop"],
    "headers/?catalog=csx&include=descriptors": [
        "find run_start",
        "find run_stop",
        "find event_descriptor",
    ],
    "headers/?catalog=csx&page_size=1&ordering=time": ["find run_start", "find run_stop"],
    "headers/?catalog=csx&exit_status=success": CONDITIONED,
    'headers/?catalog=csx&query={{"descriptor.name": "primary"}}': CONDITIONED,
    "headers/?catalog=csx&since=2020&plan_name=scan&proposal=310000": CONDITIONED,
    "headers/count/?catalog=csx": ["aggregate run_start"],
    "headers/facets/?catalog=csx&fields=plan_name": ["aggregate run_start"],
    "headers/facets/?catalog=csx&fields=plan_name,proposal,catalog": ["aggregate run_start"] * 3,
}
# Routes by key ask every catalog for the run; alice reads two.
BY_KEY = {
    "headers/{uid}/": ["aggregate run_start"] * 2,
    "headers/{prefix}/": ["aggregate run_start"] * 4 + ["find run_start"] * 2,
    "headers/-1/": ["find run_start"] * 2 + ["aggregate run_start"],
    "headers/{uid}/streams/": ["aggregate run_start"] * 2,
    "descriptors/{descriptor}/": ["find event_descriptor"] * 2 + ["aggregate run_start"] * 2,
}


def sent(commands: Commands) -> list[str]:
    return sorted(f"{e.command_name} {e.command[e.command_name]}" for e in commands.sent)


@pytest.mark.parametrize("address", [*BASELINE, *BY_KEY])
@pytest.mark.parametrize("count", [1, 7])
def test_a_route_costs_these_commands_however_many_runs_there_are(
    address: str, count: int, acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    for _ in range(count):
        uid = recorder.run()
    client = acting_as("alice")
    (descriptor,) = client.get(f"/api/v1/headers/{uid}/").json()["descriptors"]
    names = {"uid": uid, "prefix": uid[:8], "descriptor": descriptor["uid"]}
    commands.sent.clear()
    assert client.get("/api/v1/" + address.format(**names)).status_code == 200
    expected = (BASELINE | BY_KEY)[address]
    assert sent(commands) == sorted(expected)


def test_a_page_of_a_hundred_runs_is_one_batch_of_each_command(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    for number in range(101):
        start = {"uid": f"run-{number}", "time": float(number), "data_session": "pass-310000"}
        recorder.insert("csx", "run_start", start)
        recorder.stop(f"run-{number}")
    client = acting_as("alice")
    commands.sent.clear()
    page = client.get("/api/v1/headers/?catalog=csx").json()
    assert len(page["results"]) == 100
    assert page["next"]
    assert sent(commands) == ["find run_start", "find run_stop"]


def test_who_may_read_nothing_costs_nothing(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    client = acting_as("nobody")
    Proposal.objects.update(public_from=None)
    commands.sent.clear()
    assert client.get("/api/v1/headers/").json()["results"] == []
    assert commands.sent == []


@pytest.mark.parametrize(
    ("parameters", "equal"),
    [
        ("", set()),
        ("&scan_id=1", {"scan_id"}),
        ("&since=2020&until=2030", set()),
    ],
)
def test_an_index_on_time_and_id_serves_the_sort(
    parameters: str, equal: set[str], acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    """Equality on fields, then the keys of the sort, then bounds on these: what one index has."""
    for _ in range(3):
        recorder.run(events=0)
    client = acting_as("dan")
    url = f"/api/v1/headers/?catalog=csx&page_size=1{parameters}"
    for _ in range(2):
        commands.sent.clear()
        page = client.get(url).json()
        find = commands.sent[0].command
        assert list(find["sort"].items()) == [("time", -1), ("_id", -1)]
        where = dict(find["filter"])
        bounds = where.pop("time", {})
        behind = where.pop("$or", [{"time": {}}, {"_id": {}}])
        assert set(bounds) <= {"$gte", "$lt", "$lte"}
        assert [set(item) for item in behind] == [{"time"}, {"_id"}]
        assert set(where) == equal
        url = page["next"]


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
