"""Notes, stars and tags of runs, and saved searches: who sees them and who may write them."""

import json
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from headers.annotations import marks, searches
from headers.annotations.models import RunNote, RunStar, RunTag, SavedSearch
from policies.models import AuditEvent, Membership, Proposal, RunOverride
from tests.conftest import Actor, Commands, People
from tests.documents import Recorder

HOSTILE = '<script>alert(1)</script>\u202e"><img src=x>'


def url(run: str, what: str) -> str:
    return f"/api/v1/headers/{run}/{what}/"


def add_note(client: APIClient, run: str, text: str = "aligned") -> int:
    response = client.post(url(run, "notes"), {"text": text}, format="json")
    assert response.status_code == 201, response.content
    return int(response.json()["id"])


def add_tag(client: APIClient, run: str, name: str = "good") -> Any:
    return client.post(url(run, "tags"), {"name": name}, format="json")


def texts(client: APIClient, run: str) -> list[str]:
    return [note["text"] for note in client.get(url(run, "notes")).json()["notes"]]


def titles(client: APIClient, **parameters: Any) -> list[str]:
    runs = client.get("/api/v1/headers/", parameters).json()["results"]
    return [run["start"]["title"] for run in runs]


@pytest.fixture
def run(recorder: Recorder) -> str:
    """A run of alice."""
    return recorder.run(title="alice's")


