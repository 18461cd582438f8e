"""GET headers/: pages, order, filters, and what each actor sees."""

import pytest

from tests.conftest import Actor, Commands
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
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    for _ in range(5):
        recorder.run()
    alice = acting_as("alice")
    commands.sent.clear()
    assert len(alice.get(URL, {"catalog": "csx"}).json()["results"]) == 5
    assert commands.names == ["find", "find"]
    commands.sent.clear()
    page = alice.get(URL, {"catalog": "csx", "include": "descriptors"}).json()["results"]
    assert all(len(run["descriptors"]) == 1 for run in page)
    assert commands.names == ["find", "find", "find"]
