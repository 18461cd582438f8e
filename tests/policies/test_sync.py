"""sync_proposals, against files and a real HTTP service on this machine."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from policies.models import AuditEvent, Beamline, Membership, Proposal, ProposalSync, User
from policies.roles import STAFF_GROUP
from tests.conftest import People

pytestmark = pytest.mark.django_db


def entry(proposal_id: str, *usernames: str, pi: str = "", **fields: Any) -> dict[str, Any]:
    """A proposal as nsls2api gives it."""
    users = [
        {"username": name, "email": f"{name}@example.org", "is_pi": name == pi, "bnl_id": None}
        for name in usernames
    ]
    return {
        "proposal_id": proposal_id,
        "data_session": f"pass-{proposal_id}",
        "title": f"About {proposal_id}",
        "facility": "nsls2",
        "instruments": ["CSX"],
        "cycles": ["2026-1", "2026-2"],
        "users": users,
    } | fields


class Service:
    """A small proposal service. `broken` pages answer with status 500."""

    def __init__(self) -> None:
        self.proposals: list[dict[str, Any]] = []
        self.sessions: dict[str, list[str]] = {}
        self.broken: set[int] = set()
        self.keys: list[str | None] = []
        self.page_size = 2
        self.redirect = ""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.keys.append(self.headers.get("Authorization"))
                status, content = service.answer(self.path)
                self.send_response(status)
                if service.redirect:
                    self.send_header("Location", service.redirect)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, path: str) -> tuple[int, bytes]:
        if self.redirect:
            return 302, b""
        parts = urlsplit(path)
        if parts.path.startswith("/v1/data-session/"):
            name = parts.path.rsplit("/", 1)[1]
            content: dict[str, Any] = {
                "data_sessions": self.sessions[name],
                "facility_all_access": [],
            }
            return 200, json.dumps(content).encode()
        page = int(parse_qs(parts.query)["page"][0])
        if parts.path != "/v1/proposals/" or page in self.broken:
            return 500, b"oops"
        begin = (page - 1) * self.page_size
        content = {"proposals": self.proposals[begin : begin + self.page_size], "page": page}
        return 200, json.dumps(content).encode()


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def synced(source: str, *arguments: str) -> str:
    out = StringIO()
    call_command("sync_proposals", source, *arguments, stdout=out)
    return out.getvalue()


def members(proposal_id: str) -> set[str]:
    current = Membership.objects.current().filter(proposal__proposal_id=proposal_id)
    return set(current.values_list("user__username", flat=True))


@pytest.fixture
def people(people: People) -> People:
    """As the institution's sign-on makes them: without passwords of their own."""
    for user in (people.alice, people.bob, people.dan):
        user.set_unusable_password()
        user.save()
    return people


def test_an_account_with_a_password_of_its_own_is_not_adopted(
    people: People, service: Service
) -> None:
    """ABUSE-CASES 24: whoever made it need not be the person whom the source names."""
    people.bob.set_password("chosen by somebody")
    people.bob.save()
    service.proposals = [entry("400000", "alice", "bob")]
    assert "! bob" in synced(service.url)
    assert members("400000") == {"alice"}


def test_an_account_that_has_a_password_since_is_not_restored(
    people: People, service: Service
) -> None:
    service.proposals = [entry("400000", "alice", "bob")]
    synced(service.url)
    people.bob.set_password("chosen by somebody")
    people.bob.save()
    assert "0 ended" in synced(service.url)
    assert members("400000") == {"alice", "bob"}
    service.proposals = [entry("400000", "alice")]
    synced(service.url)
    service.proposals = [entry("400000", "alice", "bob")]
    assert "! bob in 400000" in synced(service.url)
    assert members("400000") == {"alice"}


def test_the_sync_of_one_person_adopts_no_account_with_a_password(
    people: People, service: Service
) -> None:
    """ABUSE-CASES 24, by the other door."""
    service.sessions["bob"] = ["pass-310000"]
    people.bob.set_password("chosen by somebody")
    people.bob.save()
    assert "! bob in 310000" in synced(service.url, "--user", "bob")
    assert members("310000") == {"alice"}
    people.bob.set_unusable_password()
    people.bob.save()
    synced(service.url, "--user", "bob")
    service.sessions["bob"] = []
    synced(service.url, "--user", "bob")
    people.bob.set_password("chosen by somebody")
    people.bob.save()
    service.sessions["bob"] = ["pass-310000"]
    assert "0 added, 0 ended, 0 restored" in synced(service.url, "--user", "bob")
    assert members("310000") == {"alice"}


