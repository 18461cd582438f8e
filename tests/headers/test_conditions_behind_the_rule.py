"""A caller's conditions are judged on readable runs only: behind a barrier, whatever they are.

How long a pattern takes tells what the text is that it is matched with (ABUSE-CASES 4, 7 and 8).
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from headers.mongo import database
from headers.repositories import ANY_NUMBER_OF_RUNS
from policies.models import Proposal
from tests.conftest import Actor, Commands
from tests.documents import Recorder

LIST = "/api/v1/headers/"
ROUTES = {LIST: {}, f"{LIST}count/": {}, f"{LIST}facets/": {"fields": "title"}}
CONDITIONS: dict[str, dict[str, str]] = {
    "pattern": {"query": json.dumps({"secret": {"$regex": "^s3cr"}})},
    "value": {"query": json.dumps({"secret": "s3cret"})},
    "stop": {"query": json.dumps({"stop.secret": {"$ne": "s3cret"}})},
    "descriptor": {"query": json.dumps({"descriptor.data_keys.secret.units": "s3cret"})},
    "alternatives": {"query": json.dumps({"$or": [{"secret": "s3cret"}, {"stop.secret": 1}]})},
}
"""each holds something that must not be judged too early: `secret`, `s3cret` or a join"""
TELLING = ("secret", "s3cr", "$lookup", "_broker_")


def stages_before_the_barrier(pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return pipeline[: pipeline.index(ANY_NUMBER_OF_RUNS)]


@pytest.mark.parametrize("actor", ["alice", "sue", "nobody", "dan"])
@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
@pytest.mark.parametrize("route", ROUTES)
def test_conditions_stand_behind_a_barrier(
    route: str,
    condition: dict[str, str],
    actor: str,
    acting_as: Actor,
    recorder: Recorder,
    commands: Commands,
    index_stands: Callable[[], None],
) -> None:
    Proposal.objects.create(proposal_id="319999", locked=True)
    recorder.run("312000", exit_status=None)
    api = acting_as(actor)
    index_stands()
    commands.sent.clear()
    assert api.get(route, {**ROUTES[route], **condition, "catalog": "csx"}).status_code == 200
    pipelines = [e.command["pipeline"] for e in commands.sent if "pipeline" in e.command]
    asked = [pipeline for pipeline in pipelines if any(word in str(pipeline) for word in TELLING)]
    assert asked
    for pipeline in asked:
        before = str(stages_before_the_barrier(pipeline))
        assert not any(word in before for word in TELLING)
        if actor != "dan":
            assert "data_session" in before  # by which the rule knows the proposals of csx


def test_a_condition_selects_what_it_did_without_the_barrier(
    acting_as: Actor, recorder: Recorder
) -> None:
    own = recorder.run("310000", secret="s3cret")
    recorder.run("310000", secret="other")
    recorder.run("310001", secret="s3cret")
    alice = acting_as("alice")
    for query in (
        {"secret": {"$regex": "^s3cr"}},
        {"secret": "s3cret", "stop.exit_status": "success"},
    ):
        found = alice.get(LIST, {"query": json.dumps(query)}).json()["results"]
        assert [run["uid"] for run in found] == [own]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"stop.x": None}, {"open", "without"}),
        ({"stop.x": {"$exists": False}}, {"open", "without"}),
        ({"stop.x": {"$in": [None, 7]}}, {"open", "without"}),
        ({"stop.x": {"$ne": 1}}, {"open", "without"}),
        ({"stop.x": {"$exists": True}}, {"with"}),
        ({"stop.x": {"$ne": None}}, {"with"}),
        ({"$not": {"stop.x": None}}, {"with"}),
        ({"stop.x": 1}, {"with"}),
        ({"stop.x": None, "stop.exit_status": "success"}, {"without"}),
    ],
)
def test_what_a_stop_document_lacks_an_open_run_lacks_too(
    query: dict[str, Any], found: set[str], acting_as: Actor, recorder: Recorder
) -> None:
    recorder.run(title="open", exit_status=None)
    recorder.run(title="without")
    uid = recorder.run(title="with", exit_status=None)
    recorder.stop(uid, x=1, exit_status="success")
    answer = acting_as("dan").get(LIST, {"query": json.dumps(query)}).json()
    assert {run["start"]["title"] for run in answer["results"]} == found


def test_documents_of_hidden_descriptors_are_not_read_to_be_refused(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    """ABUSE-CASES 8: a large one would take longer than one that does not exist."""
    run = recorder.run("310001", events=0)
    stored = database(recorder.catalogs["csx"].metadata).event_descriptor.find_one(
        {"run_start": run}
    )
    assert stored
    bob, alice = acting_as("bob"), acting_as("alice")
    assert bob.get(f"/api/v1/descriptors/{stored['uid']}/").json()["uid"] == stored["uid"]
    commands.sent.clear()
    assert alice.get(f"/api/v1/descriptors/{stored['uid']}/").status_code == 404
    asked = [e.command for e in commands.sent if e.command_name == "find"]
    assert all(command["projection"] == {"run_start": 1} for command in asked)
