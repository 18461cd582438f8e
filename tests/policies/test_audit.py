"""The audit trail: what is told, what is not, and that nothing told is lost or changed."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings
from rest_framework.test import APIClient
from structlog.testing import capture_logs

from headers.mongo import database
from policies import append_only, audit
from policies.models import (
    APIToken,
    AuditEvent,
    Beamline,
    Membership,
    Proposal,
    ReadOnlyRowError,
    RunOverride,
    User,
)
from policies.tokens import Limits, make_token, revoke_token
from tests.conftest import PASSWORD, Actor, People
from tests.documents import Recorder
from tests.test_hidden_runs import routes

HEADERS = "/api/v1/headers/"
TOKEN = "/api/v1/auth/token/"
BACKEND = "django.contrib.auth.backends.ModelBackend"


def told(kind: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(kind=kind).order_by("pk"))


@pytest.fixture
def world(people: People) -> People:
    """The people, without what making them has told."""
    with append_only.lifted():
        AuditEvent.objects.all()._raw_delete("default")
        append_only.remove()
    return people


# -- Reads -------------------------------------------------------------------------------------


def test_reading_a_restricted_run_is_told(
    world: People, acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run("310000")
    answer = acting_as("alice").get(
        f"{HEADERS}{uid}/", REMOTE_ADDR="192.0.2.1", HTTP_X_REQUEST_ID="test-request-1"
    )
    (event,) = told("read")
    assert (event.actor, event.actor_pk) == ("alice", world.alice.pk)
    assert event.credential.startswith("session ")
    assert (event.address, event.route) == ("192.0.2.1", f"GET {HEADERS}{uid}/")
    assert (event.catalog, event.run_uid, event.proposal) == ("csx", uid, "310000")
    assert (event.status, event.bytes) == (200, len(answer.content))
    assert (event.request_id, event.result) == ("test-request-1", "complete")
    assert abs(event.time - timezone.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("actor", ["alice", "dan", "nobody"])
def test_reading_a_public_run_is_not_told(
    actor: str, world: People, acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run("312000")
    assert acting_as(actor).get(f"{HEADERS}{uid}/").status_code == 200
    assert told("read") == []


def test_a_page_of_runs_is_told_once_and_names_the_restricted_ones(
    world: People, acting_as: Actor, recorder: Recorder
) -> None:
    restricted = {recorder.run("310000"), recorder.run("310000", "hxn")}
    recorder.run("312000")
    assert len(acting_as("alice").get(HEADERS).json()["results"]) == 3
    (event,) = told("read")
    assert {uid for _, uid in event.details["runs"]} == restricted
    assert {catalog for catalog, _ in event.details["runs"]} == {"csx", "hxn"}


def test_a_page_of_two_runs_is_recorded_as_two_reads(
    world: People, acting_as: Actor, recorder: Recorder
) -> None:
    """Not as three: that there is a further one is not shown."""
    uids = [recorder.run("310000") for _ in range(5)]
    acting_as("alice").get(HEADERS, {"page_size": 2})
    (event,) = told("read")
    assert [uid for _, uid in event.details["runs"]] == uids[:-3:-1]


@pytest.mark.parametrize("page", ["headers/csx_run/", "access/?run={uid}"])
def test_the_admins_pages_of_runs_are_recorded_once(
    page: str, world: People, recorder: Recorder
) -> None:
    uid = recorder.run("310000")
    client = Client()
    client.force_login(User.objects.create_superuser("root"), backend=BACKEND)
    assert client.get(f"/admin/{page.format(uid=uid)}").status_code == 200
    (event,) = told("read")
    assert (event.run_uid, event.details) == (uid, {})


def test_what_somebody_can_read_is_recorded_when_staff_look_at_it(
    world: People, recorder: Recorder
) -> None:
    uid = recorder.run("310000")
    client = Client()
    client.force_login(User.objects.create_superuser("root"), backend=BACKEND)
    assert client.get("/admin/access/?person=alice").status_code == 200
    (event,) = told("read")
    assert event.result == "simulated"
    assert event.details == {"what can be read by": "alice", "runs": [["csx", uid]]}


# What the trail records of a readable, restricted run that a route answers about.
ONE, SEVERAL, VALUES, NOTHING = "the run", "the runs shown", "the fields", "nothing"
RECORDED_AS = {
    "headers/": SEVERAL,
    "headers/count/": NOTHING,
    "headers/facets/?fields=plan_name": VALUES,
    "headers/live/?after=": NOTHING,
    "headers/{uid}/": ONE,
    "headers/{uid}/streams/": ONE,
    "headers/{uid}/streams/primary/table/": ONE,
    "headers/{uid}/streams/primary/data/det/": ONE,
    "headers/{uid}/streams/primary/data/det/?reduce=sum": ONE,
    "headers/{uid}/documents/": ONE,
    "headers/{uid}/documents/?after=": ONE,
    "headers/{uid}/export/": ONE,
    "headers/{uid}/thumbnail/": ONE,
    "headers/{uid}/star/": ONE,
    "headers/{uid}/tags/": ONE,
    "headers/{uid}/notes/": ONE,
    "headers/archive/": ONE,
    "headers/archive/size/": NOTHING,
    "descriptors/{descriptor}/": ONE,
    "events/?descriptor={descriptor}": ONE,
    "events/{event}/data/det/": ONE,
    "metadata/": NOTHING,
    "metadata/csx/raw/{uid}": ONE,
    "search/": NOTHING,
    "search/csx/raw": SEVERAL,
    "distinct/?metadata=plan_name": NOTHING,
    "distinct/csx/raw?metadata=plan_name": VALUES,
    "array/full/csx/raw/{uid}/primary/data/det": ONE,
    "array/block/csx/raw/{uid}/primary/data/det?block=0": ONE,
    "container/full/csx/raw/{uid}/primary/data?format=arrow": ONE,
    "table/full/csx/v3/{uid}/primary/internal": ONE,
    "table/partition/csx/v3/{uid}/primary/internal?partition=0": ONE,
    "documents/csx/raw/{uid}": ONE,
    "/runs/": SEVERAL,
    "/runs/facets/": VALUES,
    "/runs/searches/": NOTHING,
    "/runs/{uid}/preview/": ONE,
    "/runs/{uid}/annotations/": ONE,
    "/runs/{uid}/": ONE,
    "/runs/csx/1/": NOTHING,  # leads to the run's page, which is recorded
    "/compare/?run={uid}": ONE,
    "/runs/{uid}/neighbours/": ONE,
}


@pytest.mark.parametrize("route", RECORDED_AS)
def test_each_route_is_recorded_as_the_table_says(
    route: str, world: People, acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run("310000")
    metadata = database(recorder.catalogs["csx"].metadata)
    descriptor = metadata.event_descriptor.find_one({"run_start": run}) or {}
    event = metadata.event.find_one({"descriptor": descriptor["uid"]}) or {}
    names = {"uid": run, "descriptor": descriptor["uid"], "event": event["uid"]}
    address = route.format(**names)
    alice = acting_as("alice")
    if address.startswith("/"):
        alice.credentials()
        alice.force_login(world.alice, backend=BACKEND)
        with append_only.lifted():
            AuditEvent.objects.all()._raw_delete("default")
            append_only.remove()
    response = alice.get(address if address.startswith("/") else f"/api/v1/{address}")
    assert response.status_code in (200, 302)
    if response.streaming:
        assert b"".join(response)  # to its end, which is when it is recorded
    found = told("read")
    if RECORDED_AS[route] == NOTHING:
        assert found == []
        return
    (read,) = found
    if RECORDED_AS[route] == VALUES:
        assert read.result == "facets"
    else:
        assert read.run_uid == run


def test_every_route_of_runs_says_how_it_is_recorded() -> None:
    """A new route fails here until the table has it."""
    readers = {
        route
        for route in routes()
        # What is written is in tests/writing/test_rights.py.
        if route.startswith(("runs/", "compare/"))
        or route.split("/")[2] not in ("", "auth", "schema", "catalogs")
    }
    known = set()
    for route in RECORDED_AS:
        path = route.partition("?")[0]
        full = path[1:] if path.startswith("/") else f"api/v1/{path}"
        for name, converter in (
            ("/csx/1/", "/<str:catalog>/<int:scan_id>/"),
            ("{uid}", "<str:key>"),
            ("{descriptor}", "<str:uid>"),
            ("{event}", "<str:uid>"),
            ("primary", "<path:stream>"),
            ("data/det", "data/<path:field>"),
        ):
            full = full.replace(name, converter)
        known.add(re.sub("csx/(raw|v3).*", "<path:node>", full))
    assert readers == known


def test_reading_the_values_of_a_field_is_told_with_the_fields(
    world: People, acting_as: Actor, recorder: Recorder
) -> None:
    """Facets tell values of restricted runs without naming these."""
    recorder.run("310000")
    for actor in ("alice", "nobody"):
        acting_as(actor).get(f"{HEADERS}facets/?fields=sample.name,scan_id&plan_name=scan")
    (event,) = told("read")
    assert (event.actor, event.result, event.run_uid) == ("alice", "facets", "")
    assert event.details["fields"] == ["sample.name", "scan_id"]


def test_what_is_not_sent_again_is_not_told_again(
    world: People, acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run("310000")
    alice = acting_as("alice")
    etag = alice.get(f"{HEADERS}{uid}/")["ETag"]
    assert alice.get(f"{HEADERS}{uid}/", HTTP_IF_NONE_MATCH=etag).status_code == 304
    assert len(told("read")) == 1


def test_reads_by_an_api_token_name_it(world: People, recorder: Recorder) -> None:
    uid = recorder.run("310000")
    token, text = make_token(world.alice, "n", Limits(["read:metadata"]), timedelta(days=1))
    APIClient().get(f"{HEADERS}{uid}/", HTTP_AUTHORIZATION=f"Bearer {text}")
    (event,) = told("read")
    assert (event.actor, event.credential) == ("alice", f"token {token.key}")


def test_query_values_and_tokens_are_in_neither_trail_nor_log(
    world: People, acting_as: Actor, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.run("310000", plan_name="secret_plan")
    _, text = make_token(world.alice, "n", Limits(["read:metadata"]), timedelta(days=1))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    with capture_logs() as lines:
        assert client.get(HEADERS, {"plan_name": "secret_plan"}).status_code == 200
        client.post(TOKEN, {"username": "alice", "password": "secret-guess"}, format="json")
    assert [line["path"] for line in lines if line["event"] == "request"] == [HEADERS, TOKEN]
    written = repr([*AuditEvent.objects.values(), *lines]) + caplog.text
    for secret in ("secret_plan", "secret-guess", text.rsplit("_", 1)[1]):
        assert secret not in written


# -- Refusals and sign-ins -----------------------------------------------------------------------


def test_refusals_are_told(world: People, acting_as: Actor, recorder: Recorder) -> None:
    hidden = recorder.run("310001")
    alice = acting_as("alice")
    alice.get(f"{HEADERS}{hidden}/")
    _, narrow = make_token(world.alice, "n", Limits(["read:data"]), timedelta(days=1))
    APIClient().get(HEADERS, HTTP_AUTHORIZATION=f"Bearer {narrow}")
    APIClient().get(HEADERS, HTTP_AUTHORIZATION="Bearer nonsense")
    assert [(event.status, event.actor) for event in told("refused")] == [
        (404, "alice"),
        (403, "alice"),
        (401, ""),
    ]


def test_nobody_fills_the_trail_with_refusals(
    world: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one network some are kept, of all together some more; how many were left out is, too."""
    bound = audit.Bound(each=3, together=5, seconds=3600)
    monkeypatch.setattr(audit, "anonymous_refusals", bound)
    nobody = APIClient()
    nobody.credentials(HTTP_AUTHORIZATION="Bearer nonsense")
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        for _ in range(10):
            assert nobody.get(HEADERS, REMOTE_ADDR=address).status_code == 401
    addresses = [event.address for event in told("refused")]
    assert addresses == ["192.0.2.1"] * 3 + ["192.0.2.2"] * 2
    bound._begin = -1e9
    nobody.get(HEADERS, REMOTE_ADDR="192.0.2.3")
    (left_out,) = [event for event in told("refused") if event.result == "left out"]
    networks = {"192.0.2.1": 7, "192.0.2.2": 8, "192.0.2.3": 10}
    assert left_out.details == {"left out": 25, "networks": networks}