def add_in_the_admin(person: User, proposal_id: str, beamline: Beamline, member: User) -> None:
    """A proposal and a member of it, added by somebody who works in the admin."""
    person.is_staff = True
    person.save()
    person.groups.add(Group.objects.get(name=STAFF_GROUP))
    browser = Client()
    browser.force_login(person)
    form = {
        "proposal_id": proposal_id,
        "title": "",
        "cycle": "",
        "beamlines": [beamline.pk],
        "memberships-TOTAL_FORMS": 1,
        "memberships-INITIAL_FORMS": 0,
        "memberships-0-user": member.pk,
        "memberships-0-role": "member",
        "embargo_changes-TOTAL_FORMS": 0,
        "embargo_changes-INITIAL_FORMS": 0,
        "_confirmed": "yes",
    }
    answer = browser.post("/admin/policies/proposal/add/", form)
    assert answer.status_code == 302, answer.content


@pytest.mark.parametrize(
    ("actor", "named", "left"),
    [
        ("sue", ["alice"], {"alice"}),
        ("sue", ["alice", "bob"], {"alice", "bob"}),
        ("dan", ["alice"], {"alice", "bob"}),
    ],
)
def test_abuse_24_a_member_set_by_staff_gets_no_rights_at_a_beamline_that_is_added_later(
    actor: str, named: list[str], left: set[str], people: People, service: Service, catalogs: Any
) -> None:
    """Staff cannot add a member to the next proposal of a beamline that is not theirs."""
    csx, _ = (Beamline.objects.get_or_create(name=name)[0] for name in ("csx", "hxn"))
    add_in_the_admin(getattr(people, actor), "400000", csx, people.bob)
    service.proposals = [entry("400000", *named, instruments=["CSX"])]
    synced(service.url)
    assert members("400000") == {"alice", "bob"}
    service.proposals = [entry("400000", *named, instruments=["CSX", "HXN"])]
    told = synced(service.url)
    assert members("400000") == left
    if "bob" not in left:
        assert "- bob in 400000: set by hand" in told
        event = AuditEvent.objects.filter(details__what="policies.Membership").first()
        assert event is not None
        assert event.details["reason"] == "proposal sync"
        assert "expires" in event.details["changes"]
        service.proposals = [entry("400000", "alice", "bob", instruments=["CSX", "HXN"])]
        assert "1 restored" in synced(service.url)


def test_a_member_set_by_a_command_stays_when_a_beamline_is_added(
    people: People, service: Service
) -> None:
    proposal = Proposal.objects.create(proposal_id="400000")
    Membership.objects.create(proposal=proposal, user=people.bob)
    service.proposals = [entry("400000", "alice", instruments=["CSX"])]
    synced(service.url)
    assert [beamline.name for beamline in proposal.beamlines.all()] == ["csx"]
    assert members("400000") == {"alice", "bob"}


