"""People and policies in the admin: what staff can do, and that nobody raises their own rights."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.cache import caches
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from policies.models import (
    AuditEvent,
    Beamline,
    Membership,
    Proposal,
    ProposalSync,
    RunOverride,
    Session,
    User,
)
from policies.roles import make_staff_group
from policies.sessions import begin_session
from tests.conftest import People
from tests.documents import Recorder

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(people: People) -> People:
    """sue works at the beamline csx and is in the group of the staff; root is a superuser."""
    make_staff_group()
    people.sue.is_staff = True
    people.sue.save()
    people.sue.groups.add(Group.objects.get(name="Facility staff"))
    User.objects.create_superuser("root")
    # Proposals of one beamline, csx; 310001 and 312000 stay ones of two.
    proposal("310000").beamlines.set([Beamline.objects.get(name="csx")])
    return people


def browser(who: User | str) -> Client:
    client = Client()
    user = User.objects.get(username=who) if isinstance(who, str) else who
    client.force_login(user)
    return client


def address(obj: Model, kind: str = "change") -> str:
    name = f"admin:{obj._meta.app_label}_{obj._meta.model_name}_{kind}"
    return reverse(name, args=[obj.pk])


def form_of(client: Client, url: str) -> dict[str, Any]:
    """What a browser would send back of a change form that was not touched."""
    context = client.get(url).context
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    sent: dict[str, Any] = {}
    for form in forms:
        for field in form:
            value = field.value()
            widget = field.field.widget
            if hasattr(widget, "widgets"):
                for suffix, part in zip(
                    widget.widgets_names, widget.decompress(value), strict=True
                ):
                    sent[field.html_name + suffix] = "" if part is None else str(part)
            elif value is not None and value is not False:
                sent[field.html_name] = value
    return sent


def changed(client: Client, obj: Model, **values: Any) -> HttpResponse:
    url = address(obj)
    return client.post(url, form_of(client, url) | values)  # type: ignore[return-value]


def proposal(proposal_id: str) -> Proposal:
    return Proposal.objects.get(proposal_id=proposal_id)


# -- Staff work ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "page",
    ["", "policies/", "headers/", "policies/user/", "policies/user/add/", "policies/beamline/",
     "policies/proposal/", "policies/proposal/add/", "policies/runoverride/",
     "policies/session/", "policies/proposalsync/", "headers/csx_run/"],
)  # fmt: skip
def test_every_page_opens_for_staff_and_superusers_without_inline_scripts(
    staff: People, recorder: Recorder, page: str
) -> None:
    for who in ("root", "sue"):
        response = browser(who).get(f"/admin/{page}")
        assert response.status_code == 200, (who, page)
        assert "<script>" not in response.content.decode()


def test_staff_add_a_member_whose_membership_the_sync_leaves_alone(staff: People) -> None:
    client, ours = browser("sue"), proposal("310000")
    ours.memberships.update(source=Membership.Source.SYNC)
    extra = {"memberships-1-user": staff.bob.pk, "memberships-1-role": "member"}
    assert changed(client, ours, **extra).status_code == 302
    sources = dict(ours.memberships.values_list("user__username", "source"))
    assert sources == {"alice": "sync", "bob": "manual"}
    assert changed(client, ours, **{"memberships-0-role": "member"}).status_code == 302
    assert ours.memberships.get(user=staff.alice).source == "manual"


def test_staff_manage_the_proposals_of_their_beamlines_only(staff: People) -> None:
    elsewhere = proposal("310001")
    elsewhere.beamlines.set(Beamline.objects.filter(name="hxn"))
    assert browser("sue").get(address(elsewhere)).status_code == 200
    assert browser("sue").post(address(elsewhere), {"title": "x"}).status_code == 403


def test_staff_find_people_by_name_in_the_autocomplete(staff: People) -> None:
    query = {
        "app_label": "policies",
        "model_name": "membership",
        "field_name": "user",
        "term": "ali",
    }
    found = browser("sue").get("/admin/autocomplete/", query).json()["results"]
    assert [item["text"] for item in found] == ["alice"]


# -- Nobody raises their own rights ----------------------------------------------------------


@pytest.mark.parametrize(
    "rights",
    [{"is_superuser": "on"}, {"data_admin": "on"}, {"is_staff": "on"}, {"max_token_days": "9999"}],
)
def test_abuse_24_only_superusers_give_rights(staff: People, rights: Mapping[str, str]) -> None:
    name = next(iter(rights))
    before = getattr(staff.bob, name)
    body = {"email": "b@example.org", "is_active": "on", **rights}
    browser("sue").post(address(staff.bob), body)
    bob = User.objects.get(username="bob")
    assert bob.email == "b@example.org"
    assert getattr(bob, name) == before
    changed(browser("root"), staff.bob, **rights)
    assert getattr(User.objects.get(username="bob"), name) != before


def test_abuse_24_staff_cannot_give_permissions_or_groups(staff: People) -> None:
    permission = Permission.objects.get(codename="delete_user")
    group = Group.objects.get(name="Facility staff")
    body = {"is_active": "on", "user_permissions": permission.pk, "groups": group.pk}
    assert browser("sue").post(address(staff.bob), body).status_code == 302
    assert not staff.bob.user_permissions.exists()
    assert not staff.bob.groups.exists()
    for url in ("", "add/", f"{group.pk}/change/"):
        assert browser("sue").get(f"/admin/auth/group/{url}").status_code == 403


def test_abuse_24_nobody_but_superusers_changes_accounts_with_rights(staff: People) -> None:
    root = User.objects.get(username="root")
    for target in (staff.sue, staff.dan, root):
        response = browser("sue").post(address(target), {"is_active": "on", "data_admin": "on"})
        assert response.status_code == 403
    assert not User.objects.get(username="sue").data_admin


def test_abuse_24_staff_set_no_passwords_and_see_none(staff: People) -> None:
    url = f"/admin/policies/user/{staff.alice.pk}/password/"
    body = {"password1": "a-new-password-1", "password2": "a-new-password-1"}
    assert browser("sue").post(url, body).status_code == 403
    text = browser("sue").get(address(staff.alice)).content.decode()
    assert staff.alice.password not in text
    assert "algorithm" not in text


def test_abuse_24_staff_add_people_without_passwords_whatever_they_send(staff: People) -> None:
    """Who knew the password could sign in as the person whom the sync puts into proposals."""
    chosen = {"password1": "a-chosen-1-password", "password2": "a-chosen-1-password"}
    body = {"username": "carol", "usable_password": "true", **chosen, **ELEVATED}
    assert browser("sue").post("/admin/policies/user/add/", body).status_code == 302
    carol = User.objects.get(username="carol")
    assert not carol.has_usable_password()
    assert {carol.is_staff, carol.is_superuser, carol.data_admin} == {False}
    browser("root").post("/admin/policies/user/add/", body | {"username": "dora"})
    assert User.objects.get(username="dora").check_password("a-chosen-1-password")


ELEVATED = {"is_staff": "on", "is_superuser": "on", "data_admin": "on"}
NEW_PROPOSAL = {
    "proposal_id": "318000",
    "title": "x",
    "memberships-TOTAL_FORMS": "0",
    "memberships-INITIAL_FORMS": "0",
    "embargo_changes-TOTAL_FORMS": "0",
    "embargo_changes-INITIAL_FORMS": "0",
}


def add_proposal(client: Client, *beamlines: str, **values: Any) -> Proposal | None:
    """What is stored of a proposal that somebody tries to add."""
    chosen = list(Beamline.objects.filter(name__in=beamlines).values_list("pk", flat=True))
    client.post("/admin/policies/proposal/add/", NEW_PROPOSAL | {"beamlines": chosen} | values)
    return Proposal.objects.filter(proposal_id="318000").first()


def test_staff_add_a_proposal_of_their_beamline_with_its_members(
    staff: People, recorder: Recorder
) -> None:
    recorder.run("318000", catalog="csx")
    members = {"memberships-TOTAL_FORMS": "1", "memberships-0-user": str(staff.bob.pk)}
    added = add_proposal(browser("sue"), "csx", **members, **{"memberships-0-role": "pi"})
    assert added is not None
    assert [member.username for member in added.members.all()] == ["bob"]


@pytest.mark.parametrize("beamlines", [(), ("hxn",), ("csx", "hxn")])
def test_abuse_24_staff_add_no_proposal_of_other_beamlines(
    staff: People, recorder: Recorder, beamlines: tuple[str, ...]
) -> None:
    assert add_proposal(browser("sue"), *beamlines) is None
    assert add_proposal(browser("root"), *beamlines) is not None


def test_abuse_24_staff_add_no_proposal_that_runs_of_other_beamlines_name(
    staff: People, recorder: Recorder
) -> None:
    """A member or the public would read these runs."""
    recorder.run("318000", catalog="hxn")
    assert add_proposal(browser("sue"), "csx") is None
    assert add_proposal(browser("root"), "csx") is not None


def test_abuse_24_staff_make_no_proposal_public_by_adding_it(
    staff: People, recorder: Recorder
) -> None:
    """They release it afterwards, with a reason."""
    day = {"public_from_0": "2020-01-01", "public_from_1": "00:00:00"}
    added = add_proposal(browser("sue"), "csx", **day)
    assert added is not None
    assert not added.is_public


def test_abuse_24_members_of_a_proposal_of_two_beamlines_need_staff_of_both(
    staff: People,
) -> None:
    two, client = proposal("310001"), browser("sue")
    extra = {"memberships-1-user": staff.alice.pk, "memberships-1-role": "member"}
    assert changed(client, two, **extra).status_code == 200
    assert not two.memberships.filter(user=staff.alice).exists()
    Beamline.objects.get(name="hxn").staff.add(staff.sue)
    assert changed(client, two, **extra).status_code == 302
    assert two.memberships.filter(user=staff.alice).exists()


@pytest.mark.parametrize("beamlines", [["csx"], ["hxn"], []])
def test_abuse_24_staff_of_one_beamline_do_not_take_a_proposal_from_the_other(
    staff: People, beamlines: list[str]
) -> None:
    two = proposal("310001")
    keys = list(Beamline.objects.filter(name__in=beamlines).values_list("pk", flat=True))
    assert changed(browser("sue"), two, beamlines=keys).status_code == 200
    assert two.beamlines.count() == 2


def test_abuse_24_staff_of_one_beamline_do_not_release_the_runs_of_the_other(
    staff: People,
) -> None:
    text = act(browser("sue"), "release_early", [proposal("310001")], apply="1", reason="x")
    assert "staff of all beamlines" in text
    assert not proposal("310001").is_public
    changed(browser("sue"), proposal("310001"), title="New")
    assert proposal("310001").title == "New"


def test_abuse_24_staff_cannot_make_themselves_members(staff: People) -> None:
    client, ours = browser("sue"), proposal("310000")
    extra = {"memberships-1-user": staff.sue.pk, "memberships-1-role": "pi"}
    response = changed(client, ours, **extra)
    assert "Somebody else has to change" in response.content.decode()
    assert not ours.memberships.filter(user=staff.sue).exists()


def test_abuse_24_staff_cannot_prolong_their_own_membership(staff: People) -> None:
    ours = proposal("310000")
    Membership.objects.create(proposal=ours, user=staff.sue, expires=timezone.now())
    client = browser("sue")
    form = form_of(client, address(ours))
    mine = next(
        name.split("-")[1]
        for name, value in form.items()
        if name.endswith("-user") and value == staff.sue.pk
    )
    response = client.post(
        address(ours),
        form
        | {f"memberships-{mine}-expires_0": "2099-01-01", f"memberships-{mine}-expires_1": "0:0"},
    )
    assert response.status_code == 200
    assert not Membership.objects.current().filter(user=staff.sue).exists()


def test_abuse_24_staff_neither_change_beamlines_nor_overrides_nor_unlock(
    staff: People, recorder: Recorder
) -> None:
    beamline = Beamline.objects.get(name="hxn")
    permissions = ("change_beamline", "add_runoverride", "delete_runoverride")
    staff.sue.user_permissions.add(*Permission.objects.filter(codename__in=permissions))
    client = browser("sue")
    assert client.post(address(beamline), {"name": "hxn", "staff": staff.sue.pk}).status_code == 403
    assert client.get("/admin/policies/runoverride/add/").status_code == 403
    Proposal.objects.filter(proposal_id="310000").update(locked=True)
    assert client.post(address(proposal("310000")), {"title": "x"}).status_code == 403
    act(client, "unlock", [proposal("310000")], apply="1", reason="please")
    assert proposal("310000").locked


def test_abuse_24_a_data_admin_cannot_join_the_staff_of_a_beamline(staff: People) -> None:
    staff.dan.is_staff = True
    staff.dan.save()
    permissions = Permission.objects.filter(codename__in=("view_user", "change_beamline"))
    staff.dan.user_permissions.add(*permissions)
    hxn = Beamline.objects.get(name="hxn")
    response = changed(browser("dan"), hxn, staff=[staff.dan.pk])
    assert "Somebody else has to change" in response.content.decode()
    assert changed(browser("dan"), hxn, staff=[staff.bob.pk]).status_code == 302
    assert list(hxn.staff.all()) == [staff.bob]


def test_abuse_24_the_id_of_a_proposal_is_not_changed(staff: People) -> None:
    ours = proposal("310000")
    assert changed(browser("sue"), ours, proposal_id="999", title="New").status_code == 302
    assert proposal("310000").title == "New"


def test_abuse_24_staff_without_permissions_reach_nothing_by_its_address(staff: People) -> None:
    staff.bob.is_staff = True
    staff.bob.save()
    client, tried = browser("bob"), 0
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        for kind, arguments in (("changelist", []), ("add", []), ("change", [1]), ("delete", [1])):
            try:
                url = reverse(f"{name}_{kind}", args=arguments)
            except NoReverseMatch:
                continue
            tried += 1
            # A page of one object that is not there leads back to the first page.
            assert client.get(url).status_code in ((403,) if not arguments else (302, 403)), url
    assert tried > 40
    for url in ("autocomplete/", "access/", "policies/user/1/password/"):
        assert client.get(f"/admin/{url}").status_code == 403


@pytest.mark.parametrize(
    "url",
    [
        "user/?password__startswith=md5",
        "session/?user__password__startswith=md5",
        "session/?password_hash__startswith=a",
        "session/?refresh_id__startswith=a",
        "proposal/?members__password__startswith=a",
        "runoverride/?created_by__password__regex=.*",
        "beamline/?staff__password__contains=a",
    ],
)
def test_abuse_24_lookups_that_guess_at_secrets_are_refused(staff: People, url: str) -> None:
    for who in ("root", "sue"):
        assert browser(who).get(f"/admin/policies/{url}").status_code == 400


def test_abuse_1_an_admin_search_takes_text_only(staff: People) -> None:
    for query in ('{"$ne": null}', "a__b", "' OR 1=1"):
        text = browser("root").get("/admin/policies/proposal/", {"q": query}).content.decode()
        assert "310000" not in text


# -- Overrides -------------------------------------------------------------------------------


def override(**values: Any) -> dict[str, Any]:
    return {"catalog": "csx", "reason": "Wrong session."} | values


def test_an_override_takes_a_run_that_exists_and_remembers_who_made_it(
    staff: People, recorder: Recorder
) -> None:
    uid = recorder.run("310001")
    client = browser("root")
    body = override(run_uid=uid[:8], proposal=proposal("310000").pk)
    assert client.post("/admin/policies/runoverride/add/", body).status_code == 302
    made = RunOverride.objects.get()
    assert (made.run_uid, made.created_by) == (uid, User.objects.get(username="root"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"run_uid": "no-such-run"}, "There is no such run in this catalog."),
        ({"catalog": "hxn"}, "There is no such run in this catalog."),
        ({"catalog": "nowhere"}, "Select a valid choice."),
        ({"reason": ""}, "This field is required."),
        ({"run_uid": '{"$ne": null}'}, "There is no such run in this catalog."),
    ],
)
def test_an_override_is_validated(
    staff: People, recorder: Recorder, values: dict[str, str], message: str
) -> None:
    body = override(run_uid=recorder.run("310001"), proposal=proposal("310000").pk) | values
    response = browser("root").post("/admin/policies/runoverride/add/", body)
    assert message in response.content.decode()
    assert not RunOverride.objects.exists()


# -- Sessions --------------------------------------------------------------------------------


def act(client: Client, action: str, objects: list[Any], **values: Any) -> str:
    name = objects[0]._meta.model_name
    body = {"action": action, "_selected_action": [obj.pk for obj in objects], **values}
    response = client.post(f"/admin/policies/{name}/", body, follow=True)
    return response.content.decode()


def test_sessions_can_be_ended_but_not_changed(staff: People) -> None:
    begin_session(staff.alice)
    session = Session.objects.get()
    root = browser("root")
    text = root.get(address(session)).content.decode()
    assert session.password_hash not in text
    assert str(session.refresh_id) not in text
    assert root.post(address(session), {}).status_code == 403
    act(browser("sue"), "end", [session])
    session.refresh_from_db()
    assert session.ended is None
    act(root, "end", [session])
    session.refresh_from_db()
    assert session.end_reason == "ended by root"


# -- Bulk actions ----------------------------------------------------------------------------


def test_memberships_of_the_selected_proposals_end_and_the_sync_does_not_restore_them(
    staff: People,
) -> None:
    chosen = [proposal("310000"), proposal("310001")]
    text = act(browser("sue"), "end_memberships", chosen, apply="1", reason="End of cycle 2026-2")
    assert "done for 2" in text
    assert not Membership.objects.current().exists()
    assert set(Membership.objects.values_list("source", flat=True)) == {"manual"}


def test_an_action_reaches_all_that_is_filtered_and_nothing_else(staff: People) -> None:
    Proposal.objects.exclude(proposal_id="312000").update(cycle="2026-2")
    client = browser("root")
    url = "/admin/policies/proposal/?cycle=2026-2"
    body = {"action": "lock", "_selected_action": [proposal("310000").pk], "select_across": "1"}
    context = client.post(url, body).context
    assert (context["across"], len(context["selected"]), len(context["allowed"])) == ("1", 1, 2)
    client.post(url, body | {"apply": "1", "reason": "End of the cycle."})
    locked = Proposal.objects.filter(locked=True).values_list("proposal_id", flat=True)
    assert set(locked) == {"310000", "310001"}


def test_an_action_needs_a_reason(staff: People) -> None:
    text = act(browser("sue"), "lock", [proposal("310000")], apply="1", reason="")
    assert "This field is required." in text
    assert not proposal("310000").locked


def test_proposals_are_locked_by_staff_and_unlocked_by_data_admins(staff: People) -> None:
    assert "done for 1" in act(browser("sue"), "lock", [proposal("310000")], apply="1", reason="x")
    assert proposal("310000").locked
    act(browser("root"), "unlock", [proposal("310000")], apply="1", reason="x")
    assert not proposal("310000").locked


def test_an_early_release_is_recorded_with_its_reason(staff: People) -> None:
    act(browser("sue"), "release_early", [proposal("310000")], apply="1", reason="Published.")
    assert proposal("310000").is_public
    change = proposal("310000").embargo_changes.get()
    assert (change.reason, change.made_by, change.before) == ("Published.", staff.sue, None)


def test_what_is_proprietary_is_not_released(staff: People) -> None:
    Proposal.objects.filter(proposal_id="310000").update(proprietary=True)
    text = act(browser("sue"), "release_early", [proposal("310000")], apply="1", reason="x")
    assert "proprietary or locked, so never public" in text
    assert not proposal("310000").embargo_changes.exists()


def test_an_embargo_is_extended_but_not_shortened(staff: People) -> None:
    soon = timezone.now() + timedelta(days=10)
    Proposal.objects.filter(proposal_id="310000").update(public_from=soon)
    for days, done in ((5, "done for 0"), (20, "done for 1"), (-20, "done for 0")):
        day = (timezone.now() + timedelta(days=days)).date().isoformat()
        until = {"until_0": day, "until_1": "00:00"}
        text = act(
            browser("sue"), "extend", [proposal("310000")], apply="1", reason="Patent.", **until
        )
        assert done in text
    change = proposal("310000").embargo_changes.get()
    assert change.after == proposal("310000").public_from
    assert change.after
    assert change.after.date() == (timezone.now() + timedelta(days=20)).date()


# -- The first page --------------------------------------------------------------------------


def test_the_first_page_tells_of_catalogs_syncs_and_refusals(
    staff: People, recorder: Recorder
) -> None:
    caches["counters"].clear()
    recorder.run("310000")
    AuditEvent.objects.create(kind="refused", actor="mallory", route="GET /api/v1/headers/x/")
    ProposalSync.objects.create(source="x", outcome="done", added=3)
    text = browser("root").get("/admin/").content.decode()
    for shown in ("CSX 23-ID-1", "2025-06-15 11:06:40", "index missing", "3 added", "mallory"):
        assert shown in text
    text = browser("sue").get("/admin/").content.decode()
    assert "CSX 23-ID-1" in text
    assert "mallory" not in text


def test_the_first_page_opens_when_a_catalog_is_away(staff: People, settings: Any) -> None:
    away = replace(settings.CATALOGS[0], metadata="mongodb://127.0.0.1:1/gone")
    settings.CATALOGS = (away,)
    assert "does not answer" in browser("root").get("/admin/").content.decode()
