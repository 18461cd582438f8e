"""The data-rate study in the admin: for staff, of the runs that they may read."""

from django.test import Client

from policies.models import User
from tests.conftest import People
from tests.documents import Recorder

URL = "/admin/data-rates/csx/"


def _client(user: User, **rights: bool) -> Client:
    User.objects.filter(pk=user.pk).update(**rights)
    client = Client()
    client.force_login(User.objects.get(pk=user.pk))
    return client


def test_staff_see_rates_of_what_they_may_read(people: People, recorder: Recorder) -> None:
    for _ in range(3):
        recorder.run("310001", events=7)
    admin = _client(people.dan, is_staff=True, is_superuser=True)
    page = admin.get(URL).content.decode()
    assert "Stream primary, in 3 runs" in page
    assert "<svg" in page
    assert "<script>" not in page


def test_staff_without_permission_and_others_are_refused(people: People) -> None:
    assert _client(people.bob, is_staff=True).get(URL).status_code == 403
    assert _client(people.alice).get(URL).status_code == 302
    assert Client().get(URL).status_code == 302


def test_an_unknown_catalog_is_not_found(people: People) -> None:
    admin = _client(people.dan, is_staff=True, is_superuser=True)
    assert admin.get("/admin/data-rates/nonsense/").status_code == 404
