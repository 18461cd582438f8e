"""Principal investigators release their proposals early, with a reason."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from policies.models import AuditEvent, Beamline, Membership, Proposal, User
from tests.conftest import Actor, People
from tests.documents import Recorder

pytestmark = pytest.mark.django_db
URL = "/proposals/310000/release/"
BODY = {"reason": "The paper is out.", "sure": "on"}


def browser(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def without_token(response: Any) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="[^"]*"', "", response.content.decode())


def test_a_principal_investigator_releases_and_everybody_reads_at_once(
    people: People, recorder: Recorder, acting_as: Actor
) -> None:
    url = f"/api/v1/headers/{recorder.run('310000')}/"
    assert acting_as("nobody").get(url).status_code == 404
    page = browser(people.alice).get(URL)
    assert "No day is planned." in page.content.decode()
    assert browser(people.alice).post(URL, BODY).status_code == 302
    assert acting_as("nobody").get(url).status_code == 200
    change = Proposal.objects.get(proposal_id="310000").embargo_changes.get()
    assert (change.made_by, change.reason) == (people.alice, "The paper is out.")
    event = AuditEvent.objects.filter(details__what="policies.Proposal").first()
    assert event is not None
    assert event.details["reason"] == "The paper is out."


def test_it_needs_a_reason_and_a_yes(people: People) -> None:
    for body in ({}, {"reason": "x"}, {"sure": "on"}, {"reason": " ", "sure": "on"}):
        assert browser(people.alice).post(URL, body).status_code == 400
    assert not Proposal.objects.get(proposal_id="310000").is_public


def test_staff_of_all_its_beamlines_release_too(people: People) -> None:
    assert browser(people.sue).post(URL, BODY).status_code == 404
    Beamline.objects.get(name="hxn").staff.add(people.sue)
    assert browser(people.sue).post(URL, BODY).status_code == 302


@pytest.mark.parametrize("state", ["proprietary", "is public"])
def test_what_cannot_be_released_says_why(people: People, state: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "proprietary": {"proprietary": True},
        "is public": {"public_from": timezone.now()},
    }
    Proposal.objects.filter(proposal_id="310000").update(**changes[state])
    response = browser(people.alice).post(URL, BODY)
    assert response.status_code == 400
    assert state in response.content.decode()


def test_it_is_not_there_for_others(people: People) -> None:
    nonsense = browser(people.bob).get("/proposals/999999/release/")
    assert nonsense.status_code == 404
    hidden = browser(people.bob).get(URL)
    assert [without_token(hidden)] == [without_token(nonsense)]
    assert Client().get(URL).status_code == 302
    mine = Membership.objects.filter(user=people.alice)
    for change in (
        {"role": "member"},
        {"role": "pi", "expires": timezone.now() - timedelta(days=1)},
    ):
        mine.update(**change)
        assert browser(people.alice).post(URL, BODY).status_code == 404
    mine.update(expires=None)
    Proposal.objects.filter(proposal_id="310000").update(locked=True)
    assert browser(people.alice).post(URL, BODY).status_code == 404


def test_it_needs_the_csrf_token(people: People) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.alice)
    assert client.post(URL, BODY).status_code == 403