def test_adds_proposals_people_and_memberships_of_all_pages(
    people: People, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_PROPOSAL_SERVICE_KEY", "the-key")
    service.proposals = [entry(str(400000 + n), "alice", "carl", pi="carl") for n in range(5)]
    text = synced(service.url)
    assert "10 added, 0 ended, 0 restored" in text
    assert members("400004") == {"alice", "carl"}
    proposal = Proposal.objects.get(proposal_id="400004")
    assert (proposal.title, proposal.cycle) == ("About 400004", "2026-2")
    assert [beamline.name for beamline in proposal.beamlines.all()] == ["csx"]
    assert proposal.memberships.get(user__username="carl").role == "pi"
    assert not User.objects.get(username="carl").has_usable_password()
    assert set(service.keys) == {"the-key"}
    assert "0 added, 0 ended, 0 restored" in synced(service.url)


def test_ends_and_restores_what_it_made_and_keeps_what_a_person_set(
    people: People, service: Service
) -> None:
    service.proposals = [entry("310000", "alice", "bob"), entry("400000", "bob")]
    synced(service.url)
    service.proposals = [entry("310000")]
    assert "0 added, 2 ended, 0 restored" in synced(service.url)
    assert members("310000") == {"alice"}
    assert members("400000") == set()
    service.proposals = [entry("310000", "bob", pi="bob")]
    assert "0 added, 0 ended, 1 restored" in synced(service.url)
    assert members("310000") == {"alice", "bob"}


def test_a_sync_without_changes_asks_a_few_questions_only(
    people: People, service: Service, django_assert_max_num_queries: Any
) -> None:
    service.proposals = [entry(str(400000 + n), "alice", "bob") for n in range(30)]
    synced(service.url)
    with django_assert_max_num_queries(15):
        synced(service.url)


def test_a_membership_that_a_person_ended_is_not_restored(people: People, service: Service) -> None:
    service.proposals = [entry("310001", "alice", "bob")]
    synced(service.url)
    Membership.objects.filter(user=people.alice, proposal__proposal_id="310001").update(
        expires=timezone.now(), source=Membership.Source.MANUAL
    )
    synced(service.url)
    assert members("310001") == {"bob"}


def test_refuses_to_empty_a_facility(people: People, service: Service) -> None:
    names = [f"user{n}" for n in range(20)]
    service.proposals = [entry("400000", *names)]
    synced(service.url)
    for left in ([entry("400000", *names[:14])], [entry("500000", "bob")], []):
        service.proposals = left
        with pytest.raises(CommandError, match="nothing was changed"):
            synced(service.url)
        assert len(members("400000")) == 20
        assert ProposalSync.objects.first().outcome == "refused"  # type: ignore[union-attr]
    service.proposals = [entry("400000", *names[:14])]
    synced(service.url, "--max-ended", "30")
    assert len(members("400000")) == 14


def test_a_page_that_fails_changes_nothing(people: People, service: Service) -> None:
    service.proposals = [entry(str(400000 + n), "bob") for n in range(5)]
    service.broken = {2}
    with pytest.raises(CommandError, match="the service answers 500"):
        synced(service.url)
    assert not Proposal.objects.filter(proposal_id="400000").exists()
    assert ProposalSync.objects.get().outcome == "failed"


def test_the_key_is_not_carried_to_another_host(service: Service) -> None:
    service.redirect = f"http://localhost:{service.server.server_port}/v1/proposals/"
    with pytest.raises(CommandError, match="the service answers 302"):
        synced(service.url)
    assert len(service.keys) == 1


def test_a_service_that_is_away_is_one_error() -> None:
    with pytest.raises(CommandError, match="no answer from the service"):
        synced("http://127.0.0.1:1")
    with pytest.raises(CommandError, match="is not the address of an HTTP service"):
        synced("http:///x")


@pytest.mark.parametrize(
    "fields",
    [
        {"proposal_id": {"$ne": None}},
        {"proposal_id": 400000},
        {"proposal_id": "../x"},
        {"users": {"username": "bob"}},
        {"users": [{"username": {"$gt": ""}}]},
        {"users": [{"username": "a b\0"}]},
        {"users": [{"username": "bob", "is_pi": "yes"}]},
        {"title": ["x"]},
    ],
)
def test_abuse_1_an_answer_of_another_shape_changes_nothing(
    people: People, service: Service, fields: dict[str, Any]
) -> None:
    service.proposals = [entry("400000", "bob"), entry("400001") | fields]
    with pytest.raises(CommandError, match=r"proposals\[1\]"):
        synced(service.url)
    assert not Proposal.objects.filter(proposal_id="400000").exists()


def test_a_file_has_the_same_shape(people: People, tmp_path: Path) -> None:
    file = tmp_path / "proposals.json"
    file.write_text(json.dumps({"proposals": [entry("400000", "bob", "dan")]}))
    assert "would be: 2 added" in synced(str(file), "--dry-run")
    assert members("400000") == set()
    assert not ProposalSync.objects.exists()
    synced(str(file))
    assert members("400000") == {"bob", "dan"}
    with pytest.raises(CommandError, match="No such file"):
        synced(str(tmp_path / "none.json"))


def test_one_persons_memberships_follow_their_data_sessions(
    people: People, service: Service
) -> None:
    service.sessions["bob"] = ["pass-310000", "pass-999999", "other"]
    assert "1 added, 0 ended" in synced(service.url, "--user", "bob")
    assert members("310000") == {"alice", "bob"}
    service.sessions["bob"] = []
    assert "0 added, 1 ended" in synced(service.url, "--user", "bob")
    assert members("310001") == {"bob"}
    with pytest.raises(CommandError, match="There is no user 'eve'"):
        synced(service.url, "--user", "eve")


def test_a_sync_is_audited_with_its_reason(people: People, service: Service) -> None:
    service.proposals = [entry("310000", "bob")]
    synced(service.url)
    event = AuditEvent.objects.filter(details__what="policies.Membership").first()
    assert event is not None
    assert event.details["reason"] == "proposal sync"


def test_staff_see_in_readyz_how_old_the_last_sync_is(
    people: People, catalogs: Any, service: Service
) -> None:
    people.sue.is_staff = True
    people.sue.save()
    client = Client()
    client.force_login(people.sue)
    assert client.get("/readyz").json()["proposal_sync_seconds"] is None
    synced_at = ProposalSync.objects.create(source="x", outcome="done")
    age = client.get("/readyz").json()["proposal_sync_seconds"]
    assert 0 <= age <= (timezone.now() - synced_at.made).total_seconds()
    assert "proposal_sync_seconds" not in Client().get("/readyz").json()
