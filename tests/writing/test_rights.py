"""Who may write what."""

from collections.abc import Callable
from typing import Any

import pytest

from headers.catalogs import Catalog
from policies.models import AuditEvent, Beamline, Proposal, RunOverride
from tests.conftest import ACTORS, Actor, People
from tests.writing.conftest import URL, Writer, token_client
from tests.writing.runs import a_run, a_stop

Stored = Callable[[str], list[dict[str, Any]]]


@pytest.mark.parametrize("actor", ACTORS)
def test_people_write_nothing_whatever_they_may_read(
    acting_as: Actor, writable: Catalog, stored: Stored, actor: str
) -> None:
    for url in (URL, "/api/v1/catalogs/none/documents/"):
        answer = Writer(acting_as(actor))(*a_run(), url=url)
        assert answer.status_code == (401 if actor == "nobody" else 403)
    assert stored("run_start") == []


def test_a_token_for_reading_writes_nothing(
    people: People, writable: Catalog, stored: Stored
) -> None:
    reading = token_client(people.dan, scopes=["read:metadata", "read:data"])
    assert Writer(reading)(*a_run()).status_code == 403
    assert stored("run_start") == []


def test_a_writing_token_reads_nothing(writer: Writer) -> None:
    assert writer.client.get("/api/v1/headers/").status_code == 403


def test_catalogs_that_are_not_the_tokens_are_all_alike(writer: Writer) -> None:
    answers = [
        writer(*a_run(), url=f"/api/v1/catalogs/{name}/documents/") for name in ("hxn", "none")
    ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


def test_a_catalog_is_read_only_by_default(people: People, writable: Catalog) -> None:
    dan = Writer(token_client(people.dan, catalogs=["hxn", "gone"]))
    answer = dan(*a_run(), url="/api/v1/catalogs/hxn/documents/")
    assert (answer.status_code, "metadata_write" in answer.json()["detail"]) == (403, True)
    assert dan(*a_run(), url="/api/v1/catalogs/gone/documents/").status_code == 404


def test_a_right_that_its_owner_lost_is_lost_to_the_token(
    people: People, writer: Writer, stored: Stored
) -> None:
    run = a_run()
    assert writer(*run[:3]).status_code == 200
    Beamline.objects.get(name="csx").staff.remove(people.sue)
    assert writer(*run).status_code == 403
    assert len(stored("event")) == 1


def test_a_token_of_a_proposal_writes_its_runs_only(
    people: People, writable: Catalog, stored: Stored
) -> None:
    narrow = Writer(token_client(people.sue, proposals=["310000"]))
    other, unplaced = a_run(proposal="310001"), a_run()
    del unplaced[0][1]["data_session"]
    for run in (other, unplaced):
        answer = narrow(*run)
        assert (answer.status_code, answer.json()["reason"]) == (403, "forbidden")
        assert answer.json()["accepted"] == 0
    own = a_run()
    assert narrow(*own).status_code == 200
    assert [start["uid"] for start in stored("run_start")] == [own[0][1]["uid"]]


def test_a_token_of_the_beamline_writes_runs_that_nothing_places(writer: Writer) -> None:
    run = a_run()
    del run[0][1]["data_session"]
    assert writer(*run).status_code == 200


def test_a_run_of_another_proposal_does_not_exist(people: People, writer: Writer) -> None:
    run = a_run(proposal="310001", stop=False)
    writer(*run)
    narrow = Writer(token_client(people.sue, proposals=["310000"]))
    uid, nowhere = run[0][1]["uid"], a_run()[0][1]["uid"]
    hidden, absent = (narrow(("stop", a_stop(of))) for of in (uid, nowhere))
    assert hidden.status_code == absent.status_code == 409
    assert hidden.json()["reason"] == absent.json()["reason"] == "start-missing"
    forged = narrow(("start", run[0][1] | {"data_session": "pass-310000"}))
    assert forged.json()["reason"] == "conflict"
    assert "differs" not in forged.json()["detail"]


def test_an_override_of_the_proposal_counts(people: People, writer: Writer) -> None:
    run = a_run(proposal="310000")
    moved = Proposal.objects.get(proposal_id="310001")
    RunOverride.objects.create(
        catalog="csx", run_uid=run[0][1]["uid"], proposal=moved, reason="mis-tagged"
    )
    assert Writer(token_client(people.sue, proposals=["310000"]))(*run).status_code == 403
    assert Writer(token_client(people.sue, proposals=["310001"]))(*run).status_code == 200


def test_the_trail_tells_of_runs_and_of_what_was_refused(writer: Writer) -> None:
    run = a_run()
    uid = run[0][1]["uid"]
    writer(*run)
    writer(*run)
    writer(("stop", a_stop(uid)))
    told = AuditEvent.objects.filter(kind=AuditEvent.Kind.WRITTEN).order_by("pk")
    assert [event.result for event in told] == ["run began", "run ended", "refused: conflict"]
    assert {(e.run_uid, e.catalog, e.proposal, e.actor) for e in told} == {
        (uid, "csx", "310000", "sue")
    }
    assert told[2].status == 409


TWIN = "/api/v1/documents/csx/raw"


def test_databrokers_own_client_is_answered_with_null(writer: Writer, stored: Stored) -> None:
    import json

    run = a_run()
    for _ in range(2):
        for name, doc in run:
            body = json.dumps({"name": name, "doc": doc})
            url = TWIN if name == "event" else "/api/v1/documents/csx"
            answer = writer.client.generic("POST", url, body, content_type="")
            assert (answer.status_code, answer.json()) == (200, None)
    assert len(stored("event")) == 3
    assert len(stored("run_stop")) == 1


@pytest.mark.parametrize("body", ["", "[]", "{", '{"name": "start"}', '{"name": 1, "doc": {}}'])
def test_what_databrokers_client_would_not_send_is_a_400(writer: Writer, body: str) -> None:
    answer = writer.client.generic("POST", TWIN, body, content_type="application/json")
    assert answer.status_code == 400


@pytest.mark.parametrize("actor", ACTORS)
def test_people_write_nothing_by_databrokers_client_either(
    acting_as: Actor, writable: Catalog, actor: str
) -> None:
    body = {"name": "start", "doc": a_run()[0][1]}
    answer = acting_as(actor).post(TWIN, body, format="json")
    assert answer.status_code == (401 if actor == "nobody" else 403)