def test_nobody_fills_the_trail_with_failed_sign_ins(
    world: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By as many networks as somebody may have, each of which the lockout lets try."""
    bound = audit.Bound(each=100, together=5, seconds=3600)
    monkeypatch.setattr(audit, "failed_sign_ins", bound)
    for number in range(20):
        wrong = {"username": f"user{number}", "password": "wrong"}
        address = f"192.0.2.{number}"
        answer = APIClient().post(TOKEN, wrong, format="json", REMOTE_ADDR=address)
        assert answer.status_code == 401
    Client().get("/accounts/oidc/none/login/callback/?state=x", REMOTE_ADDR="192.0.2.99")
    assert len(told("sign-in-failed")) == 5
    bound._begin = -1e9
    APIClient().get(HEADERS, HTTP_AUTHORIZATION="Bearer nonsense")
    assert told("sign-in-failed")[-1].details["left out"] == 15


def test_a_bound_names_so_many_networks_and_counts_the_rest(db: None) -> None:
    bound = audit.Bound(each=0, together=5, seconds=3600)
    for number in range(audit.NETWORKS + 20):
        for _ in range(2):
            assert not bound.admit(f"192.0.2.{number}")
    assert bound.left_out() == Counter()
    counts = bound.left_out(at_once=True)
    assert (len(counts), counts["others"]) == (audit.NETWORKS + 1, 40)
    assert bound.left_out(at_once=True) == Counter()


def test_what_nobody_does_not_find_is_not_told(world: People, acting_as: Actor) -> None:
    acting_as("nobody").get(f"{HEADERS}nonsense/")
    acting_as("alice").get("/nonsense/")
    assert told("refused") == []


def test_sign_ins_are_told_whichever_door_they_came_through(world: People) -> None:
    credentials = {"username": "alice", "password": PASSWORD}
    APIClient().post(TOKEN, credentials, format="json")
    Client().post("/login/", {"login": "alice", "password": PASSWORD})
    APIClient().post(TOKEN, credentials | {"password": "wrong"}, format="json")
    assert [(event.actor, event.result) for event in told("sign-in")] == [
        ("alice", "program"),
        ("alice", "browser"),
    ]
    assert [event.actor for event in told("sign-in-failed")] == ["alice"]


def test_signing_out_is_told(world: People) -> None:
    browser = Client()
    browser.force_login(world.alice, BACKEND)
    browser.post("/logout/")
    (event,) = told("session-ended")
    assert (event.actor, event.result) == ("alice", "browser signed out")


# -- Changes of policies and tokens ----------------------------------------------------------------


def test_a_change_tells_the_values_before_and_after(world: People) -> None:
    proposal = Proposal.objects.get(proposal_id="310000")
    proposal.locked = True
    with audit.with_reason("safety review"):
        proposal.save()
    (event,) = told("policy")
    assert event.result == "changed"
    assert event.details["what"] == "policies.Proposal"
    assert event.details["name"] == "310000"
    assert event.details["changes"] == {"locked": [False, True]}
    assert event.details["reason"] == "safety review"
    proposal.save()
    assert len(told("policy")) == 1


def test_bulk_changes_are_told_row_by_row(world: People) -> None:
    Proposal.objects.filter(proposal_id__startswith="31000").update(locked=True)
    assert [event.details["name"] for event in told("policy")] == ["310000", "310001"]
    row = Proposal.objects.get(proposal_id="312000")
    row.title = "new"
    Proposal.objects.bulk_update([row], ["title"])
    assert told("policy")[-1].details["changes"] == {"title": ["", "new"]}
    Proposal.objects.bulk_create([Proposal(proposal_id="320000")])
    assert told("policy")[-1].result == "created"


def test_memberships_staff_overrides_and_rights_are_told(world: People) -> None:
    membership = Membership.objects.get(user=world.alice)
    membership.expires = timezone.now()
    membership.save()
    membership.delete()
    csx = Beamline.objects.get(name="csx")
    csx.staff.add(world.bob)
    csx.staff.remove(world.bob)
    csx.staff.clear()
    world.bob.staffed_beamlines.add(csx)
    RunOverride.objects.create(
        catalog="csx", run_uid="u", proposal=Proposal.objects.get(proposal_id="310001"), reason="r"
    )
    world.alice.user_permissions.add(Permission.objects.get(codename="view_user"))
    told_details = [event.details for event in told("policy")]
    assert [(event.result, event.details["what"]) for event in told("policy")] == [
        ("changed", "policies.Membership"),
        ("deleted", "policies.Membership"),
        ("changed", "policies.Beamline"),
        ("changed", "policies.Beamline"),
        ("changed", "policies.Beamline"),
        ("changed", "policies.User"),
        ("created", "policies.RunOverride"),
        ("changed", "policies.User"),
    ]
    assert told_details[2]["added"] == ["bob"]
    assert told_details[3]["removed"] == ["bob"]
    assert told_details[4]["cleared"] == ["sue"]


def test_deleting_a_user_tells_of_what_goes_with_them(world: People) -> None:
    world.alice.delete()
    deleted = {event.details["what"] for event in told("policy") if event.result == "deleted"}
    assert deleted == {"policies.User", "policies.Membership"}


def test_a_change_of_password_is_told_without_the_hash(world: People) -> None:
    world.alice.set_password("another")
    world.alice.save()
    (event,) = told("policy")
    assert event.details["changes"] == {"password": ["(hidden)", "(hidden)"]}
    assert "md5" not in json.dumps(event.details)


def test_signing_in_is_no_change_of_policy(world: People) -> None:
    Client().post("/login/", {"login": "alice", "password": PASSWORD})
    assert told("policy") == []


def test_tokens_made_and_revoked_are_told_without_the_digest(world: People) -> None:
    token, _ = make_token(world.alice, "n", Limits(["read:data"]), timedelta(days=1))
    revoke_token(token)
    made, revoked = told("token")
    assert (made.result, revoked.result) == ("created", "changed")
    assert made.details["changes"]["scopes"] == [None, ["read:data"]]
    assert list(revoked.details["changes"]) == ["revoked"]
    assert token.digest not in json.dumps([made.details, revoked.details])


def test_a_change_that_is_undone_is_not_told(world: People) -> None:
    with transaction.atomic():
        Proposal.objects.update(locked=True)
        transaction.set_rollback(True)
    assert told("policy") == []


# -- ABUSE 24: nobody changes what was told ----------------------------------------------------


@pytest.fixture
def event(db: None) -> AuditEvent:
    audit.record(audit.Kind.SIGN_IN, result="test")
    return AuditEvent.objects.latest("pk")


def test_abuse_24_a_told_event_is_neither_changed_nor_deleted(event: AuditEvent) -> None:
    event.actor = "mallory"
    with pytest.raises(ReadOnlyRowError):
        event.save()
    with pytest.raises(ReadOnlyRowError):
        event.delete()
    with pytest.raises(ReadOnlyRowError):
        AuditEvent.objects.update(actor="mallory")
    with pytest.raises(ReadOnlyRowError):
        AuditEvent.objects.all().delete()
    with pytest.raises(ReadOnlyRowError):
        AuditEvent.objects.bulk_update([event], ["actor"])


@pytest.mark.parametrize(
    "statement",
    ["UPDATE policies_auditevent SET actor = 'mallory'", "DELETE FROM policies_auditevent"],
)
def test_abuse_24_the_database_refuses_it_too(statement: str, event: AuditEvent) -> None:
    append_only.after_migrate(using="default", plan=[])
    with (
        pytest.raises(DatabaseError, match="append-only"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert AuditEvent.objects.get(pk=event.pk).actor == event.actor


def test_abuse_24_the_admin_shows_the_trail_and_changes_nothing(
    world: People, event: AuditEvent
) -> None:
    User.objects.filter(pk=world.dan.pk).update(is_staff=True, is_superuser=True)
    admin = Client()
    admin.force_login(User.objects.get(pk=world.dan.pk), BACKEND)
    url = "/admin/policies/auditevent/"
    assert admin.get(url, {"q": "alice"}).status_code == 200
    assert admin.get(f"{url}{event.pk}/change/").status_code == 200
    assert admin.post(f"{url}{event.pk}/change/", {"actor": "x"}).status_code == 403
    assert admin.get(f"{url}add/").status_code == 403
    assert admin.post(f"{url}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"}
    admin.post(url, chosen)
    assert AuditEvent.objects.filter(pk=event.pk).exists()


def test_the_trail_is_exported_as_csv_without_formulas(world: People) -> None:
    audit.record(audit.Kind.SIGN_IN_FAILED, actor='=HYPERLINK("x")', result="failed")
    User.objects.filter(pk=world.dan.pk).update(is_staff=True, is_superuser=True)
    admin = Client()
    admin.force_login(User.objects.get(pk=world.dan.pk), BACKEND)
    keys = AuditEvent.objects.values_list("pk", flat=True)
    chosen: dict[str, Any] = {"action": "export", "_selected_action": list(keys)}
    answer: Any = admin.post("/admin/policies/auditevent/", chosen)
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert answer["Content-Type"].startswith("text/csv")
    assert lines[0].startswith("id,time,kind,actor,")
    assert any("'=HYPERLINK" in line for line in lines)


def test_staff_with_the_permission_revoke_anybodys_token_in_the_admin(world: People) -> None:
    make_token(world.alice, "n", Limits(["read:data"]), timedelta(days=1))
    User.objects.filter(pk=world.sue.pk).update(is_staff=True)
    sue = User.objects.get(pk=world.sue.pk)
    sue.user_permissions.add(Permission.objects.get(codename="view_apitoken"))
    revoke = {"action": "revoke", "_selected_action": [APIToken.objects.get().pk]}
    admin = Client()
    admin.force_login(sue, BACKEND)
    url = "/admin/policies/apitoken/"
    admin.post(url, revoke)
    assert APIToken.objects.get().revoked is None
    sue.user_permissions.add(Permission.objects.get(codename="change_apitoken"))
    admin.post(url, revoke)
    assert APIToken.objects.get().revoked is not None
    assert APIToken.objects.get().digest not in admin.get(url).content.decode()


def test_prune_audit_removes_only_what_is_old_and_tells_so(db: None, settings: Settings) -> None:
    settings.AUDIT_DAYS = 30
    append_only.install()
    for days in (31, 29):
        audit.record(audit.Kind.SIGN_IN, time=timezone.now() - timedelta(days=days))
    call_command("prune_audit", dry_run=True)
    assert len(told("sign-in")) == 2
    call_command("prune_audit")
    assert len(told("sign-in")) == 1
    assert told("pruned")[0].details["events"] == 1
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM policies_auditevent")


# -- Writing in the background -------------------------------------------------------------------


class Store:
    """Stands in for the database: keeps what is written, fails and waits on demand."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = threading.Event()
        self.open.set()
        self.failures = 0

    def write(self, reads: Sequence[audit.ReadRecord]) -> None:
        self.open.wait(10)
        if self.failures:
            self.failures -= 1
            raise DatabaseError("away")
        self.batches.append([read.fields["actor"] for read in reads])

    @property
    def written(self) -> list[str]:
        return [actor for batch in self.batches for actor in batch]


@pytest.fixture
def store(settings: Settings) -> Store:
    settings.AUDIT_IN_BACKGROUND = True
    return Store()


def read(actor: object) -> audit.ReadRecord:
    return audit.ReadRecord({"kind": "read", "actor": str(actor)})


def test_events_are_written_in_batches_and_none_is_lost_at_the_end(store: Store) -> None:
    trail = audit.Trail(store.write, seconds=60)
    for number in range(2000):
        trail.put(read(number))
    trail.close()
    assert sorted(store.written, key=int) == [str(number) for number in range(2000)]
    assert len(store.batches) < 20


def test_events_are_written_without_waiting_for_the_end(store: Store) -> None:
    done = threading.Event()

    def write(reads: Sequence[audit.ReadRecord]) -> None:
        store.write(reads)
        done.set()

    trail = audit.Trail(write, seconds=0.01)
    trail.put(read("alice"))
    assert done.wait(30)
    assert store.written == ["alice"]
    trail.close()


def test_when_the_queue_is_full_the_caller_writes(store: Store) -> None:
    trail = audit.Trail(store.write, capacity=1, seconds=60)
    threads = [threading.Thread(target=trail.put, args=[read(n)]) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()
    assert sorted(store.written, key=int) == [str(number) for number in range(50)]


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_away_events_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policies.audit.time.sleep", lambda seconds: None)
    store.failures = 3
    trail = audit.Trail(store.write, seconds=0.01)
    trail.put(read("alice"))
    trail.close()
    assert store.written == ["alice"]


def test_a_defective_event_ends_no_thread(store: Store) -> None:
    def write(reads: Sequence[audit.ReadRecord]) -> None:
        store.write(reads)
        if reads[0].fields["actor"] == "defective":
            raise TypeError

    trail = audit.Trail(write, seconds=0.01)
    with capture_logs() as lines:
        trail.put(read("defective"))
        while not any("audit_event" in line for line in lines):
            time.sleep(0.01)
    trail.put(read("alice"))
    trail.close()
    assert store.written == ["defective", "alice"]


def test_what_is_due_is_told_at_the_end_of_a_window_and_of_the_process(store: Store) -> None:
    bound = audit.Bound(each=0, together=0, seconds=3600)
    done = threading.Event()

    def write(reads: Sequence[audit.ReadRecord]) -> None:
        store.write(reads)
        done.set()

    def due(at_once: bool) -> list[audit.ReadRecord]:
        return [read(count) for count in bound.left_out(at_once=at_once).values()]

    trail = audit.Trail(write, seconds=0.01, more=due)
    bound.admit("192.0.2.1")
    bound._begin = -1e9
    trail.watch()
    assert done.wait(30)
    assert store.written == ["1"]
    bound.admit("192.0.2.1")
    bound.admit("192.0.2.1")
    trail.close()
    assert store.written == ["1", "2"]


def test_after_the_end_events_are_written_at_once(store: Store) -> None:
    trail = audit.Trail(store.write)
    trail.close()
    trail.put(read("late"))
    assert store.written == ["late"]


PROGRAM = """
import django; django.setup()
from django.conf import settings
settings.AUDIT_IN_BACKGROUND = True
from django.core.management import call_command
from django.test import RequestFactory
call_command("migrate", verbosity=0)
from policies import audit
for number in range(500):
    audit.record_soon(audit.Kind.REFUSED, RequestFactory().get("/"), actor=str(number))
for number in range(30):
    audit.anonymous_refusals.admit("192.0.2.1")
"""


QUERY = "SELECT actor FROM policies_auditevent WHERE kind = 'refused' AND result = ''"
LEFT_OUT = "SELECT address, details FROM policies_auditevent WHERE result = 'left out'"


def test_a_process_that_ends_has_written_everything(tmp_path: Path) -> None:
    """With the real database, the real thread and an ordinary end."""
    database = tmp_path / "policies.sqlite3"
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "broker_site.settings",
        "DATABASE_URL": f"sqlite:///{database}",
    }
    subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=120)
    rows = sqlite3.connect(database).execute(QUERY).fetchall()
    assert sorted(int(actor) for (actor,) in rows) == list(range(500))
    ((address, details),) = sqlite3.connect(database).execute(LEFT_OUT).fetchall()
    assert (address, json.loads(details)["left out"]) == ("192.0.2.1", 10)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sqlite3.connect(database).execute("DELETE FROM policies_auditevent")


def test_texts_that_a_database_refuses_are_made_storable(db: None) -> None:
    details = {"k\0": ["\ud800", 1.5]}
    audit.record(audit.Kind.REFUSED, actor="a\0b" + "x" * 500, details=details)
    stored = AuditEvent.objects.get(kind="refused")
    assert "\0" not in stored.actor
    assert len(stored.actor) == 150
    assert stored.details == {"k\N{REPLACEMENT CHARACTER}": ["?", "1.5"]}
