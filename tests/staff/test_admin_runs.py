"""The admin's lists of runs: read-only, within what the person may read."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from headers.catalogs import Catalog
from headers.models import RUNS_OF_CATALOGS, RunStart
from headers.mongo import database
from policies.models import Proposal, RunOverride, User
from tests.conftest import Commands, People
from tests.documents import EPOCH, Recorder

pytestmark = pytest.mark.django_db
LIST = "/admin/headers/csx_run/"


@pytest.fixture
def staff(people: People) -> People:
    """All four are staff of the site and may see the lists."""
    permission = Permission.objects.get(codename="view_runstart")
    for user in User.objects.all():
        user.is_staff = True
        user.save()
        user.user_permissions.add(permission)
    return people


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def page(who: User, url: str = LIST, /, **query: Any) -> str:
    return browser(who).get(url, query).content.decode()


def test_a_list_shows_time_scan_plan_proposal_status_and_links(
    staff: People, recorder: Recorder
) -> None:
    uid = recorder.run("310001", scan_id=4711, plan_name="grid_scan", exit_status="fail")
    text = page(staff.dan)
    for shown in ("2025-06-15 11:06:40", "4711", "grid_scan", "310001", "fail"):
        assert shown in text
    assert f"/api/v1/headers/{uid}/" in text
    assert f"/admin/access/?catalog=csx&amp;run={uid}" in text


def test_a_run_without_stop_document_is_open(staff: People, recorder: Recorder) -> None:
    recorder.run("310001", exit_status=None)
    assert "<td>open</td>" in page(staff.dan)


def test_an_override_is_shown_as_the_proposal(staff: People, recorder: Recorder) -> None:
    uid = recorder.run("310001")
    RunOverride.objects.create(
        catalog="csx",
        run_uid=uid,
        proposal=Proposal.objects.get(proposal_id="310000"),
        reason="x",
    )
    assert "310000 (overridden)" in page(staff.dan)


@pytest.mark.parametrize(
    ("name", "sees"),
    [("dan", {"a", "b", "public"}), ("sue", {"a", "b", "public"}), ("alice", {"a", "public"})],
)
def test_abuse_24_staff_see_only_the_runs_that_they_may_read(
    staff: People, recorder: Recorder, name: str, sees: set[str]
) -> None:
    runs = {
        "a": recorder.run("310000"),
        "b": recorder.run("310001"),
        "public": recorder.run("312000"),
    }
    text = page(getattr(staff, name))
    assert {key for key, uid in runs.items() if uid in text} == sees


def test_a_page_of_any_length_takes_two_commands(
    staff: People, recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    for _ in range(60):
        recorder.run("310001", events=0)
    index_stands()
    for viewer, asked in ((staff.alice, []), (staff.dan, ["find", "find"])):
        client = browser(viewer)
        commands.sent.clear()
        client.get(LIST)
        assert commands.names == asked


def test_older_and_newer_pages_show_every_run_once(staff: People, recorder: Recorder) -> None:
    uids = [recorder.run("310001", events=0) for _ in range(120)]
    client = browser(staff.dan)
    seen, url = [], LIST
    while url:
        response = client.get(url)
        seen += [row["uid"] for row in response.context["rows"]]
        older = response.context["older"]
        url = f"{LIST}?{older}" if older else ""
    assert seen == uids[::-1]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"q": "77"}, {"numbered"}),
        ({"q": "310000"}, {"a"}),
        ({"q": "0abc1"}, {"prefixed"}),
        ({"q": "needle"}, {"words"}),
        ({"q": "nothing such"}, set()),
        ({"proposal": "310000"}, {"a"}),
        ({"exit_status": "abort"}, {"aborted"}),
        ({"without_proposal": "1"}, {"untagged"}),
        ({"until": str(EPOCH + 1)}, {"a"}),
        ({"q": "", "proposal": "", "since": "2031"}, set()),
    ],
)
def test_search_and_filters(
    staff: People, recorder: Recorder, query: dict[str, str], found: set[str]
) -> None:
    uids = {
        "a": recorder.run("310000"),
        "numbered": recorder.run("310001", scan_id=77),
        "prefixed": recorder.run("310001", uid="0abc1234-0000"),
        "words": recorder.run("310001", sample={"name": "a needle"}),
        "aborted": recorder.run("310001", exit_status="abort"),
        "untagged": recorder.run(None),
    }
    rows = browser(staff.dan).get(LIST, query).context["rows"]
    assert {name for name, uid in uids.items() if uid in {row["uid"] for row in rows}} == found


@pytest.mark.parametrize(
    "query",
    [
        {"q": '{"$ne": null}'},
        {"proposal": '{"$gt": ""}'},
        {"exit_status": '{"$ne": 1}'},
        {"exit_status": "$ne"},
        {"q[$ne]": "1"},
        {"uid__startswith": "a"},
        {"uid": "abcde"},
        {"o": "1"},
        {"since": "yesterday"},
        {"cursor": "nonsense"},
        {"q": ["a", "b"]},
        {"q": "a\0b"},
    ],
)
def test_abuse_1_and_24_operators_lookups_and_unknown_parameters_are_refused(
    staff: People, recorder: Recorder, query: dict[str, Any]
) -> None:
    uid = recorder.run("310001")
    response = browser(staff.dan).get(LIST, query)
    assert response.status_code == 400
    assert uid not in response.content.decode()


def test_abuse_13_a_cursor_of_somebody_else_is_refused(staff: People, recorder: Recorder) -> None:
    for _ in range(60):
        recorder.run("310001", events=0)
    older = browser(staff.dan).get(LIST).context["older"]
    assert browser(staff.dan).get(f"{LIST}?{older}").status_code == 200
    assert browser(staff.sue).get(f"{LIST}?{older}").status_code == 400


def test_abuse_24_nothing_is_seen_without_the_permission(
    people: People, recorder: Recorder
) -> None:
    people.sue.is_staff = True
    people.sue.save()
    recorder.run("310001")
    for url in (LIST, f"{LIST}check/"):
        assert browser(people.sue).get(url).status_code == 403
        assert browser(people.alice).get(url).status_code == 302
        assert Client().get(url).status_code == 302


def test_abuse_24_there_is_no_way_to_add_change_or_delete_a_run(
    staff: People, recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    uid = recorder.run("310001")
    key = database(catalogs["csx"].metadata).run_start.find_one()["_id"]  # type: ignore[index]
    client = browser(User.objects.create_superuser("root"))
    for url in ("add/", f"{key}/change/", f"{key}/delete/", f"{uid}/delete/", f"{key}/history/"):
        assert client.get(LIST + url).status_code == 404
    body = {"action": "delete_selected", "_selected_action": [str(key)], "post": "yes"}
    client.post(LIST, body)
    assert database(catalogs["csx"].metadata).run_start.count_documents({"uid": uid}) == 1
    models: tuple[type[RunStart], ...] = (RunStart, *RUNS_OF_CATALOGS)
    for model in models:
        for change in ("delete", "update", "bulk_create", "create"):
            with pytest.raises(PermissionError):
                getattr(model.objects.all(), change)()
        with pytest.raises(PermissionError):
            model(uid="x").save()
        assert not model.objects.filter(uid=uid).exists()


def test_abuse_23_and_24_keys_and_values_of_documents_are_inert(
    staff: People, recorder: Recorder
) -> None:
    hostile = "<script>alert(1)</script>{{7*7}}\u202e"
    recorder.run(
        "310001",
        save="x",
        pk="y",
        delete=1,
        objects=[],
        plan_name=hostile,
        scan_id={"$ne": hostile},
    )
    response = browser(staff.dan).get(LIST)
    text = response.content.decode()
    assert response.status_code == 200
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_malformed_documents_are_shown_or_left_out(staff: People, recorder: Recorder) -> None:
    recorder.insert("csx", "run_start", {"time": 5.0, "plan_name": ["no", "uid"]})
    recorder.insert("csx", "run_start", {"uid": "a/b", "time": float("inf")})
    recorder.insert("csx", "run_start", {"uid": "no-time"})
    text = page(staff.dan)
    assert "no uid" in text
    assert "a/b" in text
    assert "no-time" not in text


def test_the_check_up_is_for_data_admins(staff: People, recorder: Recorder) -> None:
    assert "Runs without" not in page(staff.dan, LIST)
    assert "runs without proposal" in page(staff.dan, f"{LIST}check/")
    assert browser(staff.sue).get(f"{LIST}check/").status_code == 403


def test_every_catalog_has_its_list() -> None:
    assert {model.catalog.name for model in RUNS_OF_CATALOGS} == {"csx", "hxn"}
    for model in RUNS_OF_CATALOGS:
        assert not apps.get_model("headers", "RunStart")._meta.managed
        assert admin.site.is_registered(model)
        assert reverse(f"admin:headers_{model._meta.model_name}_changelist")
