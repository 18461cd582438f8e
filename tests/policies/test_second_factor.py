"""Second factors: who has one must use it at every door, and staff can be obliged to have one."""

import base64
import hashlib
import hmac
import struct
import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.test import Client
from rest_framework.test import APIClient

from policies.models import AuditEvent, User
from policies.sessions import begin_session
from policies.signin.second_factor import MFAAdapter
from tests.conftest import PASSWORD, People

pytestmark = pytest.mark.django_db
PERIOD = 30


def code(secret: str) -> str:
    """The six digits of RFC 6238, which are right for some seconds yet."""
    if (left := PERIOD - time.time() % PERIOD) < 5:
        time.sleep(left)
    key = base64.b32decode(secret)
    digest = hmac.new(key, struct.pack(">Q", int(time.time()) // PERIOD), hashlib.sha1).digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06}"


@pytest.fixture
def sue(people: People) -> User:
    """Staff, with the admin's permissions."""
    User.objects.filter(pk=people.sue.pk).update(is_staff=True)
    return User.objects.get(pk=people.sue.pk)


def password(client: Client, name: str = "sue", **query: str) -> Any:
    return client.post("/login/", {"login": name, "password": PASSWORD, **query})


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def set_up(client: Client) -> str:
    """Goes through the pages that set up an authenticator app; gives its secret."""
    page = client.get("/accounts/2fa/totp/activate/", follow=True)
    assert page.request["PATH_INFO"] == "/accounts/reauthenticate/"
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert client.get("/accounts/2fa/totp/activate/").status_code == 200
    secret = str(client.session["mfa.totp.secret"])
    done = client.post("/accounts/2fa/totp/activate/", {"code": code(secret)})
    assert done.status_code == 302, done.content
    return secret


@pytest.fixture
def secret(sue: User) -> str:
    """sue's authenticator app, set up in another browser."""
    cache.clear()
    client = Client()
    password(client)
    made = set_up(client)
    cache.clear()  # a code works once; the next period's would be half a minute away
    return made


def test_the_password_alone_does_not_sign_in_who_has_a_second_factor(secret: str) -> None:
    client = Client()
    answer = password(client, next="/admin/")
    assert answer["Location"].startswith("/accounts/2fa/authenticate/")
    assert not signed_in(client)
    assert client.get("/admin/")["Location"].startswith("/admin/login/")
    assert client.get("/api/v1/auth/whoami/").json()["authenticated_by"] == "anonymous"


def test_the_code_completes_the_sign_in_and_leads_on(secret: str) -> None:
    client = Client()
    password(client, next="/admin/")
    answer = client.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    assert answer["Location"] == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_wrong_codes_are_refused_recorded_and_limited(secret: str) -> None:
    """ABUSE 21: six digits are guessed fast where nobody counts."""
    client = Client()
    password(client)
    for _ in range(5):
        assert client.post("/accounts/2fa/authenticate/", {"code": "000000"}).status_code == 200
    right = {"code": code(secret)}
    assert client.post("/accounts/2fa/authenticate/", right).status_code == 200
    assert not signed_in(client)
    told = AuditEvent.objects.filter(kind="sign-in-failed", actor="sue", result="wrong factor")
    assert told.count() == 5


def test_a_recovery_code_works_once(secret: str, sue: User) -> None:
    codes = Authenticator.objects.get(user=sue, type="recovery_codes").wrap().get_unused_codes()
    for expected in (True, False):
        client = Client()
        password(client)
        client.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert signed_in(client) == expected


def test_programs_cannot_go_round_it_with_the_password(secret: str) -> None:
    given = {"username": "sue", "password": PASSWORD}
    refused = APIClient().post("/api/v1/auth/token/", given, format="json")
    assert refused.status_code == 401
    assert "auth/device/" in refused.json()["detail"]


def test_a_copy_of_the_database_makes_no_codes(secret: str, sue: User) -> None:
    rows = repr(list(Authenticator.objects.values_list("data", flat=True)))
    assert secret not in rows
    assert MFAAdapter().decrypt(MFAAdapter().encrypt(secret)) == secret


def test_codes_work_on_after_the_secret_key_was_rotated(secret: str, settings: Any) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another-key-of-at-least-32-bytes-ABCDEF"
    client = Client()
    password(client)
    client.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    assert signed_in(client)


def test_setting_one_up_asks_for_the_password_again(sue: User) -> None:
    client = Client()
    password(client)
    for page in ("totp/activate/", "webauthn/add/"):
        answer = client.get(f"/accounts/2fa/{page}")
        assert answer["Location"].startswith("/accounts/reauthenticate/"), page


def test_the_pages_need_no_inline_script(secret: str) -> None:
    """ABUSE 23: what stands between script tags is data, or comes from a file of ours."""
    client = Client()
    password(client)
    page = client.get("/accounts/2fa/authenticate/").content.decode()
    scripts = [part.split(">")[0] for part in page.split("<script")[1:]]
    assert scripts
    assert all('src="/static/' in tag or 'type="application/json"' in tag for tag in scripts)


@pytest.mark.parametrize(
    "page",
    [
        "password/",
        "inactive/",
        "cancelled/",
        "reauthenticate/",
        "2fa/",
        "2fa/reauthenticate/",
        "2fa/totp/deactivate/",
        "2fa/recovery-codes/",
        "2fa/recovery-codes/generate/",
        "2fa/recovery-codes/download/",
        "2fa/webauthn/",
        "2fa/webauthn/add/",
    ],
)
def test_every_page_of_the_account_can_be_shown(secret: str, page: str) -> None:
    client = Client()
    password(client)
    client.post("/accounts/2fa/authenticate/", {"code": code(secret)})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert client.get(f"/accounts/{page}").status_code == 200


def test_who_has_no_password_here_cannot_give_themselves_one(people: People) -> None:
    """They would get in after their institution has locked them out."""
    people.alice.set_unusable_password()
    people.alice.save()
    client = Client()
    client.force_login(people.alice)
    page = client.get("/accounts/password/", follow=True)
    assert page.redirect_chain[-1][0] == "/account/"
    given = {"password1": "correct-horse-2", "password2": "correct-horse-2", "oldpassword": ""}
    client.post("/accounts/password/", given)
    people.alice.refresh_from_db()
    assert not people.alice.has_usable_password()


def test_changing_the_password_ends_the_sessions_of_programs(people: People) -> None:
    """ABUSE 18."""
    access = begin_session(people.alice).access
    client = Client()
    password(client, "alice")
    new = "another-horse-battery"
    given = {"oldpassword": PASSWORD, "password1": new, "password2": new}
    assert client.post("/accounts/password/", given).status_code == 302
    assert client.get("/account/").status_code == 200
    program = APIClient()
    program.credentials(HTTP_AUTHORIZATION=f"Bearer {access}")
    assert program.get("/api/v1/auth/whoami/").status_code == 401


# -- Obliged to have one ------------------------------------------------------------------------


@pytest.fixture
def obliged(settings: Any) -> None:
    settings.REQUIRE_STAFF_MFA = True
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "policies.signin.second_factor.StaffSecondFactorMiddleware",
    ]


def test_staff_without_one_reach_only_the_pages_that_set_one_up(obliged: None, sue: User) -> None:
    client = Client()
    password(client)
    for path in ("/", "/admin/", "/account/", "/device/"):
        assert client.get(path)["Location"] == "/accounts/2fa/", path
    assert client.get("/api/v1/headers/count/").status_code == 403
    assert client.get("/accounts/2fa/").status_code == 200
    set_up(client)
    assert client.get("/admin/").status_code == 200


def test_staff_without_one_get_no_tokens_by_password(obliged: None, sue: User) -> None:
    given = {"username": "sue", "password": PASSWORD}
    assert APIClient().post("/api/v1/auth/token/", given, format="json").status_code == 401


def test_others_are_not_obliged(obliged: None, people: People) -> None:
    client = Client()
    password(client, "alice")
    assert client.get("/api/v1/auth/whoami/").json()["user"]["username"] == "alice"
    given = {"username": "alice", "password": PASSWORD}
    assert APIClient().post("/api/v1/auth/token/", given, format="json").status_code == 200
