"""GET headers/{key}/ and descriptors/{uid}/: keys, contents, caching, cost."""

import uuid
from collections.abc import Callable

import pytest

from policies.models import Proposal, RunOverride
from tests.conftest import Actor, Commands
from tests.documents import Recorder

URL = "/api/v1/headers/"
DESCRIPTORS = "/api/v1/descriptors/"


def test_a_run_comes_with_its_descriptors_and_streams(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run(sample="gold")
    run = acting_as("alice").get(f"{URL}{uid}/").json()
    assert {"uid", "catalog", "proposal", "start", "stop", "descriptors", "streams"} == set(run)
    assert run["start"]["sample"] == "gold"
    assert run["stop"]["exit_status"] == "success"
    assert [descriptor["run_start"] for descriptor in run["descriptors"]] == [uid]
    assert [stream["name"] for stream in run["streams"]] == ["primary"]
    assert "_id" not in run["start"] | run["stop"] | run["descriptors"][0]


@pytest.mark.parametrize(
    ("actor", "status"),
    [("alice", 200), ("bob", 404), ("sue", 200), ("dan", 200), ("nobody", 404)],
)
def test_each_actor_reads_what_they_may(
    actor: str, status: int, acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run("310000")
    client = acting_as(actor)
    assert client.get(f"{URL}{uid}/").status_code == status
    assert client.get(f"{URL}{uid[:8]}/").status_code == status
    assert client.get(f"{URL}-1/").status_code == status


def test_a_moved_run_is_told_with_the_proposal_it_was_moved_to(
    acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run("310000")
    proposal = Proposal.objects.get(proposal_id="310001")
    RunOverride.objects.create(catalog="csx", run_uid=uid, proposal=proposal, reason="mistake")
    assert acting_as("bob").get(f"{URL}{uid}/").json()["proposal"] == "310001"
    assert acting_as("alice").get(f"{URL}{uid}/").status_code == 404


def test_newest_counts_only_what_the_caller_may_read(acting_as: Actor, recorder: Recorder) -> None:
    """ABUSE-CASES 6."""
    older = recorder.run("310000", catalog="hxn")
    newer = recorder.run("310000")
    recorder.run("310001")
    alice = acting_as("alice")
    assert alice.get(f"{URL}-1/").json()["uid"] == newer
    assert alice.get(f"{URL}-2/").json()["uid"] == older
    assert alice.get(f"{URL}-3/").status_code == 404


@pytest.mark.parametrize("key", ["-0", "-10001", "-99999999999", "-" + "9" * 5000, "--1", "-1.5"])
def test_numbers_out_of_range_are_not_found(key: str, acting_as: Actor, recorder: Recorder) -> None:
    recorder.run()
    assert acting_as("alice").get(f"{URL}{key}/").status_code == 404


def test_a_prefix_is_unique_among_what_the_caller_may_read(
    acting_as: Actor, recorder: Recorder
) -> None:
    """ABUSE-CASES 6 and 7."""
    recorder.run("310000", uid="abcde-1")
    recorder.run("310001", uid="abcde-2", catalog="hxn")
    assert acting_as("alice").get(f"{URL}abcde/").json()["uid"] == "abcde-1"
    assert acting_as("bob").get(f"{URL}abcde/").json()["uid"] == "abcde-2"
    ambiguous = acting_as("dan").get(f"{URL}abcde/")
    assert ambiguous.status_code == 409
    assert b"abcde-" not in ambiguous.content
    assert acting_as("dan").get(f"{URL}abcd/").status_code == 404


def test_a_whole_uid_wins_over_being_the_beginning_of_another(
    acting_as: Actor, recorder: Recorder
) -> None:
    recorder.run(uid="abcde")
    recorder.run(uid="abcdef")
    assert acting_as("alice").get(f"{URL}abcde/").json()["uid"] == "abcde"


@pytest.mark.parametrize("key", [".....", "[a-f0-9]", "^.{8}", "%00%00%00%00%00", "{}", "$where"])
def test_a_prefix_is_a_text_and_no_pattern(key: str, acting_as: Actor, recorder: Recorder) -> None:
    """ABUSE-CASES 2."""
    recorder.run()
    assert acting_as("alice").get(f"{URL}{key}/").status_code == 404


# -- caching ------------------


def test_a_complete_run_needs_not_be_sent_twice(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run()
    alice = acting_as("alice")
    for path in (f"{URL}{uid}/", f"{URL}{uid}/streams/"):
        first = alice.get(path)
        again = alice.get(path, HTTP_IF_NONE_MATCH=first["ETag"])
        assert (again.status_code, again.content) == (304, b"")
        assert again["ETag"] == first["ETag"]
        other = alice.get(path, HTTP_IF_NONE_MATCH='"something else"')
        assert other.status_code == 200


def test_an_open_run_has_no_etag_because_it_changes(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run(exit_status=None)
    assert "ETag" not in acting_as("alice").get(f"{URL}{uid}/")


def test_an_etag_opens_nothing_for_others(acting_as: Actor, recorder: Recorder) -> None:
    """ABUSE-CASES 7."""
    uid = recorder.run()
    etag = acting_as("alice").get(f"{URL}{uid}/")["ETag"]
    hidden = acting_as("bob").get(f"{URL}{uid}/", HTTP_IF_NONE_MATCH=etag)
    assert hidden.status_code == 404
    assert "ETag" not in hidden


def test_etags_of_json_and_of_the_page_for_people_differ(
    acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run()
    alice = acting_as("alice")
    page = alice.get(f"{URL}{uid}/", HTTP_ACCEPT="text/html")
    assert page["Content-Type"].startswith("text/html")
    assert page["ETag"] != alice.get(f"{URL}{uid}/")["ETag"]


def test_answers_are_kept_out_of_shared_caches(acting_as: Actor, recorder: Recorder) -> None:
    response = acting_as("alice").get(f"{URL}{recorder.run()}/")
    assert response["Cache-Control"] == "private, no-cache"
    assert {"Accept", "Authorization", "Cookie"} <= set(response["Vary"].split(", "))


# -- descriptors ------------------


def test_a_descriptor_is_the_stored_document(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run()
    alice = acting_as("alice")
    (descriptor,) = alice.get(f"{URL}{uid}/").json()["descriptors"]
    assert alice.get(f"{DESCRIPTORS}{descriptor['uid']}/").json() == descriptor


@pytest.mark.parametrize("actor", ["bob", "nobody"])
def test_a_descriptor_of_a_hidden_run_does_not_exist(
    actor: str, acting_as: Actor, recorder: Recorder
) -> None:
    """ABUSE-CASES 6."""
    run = recorder.run("310000")
    descriptor = recorder.descriptor(run)
    assert acting_as(actor).get(f"{DESCRIPTORS}{descriptor}/").status_code == 404


def test_a_descriptor_without_run_does_not_exist(acting_as: Actor, recorder: Recorder) -> None:
    orphan = recorder.descriptor("gone")
    recorder.insert("csx", "event_descriptor", {"uid": "stray"})
    assert acting_as("dan").get(f"{DESCRIPTORS}{orphan}/").status_code == 404
    assert acting_as("dan").get(f"{DESCRIPTORS}stray/").status_code == 404


def test_hidden_and_nonexistent_cost_the_same_commands(
    acting_as: Actor, recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    """ABUSE-CASES 8: the same work takes the same time."""
    run = recorder.run("310001")
    descriptor = recorder.descriptor(run)
    alice = acting_as("alice")
    index_stands()
    for path, hidden in ((URL, run), (URL, run[:8]), (DESCRIPTORS, descriptor)):
        sent = []
        for key in (hidden, str(uuid.uuid4())[: len(hidden)]):
            commands.sent.clear()
            assert alice.get(f"{path}{key}/").status_code == 404
            sent.append(sorted(commands.names))  # the catalogs are asked side by side
        assert sent[0] == sent[1]
