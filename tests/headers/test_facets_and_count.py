"""GET headers/count/ and headers/facets/: numbers over what the caller may read."""

from typing import Any

import pytest

from policies.models import Proposal, RunOverride
from tests.conftest import Actor
from tests.documents import Recorder

COUNT = "/api/v1/headers/count/"
FACETS = "/api/v1/headers/facets/"


def facet(acting_as: Actor, field: str, actor: str = "dan", **filters: Any) -> list[Any]:
    content = acting_as(actor).get(FACETS, {"fields": field} | filters).json()
    return [(item["value"], item["count"]) for item in content[field]]


@pytest.fixture
def runs(recorder: Recorder) -> Recorder:
    """Three runs of alice, two of bob, a public one and one of nobody."""
    recorder.run("310000", plan_name="scan", scan_id=1)
    recorder.run("310000", plan_name="scan", scan_id=2, exit_status="fail")
    recorder.run("310000", "hxn", plan_name="count", scan_id=1)
    recorder.run("310001", plan_name="count", secret="tunnelling")
    recorder.run("310001", "hxn", plan_name="fly")
    recorder.run("312000", plan_name="count")
    recorder.run(None, plan_name="tune")
    return recorder


@pytest.mark.parametrize(
    ("actor", "count"), [("alice", 4), ("bob", 3), ("sue", 5), ("dan", 7), ("nobody", 1)]
)
def test_each_actor_counts_what_they_may_read(
    actor: str, count: int, acting_as: Actor, runs: Recorder
) -> None:
    """ABUSE-CASES 7."""
    assert acting_as(actor).get(COUNT).json() == {"count": count}


def test_counts_and_facets_take_the_filters_of_the_list(acting_as: Actor, runs: Recorder) -> None:
    alice = acting_as("alice")
    assert alice.get(COUNT, {"plan_name": "scan"}).json() == {"count": 2}
    assert alice.get(COUNT, {"exit_status": "fail", "catalog": "csx"}).json() == {"count": 1}
    assert alice.get(COUNT, {"query": '{"scan_id": 1, "plan_name": "count"}'}).json()["count"] == 2
    assert facet(acting_as, "plan_name", exit_status="fail") == [("scan", 1)]


def test_a_facet_lists_values_by_how_often_they_are(acting_as: Actor, runs: Recorder) -> None:
    assert facet(acting_as, "plan_name") == [("count", 3), ("scan", 2), ("fly", 1), ("tune", 1)]
    assert facet(acting_as, "plan_name", "alice") == [("count", 2), ("scan", 2)]


def test_facets_hold_no_value_of_a_hidden_run(acting_as: Actor, runs: Recorder) -> None:
    """ABUSE-CASES 7 and 9."""
    assert facet(acting_as, "secret", "alice") == []
    assert facet(acting_as, "plan_name", "nobody") == [("count", 1)]
    assert facet(acting_as, "proposal", "bob") == [("310001", 2), ("312000", 1)]
    assert facet(acting_as, "catalog", "nobody") == [("csx", 1)]


def test_facets_tell_what_the_service_knows_of_runs(acting_as: Actor, runs: Recorder) -> None:
    assert facet(acting_as, "catalog") == [("csx", 5), ("hxn", 2)]
    assert facet(acting_as, "beamline") == [("csx", 5), ("hxn", 2)]
    assert facet(acting_as, "proposal") == [("310000", 3), ("310001", 2), ("312000", 1)]


def test_the_facet_of_proposals_counts_moved_runs_where_they_are(
    acting_as: Actor, runs: Recorder
) -> None:
    first, second = runs.run("310000"), runs.run(None)
    for uid in (first, second, "$title"):
        RunOverride.objects.create(
            catalog="csx",
            run_uid=uid,
            proposal=Proposal.objects.get(proposal_id="310001"),
            reason="mistake",
        )
    assert facet(acting_as, "proposal") == [("310001", 4), ("310000", 3), ("312000", 1)]
    assert facet(acting_as, "proposal", "alice") == [("310000", 3), ("312000", 1)]


def test_the_facet_of_proposals_agrees_with_the_list_on_odd_documents(
    acting_as: Actor, recorder: Recorder
) -> None:
    oddly_named: list[dict[str, Any]] = [
        {"proposal": 310000},
        {"proposal": "310000"},
        {"proposal": {"proposal_id": 310000.0}},
        {"proposal": {"proposal_id": [310000]}},
        {"proposal": [{"proposal_id": 310000}]},
        {"proposal": {}},
        {"proposal": None},
        {},
    ]
    for number, named in enumerate(oddly_named):
        recorder.insert("hxn", "run_start", {"uid": f"run-{number}", "time": number, **named})
    listed = acting_as("dan").get("/api/v1/headers/").json()["results"]
    named_by_list = [run["proposal"] for run in listed if run["proposal"]]
    assert facet(acting_as, "proposal") == [("310000", len(named_by_list))]


def test_a_facet_keeps_kinds_of_values_apart(acting_as: Actor, recorder: Recorder) -> None:
    for value in (1, 1.0, True, "1", None, {"a": 1}, [2, 3]):
        recorder.run(value=value, events=0)
    assert facet(acting_as, "value") == [(1, 2), ("1", 1), (2, 1), (3, 1), (True, 1)]


def test_a_facet_is_cut_after_the_hundred_most_frequent_values(
    acting_as: Actor, recorder: Recorder
) -> None:
    for number in range(101):
        recorder.insert(
            "csx", "run_start", {"uid": f"run-{number}", "time": 1.0, "x": number % 101}
        )
    recorder.run(x=7, events=0)
    found = facet(acting_as, "x")
    assert len(found) == 100
    assert found[0] == (7, 2)


@pytest.mark.parametrize(
    "fields",
    ["", "$where", "a.$b", "_id", "a..b", "a__b", ",", ",".join("abcdefghijk"), "x" * 300, "a\0"],
)
def test_facets_of_what_is_no_field_are_refused(fields: str, acting_as: Actor) -> None:
    """ABUSE-CASES 2 and 14."""
    assert acting_as("dan").get(FACETS, {"fields": fields}).status_code == 400


def test_facets_need_fields(acting_as: Actor) -> None:
    response = acting_as("dan").get(FACETS)
    assert response.status_code == 400
    assert "fields" in response.json()["detail"]
