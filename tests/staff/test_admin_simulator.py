"""The simulator: what somebody reads, who reads a run, and what a change would change."""

import re
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser

from policies.explain import DecidingRule, explain
from policies.models import AuditEvent, Beamline, Membership, Proposal, RunOverride
from policies.principals import access_of
from policies.rule.access import Access
from staff.simulator import what_can_read
from tests.conftest import People
from tests.documents import Recorder
from tests.staff.test_admin import act, browser, changed, form_of, proposal, staff

pytestmark = pytest.mark.django_db
__all__ = ["staff"]  # the fixture
EVERYTHING = Access(data_admin=True)


def shares(who: Any, viewer: Access = EVERYTHING) -> dict[tuple[str, DecidingRule], int]:
    report = what_can_read(who, viewer, settings.CATALOGS)
    return {(share.catalog.name, share.rule): share.count for share in report.shares}


def recorded(recorder: Recorder) -> dict[str, str]:
    runs = {p: recorder.run(p) for p in ("310000", "310001", "312000")}
    runs["untagged"] = recorder.run(None)
    runs["far"] = recorder.run("310000", "hxn")
    return runs


def test_runs_are_counted_by_the_rule_that_lets_somebody_read_them(
    people: People, recorder: Recorder
) -> None:
    recorded(recorder)
    assert shares(people.alice) == {
        ("csx", DecidingRule.MEMBER): 1,
        ("csx", DecidingRule.PUBLIC): 1,
        ("hxn", DecidingRule.MEMBER): 1,
    }
    assert shares(people.sue) == {("csx", DecidingRule.STAFF): 4}
    assert shares(people.dan) == {
        ("csx", DecidingRule.DATA_ADMIN): 4,
        ("hxn", DecidingRule.DATA_ADMIN): 1,
    }
    assert shares(AnonymousUser()) == {("csx", DecidingRule.PUBLIC): 1}


def test_the_counts_agree_with_the_explanations(people: People, recorder: Recorder) -> None:
    runs = recorded(recorder)
    RunOverride.objects.create(
        catalog="csx", run_uid=runs["untagged"], proposal=proposal("310001"), reason="x"
    )
    csx = next(catalog for catalog in settings.CATALOGS if catalog.name == "csx")
    documents = [
        {"uid": runs[p], "data_session": f"pass-{p}"} for p in ("310000", "310001", "312000")
    ] + [{"uid": runs["untagged"]}]
    for person in (people.alice, people.bob, people.sue, people.dan):
        rules = [d.rule for doc in documents if (d := explain(person, csx, doc)).allowed]
        viewer = access_of(people.dan)
        counted = {rule: n for (name, rule), n in shares(person, viewer).items() if name == "csx"}
        assert counted == {rule: rules.count(rule) for rule in set(rules)}


def test_nobody_learns_of_runs_that_they_may_not_read(people: People, recorder: Recorder) -> None:
    recorded(recorder)
    assert shares(people.bob, access_of(people.alice)) == {("csx", DecidingRule.PUBLIC): 1}


def effects(text: str) -> set[tuple[str, ...]]:
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', text)
    return {(who, *re.findall(r"<td>(.*?)</td>", cells)) for who, cells in rows}


def test_a_preview_tells_who_gains_and_loses_and_saves_nothing(
    staff: People, recorder: Recorder
) -> None:
    recorded(recorder)
    ours, client = proposal("310000"), browser("root")
    values = {"memberships-1-user": staff.bob.pk, "memberships-1-role": "member", "title": "New"}
    before = AuditEvent.objects.count()
    text = changed(client, ours, _preview="1", **values).content.decode()
    assert effects(text) == {("bob", "csx", "1", "0"), ("bob", "hxn", "1", "0")}
    assert not ours.memberships.filter(user=staff.bob).exists()
    assert proposal("310000").title == ""
    assert AuditEvent.objects.count() == before
    assert 'name="title" value="New"' in text
    assert changed(client, ours, **values).status_code == 302
    assert ours.memberships.filter(user=staff.bob).exists()


def test_a_preview_of_a_lock_names_staff_and_members(staff: People, recorder: Recorder) -> None:
    recorded(recorder)
    text = changed(browser("root"), proposal("310000"), _preview="1", locked="on").content.decode()
    assert effects(text) == {
        ("alice", "csx", "0", "1"),
        ("alice", "hxn", "0", "1"),
        ("sue", "csx", "0", "1"),
    }


def test_a_preview_counts_only_what_its_viewer_may_read(staff: People, recorder: Recorder) -> None:
    recorded(recorder)
    text = changed(browser("sue"), proposal("310000"), _preview="1", locked="on").content.decode()
    assert effects(text) == {("alice", "csx", "0", "1"), ("sue", "csx", "0", "1")}


def test_a_preview_of_a_wrong_form_shows_its_errors(staff: People, recorder: Recorder) -> None:
    values = {"memberships-1-user": staff.bob.pk, "memberships-1-role": "boss"}
    text = changed(browser("root"), proposal("310000"), _preview="1", **values).content.decode()
    assert "Select a valid choice" in text


def test_a_new_proposal_and_a_beamline_have_previews(staff: People, recorder: Recorder) -> None:
    recorder.run("320000")
    client = browser("root")
    url = "/admin/policies/proposal/add/"
    values = {"proposal_id": "320000", "memberships-0-user": staff.bob.pk, "_preview": "1"}
    text = client.post(url, form_of(client, url) | values).content.decode()
    assert effects(text) == {("bob", "csx", "1", "0")}
    assert not Proposal.objects.filter(proposal_id="320000").exists()
    beamline = Beamline.objects.get(name="csx")
    text = changed(client, beamline, staff=[staff.bob.pk], _preview="1").content.decode()
    assert effects(text) == {("bob", "csx", "1", "0"), ("sue", "csx", "0", "1")}
    assert list(beamline.staff.all()) == [staff.sue]


def test_a_bulk_action_has_a_preview(staff: People, recorder: Recorder) -> None:
    recorded(recorder)
    text = act(browser("root"), "release_early", [proposal("310000")], preview="1", reason="x")
    assert ("everybody", "csx", "1", "0") in effects(text)
    assert ("sue", "hxn", "1", "0") in effects(text)
    assert not proposal("310000").is_public
    assert Membership.objects.current().count() == 2
