"""GET headers/: pages, order, filters, and what each actor sees."""

from collections.abc import Callable

import pytest
from django.db.models import QuerySet

from policies.models import Membership, Proposal
from tests.conftest import Actor, Commands, People
from tests.documents import Recorder

URL = "/api/v1/headers/"


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ("alice", {"alice's", "public"}),
        ("bob", {"bob's", "public"}),
        ("sue", {"alice's", "bob's", "nobody's", "public"}),
        ("dan", {"alice's", "bob's", "nobody's", "public"}),
        ("nobody", {"public"}),
    ],
)
def test_each_actor_lists_just_what_they_may_read(
    actor: str, expected: set[str], acting_as: Actor, recorder: Recorder
) -> None:
    owners = {"alice's": "310000", "bob's": "310001", "public": "312000", "nobody's": None}
    for title, proposal in owners.items():
        recorder.run(proposal, title=title)
    response = acting_as(actor).get(URL)
    assert {run["start"]["title"] for run in response.json()["results"]} == expected


def test_a_page_of_runs_costs_two_commands_and_three_with_descriptors(
    acting_as: Actor, recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    for _ in range(5):
        recorder.run()
    alice = acting_as("alice")
    index_stands()
    commands.sent.clear()
    assert len(alice.get(URL, {"catalog": "csx"}).json()["results"]) == 5
    assert commands.names == ["find", "find"]
    commands.sent.clear()
    page = alice.get(URL, {"catalog": "csx", "include": "descriptors"}).json()["results"]
    assert all(len(run["descriptors"]) == 1 for run in page)
    assert commands.names == ["find", "find", "find"]


def test_a_result_is_the_whole_run(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run(sample={"name": "gold", "deep": [{"x": 1}]})
    (run,) = acting_as("alice").get(URL).json()["results"]
    assert set(run) == {"uid", "catalog", "proposal", "start", "stop"}
    assert (run["uid"], run["catalog"], run["proposal"]) == (uid, "csx", "310000")
    assert run["start"]["uid"] == uid
    assert run["start"]["sample"] == {"name": "gold", "deep": [{"x": 1}]}
    assert run["stop"]["run_start"] == uid
    assert "_id" not in run["start"] | run["stop"]


def test_a_run_that_is_still_open_has_no_stop(acting_as: Actor, recorder: Recorder) -> None:
    recorder.run(exit_status=None)
    (run,) = acting_as("alice").get(URL).json()["results"]
    assert run["stop"] is None


def test_descriptors_come_only_when_asked_for(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run()
    recorder.descriptor(uid, name="baseline", time=1.0)
    alice = acting_as("alice")
    assert "descriptors" not in alice.get(URL).json()["results"][0]
    (run,) = alice.get(URL, {"include": "descriptors"}).json()["results"]
    assert [descriptor["name"] for descriptor in run["descriptors"]] == ["baseline", "primary"]


def test_runs_come_newest_first_or_oldest_first_over_all_catalogs(
    acting_as: Actor, recorder: Recorder
) -> None:
    uids = [recorder.run(catalog=catalog) for catalog in ("csx", "hxn", "csx", "hxn")]
    alice = acting_as("alice")
    newest = [run["uid"] for run in alice.get(URL).json()["results"]]
    oldest = [run["uid"] for run in alice.get(URL, {"ordering": "time"}).json()["results"]]
    assert newest == uids[::-1]
    assert oldest == uids


def test_links_lead_through_all_pages_and_keep_the_filters(
    acting_as: Actor, recorder: Recorder
) -> None:
    uids = [recorder.run(plan_name="count") for _ in range(5)]
    recorder.run(plan_name="scan")
    alice = acting_as("alice")
    page = alice.get(URL, {"page_size": "2", "plan_name": "count", "ordering": "time"}).json()
    found = [run["uid"] for run in page["results"]]
    assert page["previous"] is None
    while page["next"]:
        assert page["next"].startswith("http://testserver/api/v1/headers/?")
        page = alice.get(page["next"]).json()
        found += [run["uid"] for run in page["results"]]
    assert found == uids
    before = alice.get(page["previous"]).json()
    assert [run["uid"] for run in before["results"]] == uids[2:4]


def test_a_list_without_runs_is_empty(acting_as: Actor, recorder: Recorder) -> None:
    assert acting_as("nobody").get(URL).json() == {"next": None, "previous": None, "results": []}


@pytest.mark.parametrize(
    "query",
    [
        "page_size=0",
        "page_size=-1",
        "page_size=1001",
        "page_size=1e9",
        "page_size=ten",
        "page_size=",
        "pagesize=10",
        "page=2",
        "limit=2",
        "Catalog=csx",
        "catalog=csx&catalog=hxn",
        "page_size=1&page_size=1",
        "catalog=nsls",
        "beamline=nsls",
        "ordering=uid",
        "ordering=-stop.time",
        "include=events",
        "exit_status=failed",
        "scan_id=one",
        "scan_id=99999999999999999999",
        "uid=abcd",
        "since=yesterday",
        "until=2026-13",
        "search=",
        "cursor=",
        "access_token=x",
        "plan_name=%00",
    ],
)
def test_unknown_repeated_or_wrong_parameters_are_refused_by_name(
    query: str, acting_as: Actor
) -> None:
    """ABUSE-CASES 9 and 14."""
    response = acting_as("alice").get(f"{URL}?{query}")
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert query.partition("=")[0] in response.json()["detail"]


@pytest.mark.parametrize("name", ["plan_name", "proposal", "uid", "search"])
@pytest.mark.parametrize(
    "value", ['{"$ne": null}', '{"$gt": ""}', '{"$regex": ".*"}', '["x", "y"]']
)
def test_operators_where_a_text_is_expected_are_refused(
    name: str, value: str, acting_as: Actor, recorder: Recorder
) -> None:
    """ABUSE-CASES 1."""
    recorder.run()
    response = acting_as("alice").get(URL, {name: value})
    assert response.status_code == 400
    assert response.json()["detail"] == f"{name}: takes a plain text; operators go into 'query'."


def test_operators_in_the_shape_of_php_parameters_are_refused(acting_as: Actor) -> None:
    """ABUSE-CASES 1."""
    response = acting_as("alice").get(f"{URL}?plan_name[$ne]=x&uid[$regex]=.*")
    assert response.status_code == 400


def test_a_page_costs_the_same_at_any_depth(
    acting_as: Actor, recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    for _ in range(9):
        recorder.run(events=0)
    dan = acting_as("dan")
    index_stands()
    page = dan.get(URL, {"catalog": "csx", "page_size": "2"}).json()
    while page["next"]:
        commands.sent.clear()
        page = dan.get(page["next"]).json()
        assert commands.names == ["find", "find"]
        assert set(commands.sent[0].command["filter"]) == {"_id"}


def test_five_thousand_proposals_make_no_longer_query(
    acting_as: Actor,
    recorder: Recorder,
    commands: Commands,
    people: People,
    index_stands: Callable[[], None],
) -> None:
    recorder.run(events=0)
    ids = [str(number) for number in range(400_000, 405_000)]
    # Past the audit trail, which would take its time.
    proposals: QuerySet[Proposal] = QuerySet(Proposal)
    made = proposals.bulk_create(Proposal(proposal_id=id) for id in ids)
    memberships: QuerySet[Membership] = QuerySet(Membership)
    memberships.bulk_create(Membership(proposal=p, user=people.alice) for p in made)
    alice = acting_as("alice")
    index_stands()
    commands.sent.clear()
    assert len(alice.get(URL).json()["results"]) == 1
    assert [event.command["find"] for event in commands.sent] == ["run_start", "run_stop"]
