"""The access desk: decisions in words, readers, timelines, and grants that are seen before."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import AnonymousUser, Permission
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags

from headers.finding import RunFinder
from policies import audit
from policies.explain import explain
from policies.models import AuditEvent, Beamline, Membership, Proposal, RunOverride, User
from policies.principals import access_of
from policies.states import members_state, membership_state, proposal_state
from staff.simulator import EVERYBODY, who_can_read
from tests.conftest import People
from tests.documents import Recorder
from tests.staff.test_admin import browser, proposal, staff

pytestmark = pytest.mark.django_db
__all__ = ["staff"]  # the fixture
DESK = "/admin/access/"


def desk(who: str, **asked: str) -> HttpResponse:
    return browser(who).get(DESK, asked)  # type: ignore[return-value]


def text(who: str, **asked: str) -> str:
    """What a person reads on the page, in one line."""
    page = desk(who, **asked).content.decode().replace("<", " <")
    return unescape(" ".join(strip_tags(page).split())).replace(" ,", ",")


def granted(who: str, button: str, **values: Any) -> HttpResponse:
    form = {"role": "member", "reason": "asked by the PI", button: "1"} | values
    return browser(who).post(f"{DESK}?proposal=310000", form)  # type: ignore[return-value]


# -- Decisions and readers -------------------------------------------------------------------


def test_the_decision_comes_with_its_reasons_for_anybody(staff: People, recorder: Recorder) -> None:
    uid = recorder.run("310000")
    member = text("sue", run=uid, person="alice")
    assert "Allowed: member of the proposal. alice is principal investigator of" in member
    assert "Denied: not a member. bob is not a member of 310000." in text(
        "sue", run=uid, person="bob"
    )
    assert "Denied: not a member." in text("sue", run=uid, person="anonymous")
    assert "There is no user “eve”" in text("sue", run=uid, person="eve")


def test_a_person_and_a_proposal_are_judged_in_each_catalog(staff: People) -> None:
    shown = text("root", person="bob", proposal="310001")
    assert shown.count("Allowed: member of the proposal.") == 2
    # sue is concerned with her own beamline only.
    assert text("sue", person="bob", proposal="310001").count("Allowed:") == 1
    assert "Denied: not a member." in text("sue", person="alice", proposal="310001")


def test_a_run_names_its_readers_by_rule(staff: People, recorder: Recorder) -> None:
    shown = text("sue", run=recorder.run("310000"))
    assert "Data admin dan, root Beamline staff sue Member of the proposal alice" in shown
    assert "Public proposal everybody" in text("sue", run=recorder.run("312000"))


def test_the_readers_of_a_run_are_those_whom_the_rule_allows(
    staff: People, recorder: Recorder
) -> None:
    """Every person and every kind of run: one list of readers, one rule."""
    User.objects.create_user("gone", is_active=False, data_admin=True)
    ended = timezone.now() - timedelta(days=1)
    Membership.objects.create(proposal=proposal("310001"), user=staff.alice, expires=ended)
    Proposal.objects.create(proposal_id="313000", locked=True)
    Membership.objects.create(proposal=proposal("313000"), user=staff.bob)
    uids = [
        recorder.run(named, catalog)
        for named in ("310000", "310001", "312000", "313000", "999999", None)
        for catalog in ("csx", "hxn")
    ]
    RunOverride.objects.create(
        catalog="csx", run_uid=uids[0], proposal=proposal("313000"), reason="x"
    )
    for uid in uids:
        run = RunFinder(settings.CATALOGS, access_of(staff.dan)).find(uid)
        readers = {name for group in who_can_read(run) for name in group.names}
        allowed = {
            u.username for u in User.objects.all() if explain(u, run.catalog, run.start).allowed
        }
        if EVERYBODY in readers:
            assert explain(AnonymousUser(), run.catalog, run.start).allowed
        else:
            assert readers == allowed


def test_a_person_is_shown_with_what_they_read_and_why(staff: People, recorder: Recorder) -> None:
    mine, far = recorder.run("310000"), recorder.run("310000", "hxn")
    page = desk("sue", person="alice").content.decode()
    assert f'href="/runs/{mine}/"' in page
    assert far not in page
    assert "among the runs that you yourself may read" in page
    assert "principal investigator" in page


def test_names_that_are_nearly_right_lead_on(staff: People) -> None:
    assert '<a href="?person=alice">alice</a>' in desk("sue", person="ALI").content.decode()
    assert '<a href="?proposal=310001">' in desk("sue", proposal="10001").content.decode()


# -- What is not for its viewer ----------------------------------------------------------------


def test_abuse_24_the_desk_is_for_staff_who_may_see_runs(people: People) -> None:
    people.sue.is_staff = True
    people.sue.save()
    assert desk("sue").status_code == 403
    assert browser("sue").post(f"{DESK}?proposal=310000", {}).status_code == 403
    assert desk("alice").status_code == 302
    assert Client().get(DESK).status_code == 302


def test_abuse_6_and_8_a_hidden_run_is_the_same_page_as_nonsense(
    staff: People, recorder: Recorder
) -> None:
    proposal("310001").beamlines.set(Beamline.objects.filter(name="hxn"))
    hidden = recorder.run("310001", "hxn")
    pages = []
    for key in (hidden, "11111111-2222-3333-4444-555555555555"):
        response = desk("sue", run=key, person="alice")
        assert response.status_code == 404
        body = re.sub(r'value="\w{64}"', "", response.content.decode())
        pages.append(body.replace(key, "KEY"))
    assert pages[0] == pages[1]
    assert desk("root", run=hidden).status_code == 200


def test_staff_see_no_members_and_no_grants_of_other_beamlines(staff: People) -> None:
    elsewhere = proposal("310001")
    elsewhere.beamlines.set(Beamline.objects.filter(name="hxn"))
    Membership.objects.create(proposal=elsewhere, user=staff.alice)
    shown = desk("sue", proposal="310001").content.decode()
    assert "?person=bob" not in shown
    assert "What was granted" not in shown
    assert "310001" not in text("sue", person="alice")
    assert "alice became member of 310001." in text("root", person="alice")


def test_staff_see_no_members_of_a_locked_proposal(staff: People, recorder: Recorder) -> None:
    Proposal.objects.filter(proposal_id="310000").update(locked=True)
    uid = recorder.run("310000")
    assert desk("sue", run=uid).status_code == 404
    shown = desk("sue", proposal="310000").content.decode()
    assert "?person=alice" not in shown
    assert "locked: for data admins only" in shown


@pytest.mark.parametrize(
    ("asked", "status"),
    [({"person": '{"$ne": null}'}, 400), ({"run": "$where"}, 404), ({"proposal": "a__b"}, 200)],
)
def test_abuse_1_operators_are_names_of_nothing(
    staff: People, asked: dict[str, str], status: int
) -> None:
    answer = desk("sue", **asked)
    assert answer.status_code == status
    assert b'role="alert"' in answer.content


@pytest.mark.parametrize("query", ["user=alice", "run=a&run=b", "person=a%00b", "catalog=none"])
def test_abuse_14_other_parameters_are_refused(staff: People, query: str) -> None:
    assert browser("sue").get(f"{DESK}?{query}").status_code == 400


def test_abuse_23_documents_are_inert(staff: People, recorder: Recorder) -> None:
    hostile = "<script>alert(1)</script>{{7*7}}\u202e"
    uid = recorder.run("310000", plan_name=hostile, scan_id={"$ne": hostile})
    for asked in ({"run": uid}, {"person": "alice"}, {"proposal": "310000"}):
        page = desk("sue", **asked).content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page
        assert "\u202e" not in page


# -- Timelines ---------------------------------------------------------------------------------


def test_the_timeline_says_who_gave_what_when_and_why(staff: People, recorder: Recorder) -> None:
    uid = recorder.run("310000")
    end = (timezone.now() + timedelta(days=10)).strftime("%Y-%m-%dT%H:%M")
    assert granted("sue", "save", member="bob", expires=end).status_code == 302
    ours = proposal("310000")
    ours.locked = True
    ours.save()
    ours.locked = False
    with audit.with_reason("cleared by the director"):
        ours.save()
    Beamline.objects.get(name="csx").staff.add(staff.bob)
    shown = text("root", run=uid)
    assert f"bob became member of 310000, until {end.replace('T', ' ')} UTC." in shown
    assert "“asked by the PI” by sue" in shown
    assert "310000 is no longer locked. “cleared by the director”" in shown
    assert "bob became staff of CSX 23-ID-1." in shown
    order = [
        shown.index(part) for part in ("became staff", "no longer", "is locked", "bob became m")
    ]
    assert order == sorted(order)
    person = text("root", person="bob")
    assert "bob became member of 310000" in person
    assert "bob became staff of CSX 23-ID-1." in person


def test_the_timeline_of_a_person_is_nobody_elses(staff: People) -> None:
    User.objects.create_user("Alice")
    User.objects.create_user("alice2")
    for name in ("Alice", "alice2"):
        Membership.objects.create(proposal=proposal("312000"), user=User.objects.get(username=name))
    Membership.objects.create(proposal=proposal("312000"), user=staff.alice, role="pi")
    shown = text("root", person="alice")
    assert "alice became principal investigator of 312000." in shown
    assert "became member of 312000" not in shown


def test_a_moved_run_says_where_to(staff: People, recorder: Recorder) -> None:
    uid, other = recorder.run("310001"), recorder.run("310001")
    for run in (uid, other):
        RunOverride.objects.create(
            catalog="csx", run_uid=run, proposal=proposal("310000"), reason="mistagged"
        )
    shown = text("sue", run=uid)
    assert f"The run {uid} counts as one of 310000." in shown
    assert other not in shown
    assert "(overridden; the document says otherwise)" in shown


def test_what_is_older_than_the_trail_comes_from_the_admins_log(staff: People) -> None:
    ours = proposal("310000")
    entry = LogEntry.objects.log_actions(
        User.objects.get(username="root").pk, [ours], 2, "Locked by hand", single_object=True
    )
    long_ago = timezone.now() - timedelta(days=900)
    LogEntry.objects.filter(pk=entry.pk).update(action_time=long_ago)
    ours.title = "New"
    ours.save()
    assert AuditEvent.objects.exists()
    shown = text("root", proposal="310000")
    assert f"{long_ago:%Y-%m-%d %H:%M}" in shown
    assert "Locked by hand" in shown


# -- Granting ----------------------------------------------------------------------------------


def test_a_grant_is_seen_before_it_is_saved(staff: People, recorder: Recorder) -> None:
    uid, far = recorder.run("310000"), recorder.run("310000", "hxn")
    before = AuditEvent.objects.count()
    page = granted("sue", "preview", member="bob").content.decode()
    assert "bob would gain 1 run" in page
    assert uid in page
    assert far not in page
    assert "bob would gain 2 runs" in granted("root", "preview", member="bob").content.decode()
    assert not proposal("310000").memberships.filter(user=staff.bob).exists()
    assert AuditEvent.objects.filter(kind="policy").count() == before
    assert granted("sue", "save", member="bob").status_code == 302
    row = proposal("310000").memberships.get(user=staff.bob)
    assert (row.role, row.source, row.expires) == ("member", "manual", None)
    assert LogEntry.objects.filter(user=staff.sue, object_id=str(row.proposal.pk)).count() == 1
    assert "would gain 0 runs" in granted("root", "preview", member="bob").content.decode()


def test_an_extension_keeps_what_somebody_is(staff: People) -> None:
    form = browser("sue").get(DESK, {"person": "alice", "proposal": "310000"}).context["form"]
    assert (form["role"].value(), form["member"].value()) == ("pi", "alice")
    assert granted("sue", "save", member="alice", role="pi", expires="2099-01-01T00:00")
    row = proposal("310000").memberships.get(user=staff.alice)
    assert (row.role, row.expires and row.expires.year) == ("pi", 2099)


@pytest.mark.parametrize("button", ["preview", "save"])
def test_abuse_24_nobody_grants_what_is_not_theirs_to_grant(staff: People, button: str) -> None:
    assert "Somebody else has to change" in granted("sue", button, member="sue").content.decode()
    proposal("310000").beamlines.set(Beamline.objects.all())
    refused = granted("sue", button, member="bob").content.decode()
    assert "staff of all beamlines" in refused
    assert "would gain" not in refused
    for member in ("eve", "gone"):
        User.objects.get_or_create(username="gone", is_active=False)
        assert "no active user" in granted("root", button, member=member).content.decode()
    past = granted("root", button, member="bob", expires="2020-01-01T00:00")
    assert "a time to come" in past.content.decode()
    assert "required" in granted("root", button, member="bob", reason="").content.decode()
    assert set(proposal("310000").memberships.values_list("user__username", flat=True)) == {"alice"}


def test_a_grant_needs_the_permissions_of_the_admin(staff: People) -> None:
    staff.sue.groups.clear()
    names = ("view_runstart", "view_proposal")
    staff.sue.user_permissions.set(Permission.objects.filter(codename__in=names))
    assert "You may not change proposals." in text("sue", proposal="310000")
    assert granted("sue", "save", member="bob").status_code == 403


# -- Words, and where they stand -----------------------------------------------------------------


def test_the_state_of_a_proposal_is_said_in_words() -> None:
    soon = timezone.now() + timedelta(days=3, hours=1)
    past = timezone.now() - timedelta(days=14, hours=1)
    assert proposal_state(Proposal(locked=True, public_from=past)).startswith("locked")
    assert proposal_state(Proposal(proprietary=True)) == "proprietary: never public"
    assert proposal_state(Proposal()) == "for its members, no day to be public is set"
    assert proposal_state(Proposal(public_from=past)) == f"public since {past:%Y-%m-%d}"
    embargo = proposal_state(Proposal(public_from=soon))
    assert embargo.replace("\xa0", " ") == f"embargo, public in 3 days ({soon:%Y-%m-%d})"
    states = [membership_state(Membership(expires=end)) for end in (None, soon, past)]
    assert [state.replace("\xa0", " ") for state in states] == [
        "open",
        "ends in 3 days",
        "ended 2 weeks ago",
    ]
    rows = [Membership(expires=end) for end in (None, soon, past)]
    assert members_state(rows).replace("\xa0", " ") == "2 members, the next ends in 3 days"
    assert members_state([rows[0]]) == "1 member"
    assert members_state([rows[2]]) == "all memberships have ended"
    assert members_state([]) == "no members"


def test_runs_and_people_come_first_in_the_admin(staff: People) -> None:
    page = browser("root").get("/admin/")
    assert [app["app_label"] for app in page.context["app_list"]][:2] == ["headers", "policies"]
    models = [m["object_name"] for m in page.context["app_list"][1]["models"]]
    assert models[:2] == ["User", "Proposal"]
    assert f'action="{DESK}"' in page.content.decode()


def test_only_staff_are_led_from_a_run_to_the_desk(staff: People, recorder: Recorder) -> None:
    uid = recorder.run("310000")
    link = f'"/admin/access/?catalog=csx&amp;run={uid}"'
    assert link in browser("sue").get(f"/runs/{uid}/").content.decode()
    assert link not in browser("alice").get(f"/runs/{uid}/").content.decode()
