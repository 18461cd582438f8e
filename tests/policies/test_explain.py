"""explain(): which rule decides, always as Access decides."""

from datetime import timedelta
from io import StringIO
from itertools import product
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.utils import timezone

from policies.explain import DecidingRule, explain
from policies.models import Beamline, Membership, Proposal, RunOverride, User
from policies.principals import access_of
from tests.conftest import People
from tests.documents import Recorder, proposal_fields

pytestmark = pytest.mark.django_db

NOW = timezone.now()
PAST, FUTURE = NOW - timedelta(days=1), NOW + timedelta(days=1)


def world() -> tuple[list[User | AnonymousUser], list[str | None]]:
    """Every kind of person, and a proposal in every state: none, unknown and each mixture."""
    ids: list[str | None] = [None, "999999"]
    for number, (public_from, proprietary, locked) in enumerate(
        product((None, PAST, FUTURE), (False, True), (False, True))
    ):
        proposal_id = str(300000 + number)
        ids.append(proposal_id)
        Proposal.objects.create(
            proposal_id=proposal_id, public_from=public_from, proprietary=proprietary, locked=locked
        )
    csx = Beamline.objects.create(name="csx")
    people: list[User | AnonymousUser] = [AnonymousUser()]
    for staff, member, active in product((False, True), (None, "current", "ended"), (True, False)):
        user = User.objects.create(
            username=f"staff-{staff}-member-{member}-active-{active}", is_active=active
        )
        if staff:
            csx.staff.add(user)
        if member:
            expires = PAST if member == "ended" else None
            for proposal in Proposal.objects.all():
                Membership.objects.create(proposal=proposal, user=user, expires=expires)
        people.append(user)
    people += [
        User.objects.create(username=f"{flag}-{active}", is_active=active, **{flag: True})
        for flag, active in product(("data_admin", "is_superuser", "is_staff"), (True, False))
    ]
    return people, ids


def test_the_explanation_agrees_with_the_access_for_everybody_and_every_proposal() -> None:
    people, ids = world()
    RunOverride.objects.create(
        catalog="csx",
        run_uid="overridden-300000",
        proposal=Proposal.objects.get(proposal_id="300002"),
        reason="mis-tagged",
    )
    rules: set[DecidingRule] = set()
    for catalog in settings.CATALOGS:
        documents: list[dict[str, Any]] = [
            {"uid": f"{kind}-{proposal}"} | proposal_fields(catalog.name, proposal)
            for proposal in ids
            for kind in ("plain", "overridden")
        ]
        for person in people:
            access = access_of(person)
            for start in documents:
                decision = explain(person, catalog, start)
                assert decision.allowed == access.allows(catalog, start), (person, start, decision)
                assert decision.text
                rules.add(decision.rule)
    assert rules == set(DecidingRule)


def explained(*arguments: str) -> str:
    out = StringIO()
    call_command("explain_access", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_names_the_rule_for_a_uid_or_its_prefix(
    people: People, recorder: Recorder
) -> None:
    uid = recorder.run("310000")
    assert explained("alice", uid).startswith("allowed: member of the proposal\nalice is principal")
    assert explained("alice", uid[:8]).startswith("allowed: member of the proposal")
    assert explained("bob", uid).startswith("denied: not a member\nbob is not a member of 310000.")
    assert explained("sue", uid).startswith("allowed: beamline staff")
    assert explained("dan", uid).startswith("allowed: data admin")
    assert explained("-", uid).startswith("denied: not a member\nAn anonymous caller")
    assert explained("anonymous", recorder.run("312000")).startswith("allowed: public proposal")


def test_the_command_tells_of_an_override(people: People, recorder: Recorder) -> None:
    uid = recorder.run("310000")
    RunOverride.objects.create(
        catalog="csx",
        run_uid=uid,
        proposal=Proposal.objects.get(proposal_id="310001"),
        reason="Wrong session.",
    )
    assert "The document names 310000; overridden to 310001: Wrong session." in explained(
        "bob", uid
    )
    assert explained("alice", uid).startswith("denied")


@pytest.mark.parametrize(
    ("user", "key", "message"),
    [
        ("eve", "", "There is no user 'eve'"),
        ("alice", "00000000-none", "There is no run '00000000-none'"),
        ("alice", "twin-", "Several runs start with 'twin-'"),
    ],
)
def test_the_command_fails_clearly_for_who_or_what_it_does_not_know(
    people: People, recorder: Recorder, user: str, key: str, message: str
) -> None:
    uid = recorder.run(uid="twin-1")
    recorder.run(uid="twin-2")
    with pytest.raises(CommandError, match=message):
        explained(user, key or uid)
