"""import_policies: strict, idempotent, all of the file or nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from policies.importing import PolicyFileError, import_policies, parse_policies
from policies.models import AuditEvent, Beamline, Membership, Proposal, User
from policies.roles import make_staff_group
from tests.conftest import People

pytestmark = pytest.mark.django_db

FILE: dict[str, Any] = {
    "beamlines": [{"name": "csx", "title": "CSX", "staff": ["sue"]}],
    "users": [
        {"username": "alice", "email": "alice@example.org", "is_staff": False},
        {"username": "sue", "is_staff": True},
    ],
    "proposals": [
        {
            "proposal_id": "310000",
            "title": "Stripes",
            "beamlines": ["csx"],
            "public_from": "2030-01-01T00:00:00+02:00",
            "proprietary": False,
            "locked": False,
            "members": [{"username": "alice", "role": "pi", "expires": None}],
        }
    ],
}


def applied(content: Any, *, dry_run: bool = False) -> list[str]:
    return import_policies(parse_policies(json.dumps(content)), dry_run=dry_run)


def with_change(path: str, value: Any) -> dict[str, Any]:
    """The file with another value at a path such as users.0.username."""
    content = json.loads(json.dumps(FILE))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = content
    for part in parents:
        place = place[part]
    place[last] = value
    return dict(content)


def test_imports_people_beamlines_and_proposals() -> None:
    applied(FILE)
    assert User.objects.get(username="sue").is_staff
    assert not User.objects.get(username="alice").has_usable_password()
    assert [u.username for u in Beamline.objects.get(name="csx").staff.all()] == ["sue"]
    proposal = Proposal.objects.get(proposal_id="310000")
    assert proposal.public_from is not None
    assert proposal.public_from.isoformat() == "2029-12-31T22:00:00+00:00"
    membership = proposal.memberships.get()
    assert (membership.user.username, membership.role, membership.expires) == ("alice", "pi", None)


def test_staff_are_put_into_the_group_of_staff_and_taken_out_again() -> None:
    make_staff_group()
    assert "+ user sue in the group Facility staff" in applied(FILE)
    assert User.objects.get(username="sue").has_perm("headers.view_runstart")
    assert applied(FILE) == []
    changes = applied(with_change("users.1.is_staff", False))
    assert "- user sue in the group Facility staff" in changes
    assert not User.objects.get(username="sue").has_perm("headers.view_runstart")


def test_a_second_import_changes_nothing() -> None:
    assert applied(FILE)
    assert applied(FILE) == []


def test_the_file_of_the_demo_imports_and_imports_again() -> None:
    content = (settings.BASE_DIR / "demo" / "policies.json").read_bytes()
    assert import_policies(parse_policies(content))
    assert import_policies(parse_policies(content)) == []


def test_what_the_file_lists_replaces_what_was_there_and_the_rest_stays(people: People) -> None:
    other = Proposal.objects.get(proposal_id="310001")
    Membership.objects.create(proposal=Proposal.objects.get(proposal_id="310000"), user=people.bob)
    changes = applied(FILE)
    assert "- member bob of proposal 310000" in changes
    assert other.memberships.get().user == people.bob
    people.alice.refresh_from_db()
    assert people.alice.check_password("correct-horse-battery")


def test_a_key_that_is_left_out_is_left_as_it_is(people: People) -> None:
    applied({"proposals": [{"proposal_id": "310000", "locked": True}]})
    proposal = Proposal.objects.get(proposal_id="310000")
    assert proposal.locked
    assert proposal.memberships.get().user == people.alice
    assert proposal.beamlines.count() == 2


def test_a_dry_run_tells_the_difference_and_keeps_nothing(people: People) -> None:
    changes = applied(with_change("proposals.0.locked", True), dry_run=True)
    assert "~ proposal 310000: locked false → true" in changes
    assert "+ member alice of proposal 310000" not in changes
    assert not Proposal.objects.get(proposal_id="310000").locked
    assert applied(with_change("proposals.0.locked", True)) == changes


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("users.0.username", {"$ne": None}, "file.users[0].username: must be a text, not an obj"),
        ("users.0.email", ["a@b.org"], "file.users[0].email: must be a text, not a list"),
        ("users.0.email", "nonsense", "file.users[0].email: Enter a valid email address."),
        (
            "users.0.is_staff",
            1,
            "file.users[0].is_staff: must be true or false, not a whole number",
        ),
        ("users.0.is_superuser", True, "file.users[0]: has the unknown key 'is_superuser'"),
        ("users.0.data_admin", True, "file.users[0]: has the unknown key 'data_admin'"),
        ("users.0.username", "a\0b", "file.users[0].username: has a control character"),
        ("users.0.username", "a" * 151, "file.users[0].username: has more than 150 characters"),
        ("users.1.username", "alice", "file: users has 'alice' more than once"),
        ("beamlines.0.name", "../x", "file.beamlines[0].name: Use letters, digits"),
        ("beamlines.0.staff", ["eve"], "file.beamlines[0].staff[0]: there is no user 'eve'"),
        ("beamlines.0.staff", "sue", "file.beamlines[0].staff: must be a list, not a text"),
        ("proposals.0.beamlines", ["hxn"], "file.proposals[0].beamlines[0]: there is no beamline"),
        ("proposals.0.proposal_id", 310000, "file.proposals[0].proposal_id: must be a text"),
        (
            "proposals.0.public_from",
            "2030-01-01",
            "file.proposals[0].public_from: must be a time with zone",
        ),
        (
            "proposals.0.public_from",
            "2030-13-01T00:00:00Z",
            "file.proposals[0].public_from: must be a time",
        ),
        (
            "proposals.0.members.0.role",
            "boss",
            "file.proposals[0].members[0].role: must be 'pi' or 'member'",
        ),
        ("proposals.0.members.0.role", {"$gt": ""}, "file.proposals[0].members[0].role: must be a"),
        ("proposals", {"$gt": ""}, "file.proposals: must be a list, not an object"),
        ("$where", "1", "file: has the unknown key '$where'"),
    ],
)
def test_abuse_1_a_wrong_value_is_one_error_that_names_its_path_and_changes_nothing(
    path: str, value: Any, message: str
) -> None:
    with pytest.raises(PolicyFileError) as caught:
        applied(with_change(path, value))
    assert str(caught.value).startswith(message)
    assert not User.objects.exists()
    assert not Beamline.objects.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "file: is not valid JSON"),
        ("[" * 100_000, "file: is not valid JSON"),
        ("[]", "file: must be an object, not a list"),
        ('{"users": [], "users": []}', "file: an object has the key 'users' twice"),
        ('{"users": [{}]}', "file.users[0]: lacks username"),
        (b"\xff\xfe\xff", "file: is not valid JSON"),
    ],
)
def test_what_is_no_policy_file_is_refused(content: str | bytes, message: str) -> None:
    with pytest.raises(PolicyFileError, match=message.replace("[", r"\[")):
        parse_policies(content)


def test_the_command_prints_the_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policies.json"
    file.write_text(json.dumps(FILE))
    call_command("import_policies", str(file), "--dry-run")
    assert "+ user alice" in capsys.readouterr().out
    assert not User.objects.exists()
    call_command("import_policies", str(file))
    assert User.objects.count() == 2


def test_the_command_fails_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "policies.json"
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_policies", str(file))
    file.write_text('{"users": 1}')
    with pytest.raises(CommandError, match=r"file\.users: must be a list, not a whole number"):
        call_command("import_policies", str(file))


def test_thousands_of_members_take_some_hundred_statements(
    db: None, django_assert_max_num_queries: Any
) -> None:
    """What is new is stored together, with its audit events; each of these is there."""
    members = [{"username": f"u{n}"} for n in range(1200)]
    proposals = [
        {"proposal_id": f"3{n}", "beamlines": ["csx"], "members": members[n : n + 5]}
        for n in range(1100)
    ]
    users = [{"username": f"u{n}"} for n in range(1200)]
    entries = parse_policies(
        json.dumps({"users": users, "beamlines": [{"name": "csx"}], "proposals": proposals})
    )
    with django_assert_max_num_queries(300):
        import_policies(entries)
    assert Membership.objects.count() == 5500
    told = AuditEvent.objects.filter(kind="policy")
    assert told.filter(details__what="policies.Membership", result="created").count() == 5500
    assert told.filter(details__of="Proposal_beamlines", details__added=["csx"]).count() == 1100
    with django_assert_max_num_queries(300):
        assert import_policies(entries) == []