@pytest.fixture
def browser(people: People) -> Client:
    """Alice at a browser."""
    client = Client()
    client.force_login(people.alice, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_a_note_is_seen_by_who_may_read_the_run(acting_as: Actor, run: str) -> None:
    number = add_note(acting_as("alice"), run, "  Beam was lost.\r\nAgain! ")
    for actor in ("alice", "sue", "dan"):
        (note,) = acting_as(actor).get(url(run, "notes")).json()["notes"]
        assert (note["id"], note["author"], note["text"]) == (
            number,
            "alice",
            "Beam was lost.\nAgain!",
        )
        assert note["created"]
    for actor in ("bob", "nobody"):
        assert acting_as(actor).get(url(run, "notes")).status_code == 404


def test_who_loses_the_run_loses_its_notes_tags_and_stars(
    acting_as: Actor, run: str, people: People, recorder: Recorder
) -> None:
    alice = acting_as("alice")
    add_note(alice, run)
    add_tag(alice, run)
    alice.put(url(run, "star"))
    assert titles(alice, find="is:starred") == ["alice's"]
    Membership.objects.filter(user=people.alice).delete()
    for what in ("notes", "tags", "star"):
        assert alice.get(url(run, what)).status_code == 404
    assert alice.put(url(run, "star")).status_code == 404
    assert add_tag(alice, run).status_code == 404
    assert titles(alice, find="is:starred") == []
    assert titles(alice, find="tag:good") == []
    facets = Client()
    facets.force_login(people.alice, backend="django.contrib.auth.backends.ModelBackend")
    assert "good" not in facets.get("/runs/facets/").content.decode()


def test_notes_stay_with_a_run_that_is_moved(
    acting_as: Actor, run: str, recorder: Recorder
) -> None:
    add_note(acting_as("alice"), run)
    proposal = Proposal.objects.get(proposal_id="310001")
    RunOverride.objects.create(run_uid=run, catalog="csx", proposal=proposal)
    assert texts(acting_as("bob"), run) == ["aligned"]
    assert acting_as("alice").get(url(run, "notes")).status_code == 404


def test_the_same_uid_in_another_catalog_is_another_run(
    acting_as: Actor, run: str, recorder: Recorder
) -> None:
    add_tag(acting_as("alice"), run)
    acting_as("alice").put(url(run, "star"))
    recorder.run("310001", "hxn", uid=run, title="bob's")
    assert titles(acting_as("bob"), find="tag:good") == []
    assert titles(acting_as("alice"), find="tag:good is:starred") == ["alice's"]


def test_members_staff_and_data_admins_write_and_readers_of_what_is_public_do_not(
    acting_as: Actor, recorder: Recorder, people: People
) -> None:
    public = recorder.run("312000")
    for actor, status in (("alice", 403), ("bob", 403), ("sue", 201), ("dan", 201)):
        client = acting_as(actor)
        assert client.post(url(public, "notes"), {"text": "x"}, format="json").status_code == status
        assert add_tag(client, public, actor).status_code == status
        assert client.put(url(public, "star")).status_code == 200
    nobody = acting_as("nobody")
    assert nobody.get(url(public, "notes")).status_code == 200
    for response in (add_tag(nobody, public), nobody.put(url(public, "star"))):
        assert response.status_code in (401, 403)
    Membership.objects.create(
        user=people.alice, proposal=Proposal.objects.get(proposal_id="312000")
    )
    assert (
        acting_as("alice").post(url(public, "notes"), {"text": "x"}, format="json").status_code
        == 201
    )


def test_a_note_is_removed_by_its_author_or_a_data_admin(acting_as: Actor, run: str) -> None:
    alice, sue = acting_as("alice"), acting_as("sue")
    number = add_note(alice, run)
    assert sue.delete(f"{url(run, 'notes')}?id={number}").status_code == 403
    assert alice.delete(f"{url(run, 'notes')}?id={number}").status_code == 204
    assert alice.delete(f"{url(run, 'notes')}?id={number}").status_code == 404
    other = add_note(sue, run)
    assert acting_as("dan").delete(f"{url(run, 'notes')}?id={other}").status_code == 204
    assert texts(alice, run) == []


def test_a_note_is_removed_through_its_own_run_only(
    acting_as: Actor, run: str, recorder: Recorder
) -> None:
    number, other = add_note(acting_as("alice"), run), recorder.run()
    response = acting_as("alice").delete(f"{url(other, 'notes')}?id={number}")
    assert response.status_code == 404
    assert texts(acting_as("alice"), run) == ["aligned"]


def test_tags_are_case_folded_found_and_taken_away(
    acting_as: Actor, run: str, recorder: Recorder
) -> None:
    recorder.run(title="other")
    alice = acting_as("alice")
    assert add_tag(alice, run, "  For the   Paper ").status_code == 201
    assert add_tag(alice, run, "for the paper").status_code == 201
    (tag,) = alice.get(url(run, "tags")).json()["tags"]
    assert (tag["name"], tag["author"]) == ("for the paper", "alice")
    assert titles(acting_as("sue"), find="tag:PAPER") == ["alice's"]
    assert titles(alice, find='tag:"paper"') == []
    assert titles(alice, find='tag:"For the paper"') == ["alice's"]
    assert titles(acting_as("bob"), find="tag:paper") == []
    alice.delete(f"{url(run, 'tags')}?name=For the paper")
    assert alice.get(url(run, "tags")).json() == {"tags": []}


def test_a_star_is_ones_own(acting_as: Actor, run: str) -> None:
    alice, sue = acting_as("alice"), acting_as("sue")
    for _ in range(2):
        assert alice.put(url(run, "star")).json() == {"starred": True}
    assert sue.get(url(run, "star")).json() == {"starred": False}
    assert titles(alice, find="is:starred") == ["alice's"]
    assert titles(sue, find="is:starred") == titles(acting_as("nobody"), find="is:starred") == []
    assert alice.delete(url(run, "star")).json() == {"starred": False}
    assert titles(alice, find="is:starred") == []


@pytest.mark.parametrize(
    ("what", "content"),
    [
        ("notes", {"text": ""}),
        ("notes", {"text": "x" * 4001}),
        ("notes", {"text": "a\0b"}),
        ("notes", {"text": "\ud800"}),
        ("notes", {}),
        ("notes", {"text": ["x"]}),
        ("tags", {"name": "x" * 51}),
        ("tags", {"name": 'a"b'}),
        ("tags", {"name": "a\0b"}),
        ("tags", {"name": {"$ne": None}}),
        ("tags", {"name": "   "}),
        ("tags", []),
    ],
)
def test_what_cannot_be_kept_is_refused(
    what: str, content: Any, acting_as: Actor, run: str
) -> None:
    body = json.dumps(content)  # half of a surrogate pair, too, as an escape
    response = acting_as("alice").post(url(run, what), body, content_type="application/json")
    assert response.status_code == 400
    assert not RunNote.objects.exists()
    assert not RunTag.objects.exists()


def test_there_are_not_too_many(
    acting_as: Actor, run: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MOST_NOTES", "MOST_TAGS", "MOST_STARS"):
        monkeypatch.setattr(marks, name, 1)
    alice, other = acting_as("alice"), recorder.run()
    add_note(alice, run)
    add_tag(alice, run)
    alice.put(url(run, "star"))
    assert alice.post(url(run, "notes"), {"text": "x"}, format="json").status_code == 409
    assert add_tag(alice, run, "second").status_code == 409
    assert alice.put(url(other, "star")).status_code == 409
    assert alice.put(url(run, "star")).status_code == 200


def test_an_api_token_reads_notes_and_writes_none(acting_as: Actor, run: str) -> None:
    alice = acting_as("alice")
    add_note(alice, run)
    scopes = ["read:metadata", "read:data"]
    limits = {"name": "script", "scopes": scopes, "expires_in": 3600}
    token = alice.post("/api/v1/auth/api-tokens/", limits, format="json").json()["token"]
    script = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert texts(script, run) == ["aligned"]
    assert script.post(url(run, "notes"), {"text": "x"}, format="json").status_code == 403
    assert script.put(url(run, "star")).status_code == 403
    assert RunNote.objects.count() == 1


def test_what_is_written_is_in_the_audit_trail(acting_as: Actor, run: str) -> None:
    alice = acting_as("alice")
    number = add_note(alice, run, "secret words")
    add_tag(alice, run)
    alice.delete(f"{url(run, 'tags')}?name=good")
    alice.delete(f"{url(run, 'notes')}?id={number}")
    events = AuditEvent.objects.filter(kind="written").order_by("pk")
    assert [(e.actor, e.result, e.run_uid, e.proposal) for e in events] == [
        ("alice", result, run, "310000")
        for result in ("note added", "tag added", "tag removed", "note removed")
    ]
    assert "secret words" not in str([event.details for event in events])


def test_mongodb_is_not_touched(acting_as: Actor, run: str, commands: Commands) -> None:
    alice = acting_as("alice")
    commands.sent.clear()
    add_note(alice, run)
    add_tag(alice, run)
    alice.put(url(run, "star"))
    assert set(commands.names) <= {"aggregate", "find"}


def test_pages_show_notes_inert_and_take_them_by_forms(
    browser: Client, run: str, acting_as: Actor, people: People
) -> None:
    address = f"/runs/{run}/annotations/"
    for form in (
        {"do": "note", "text": HOSTILE},
        {"do": "tag", "name": "<b>bold</b>"},
        {"do": "star"},
    ):
        response = browser.post(address, form)
        assert (response.status_code, response["Location"]) == (302, f"/runs/{run}/#annotations")
    for path in (f"/runs/{run}/", f"/runs/{run}/preview/", address, "/runs/", "/runs/facets/"):
        page = browser.get(path).content.decode()
        for raw in ("<script>alert", "<img src=x", "<b>bold", "\u202e"):
            assert raw not in page
        assert "&lt;b&gt;bold" in page, path
    assert "1 note" in browser.get("/runs/").content.decode()
    note = RunNote.objects.get()
    for form in (
        {"do": "remove-note", "id": str(note.pk)},
        {"do": "untag", "name": "<b>bold</b>"},
        {"do": "unstar"},
    ):
        assert browser.post(address, form).status_code == 302
    assert not RunNote.objects.exists() | RunTag.objects.exists() | RunStar.objects.exists()
    for form in ({"do": "other"}, {}, {"do": "remove-note", "id": "x"}, {"do": "note"}):
        assert browser.post(address, form).status_code == 400


def test_forms_need_their_csrf_token_and_a_person(run: str, people: People) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(people.alice, backend="django.contrib.auth.backends.ModelBackend")
    for path in (f"/runs/{run}/annotations/", "/runs/searches/"):
        assert strict.post(path, {"do": "star", "name": "x", "query": ""}).status_code == 403
        assert Client().post(path, {"do": "star", "name": "x"}).status_code in (401, 403)
    assert not RunStar.objects.exists() | SavedSearch.objects.exists()


def test_the_page_of_many_runs_asks_for_their_notes_at_once(
    browser: Client, recorder: Recorder, django_assert_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for _ in range(2):
        for _ in range(4):
            recorder.run()
        browser.get("/runs/")
        with CaptureQueriesContext(connection) as asked:
            browser.get("/runs/")
        counts.append(len([q for q in asked.captured_queries if "annotations" in q["sql"]]))
    assert counts[0] == counts[1]


# -- saved searches ----------------------------------------------------------------------------


def test_a_search_is_kept_under_its_name_and_forgotten(
    browser: Client, people: People, recorder: Recorder
) -> None:
    query = "find=last+night&plan_name=scan&cursor=x&page_size=3"
    response = browser.post("/runs/searches/", {"name": "mine <b>", "query": query})
    assert response["Location"] == "/runs/?find=last+night&plan_name=scan"
    page = browser.get("/runs/").content.decode()
    assert "mine &lt;b&gt;" in page
    assert 'href="/runs/?find=last+night&amp;plan_name=scan"' in page
    browser.post("/runs/searches/", {"name": "mine <b>", "query": "find=today"})
    search = SavedSearch.objects.get()
    assert search.query == "find=today"
    other = Client()
    other.force_login(people.bob, backend="django.contrib.auth.backends.ModelBackend")
    assert "mine" not in other.get("/runs/").content.decode()
    other.post("/runs/searches/", {"remove": search.pk})
    assert SavedSearch.objects.exists()
    browser.post("/runs/searches/", {"remove": search.pk})
    assert not SavedSearch.objects.exists()


def test_a_saved_search_is_filters_and_nothing_else(
    browser: Client, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = browser.post(
        "/runs/searches/", {"name": "x", "query": '//evil.example/"><script>alert(1)</script>'}
    )
    assert response["Location"].startswith("/runs/?")
    assert "<script>alert" not in browser.get("/runs/").content.decode()
    for form in ({"name": "", "query": ""}, {"query": "a"}, {"name": "x" * 81, "query": ""}):
        assert browser.post("/runs/searches/", form).status_code == 400
    assert browser.post("/runs/searches/", {"remove": "x"}).status_code == 400
    monkeypatch.setattr(searches, "MOST", 1)
    assert browser.post("/runs/searches/", {"name": "y", "query": ""}).status_code == 409
    assert browser.post("/runs/searches/", {"name": "x", "query": ""}).status_code == 302
