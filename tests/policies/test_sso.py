"""Sign-in by OpenID Connect against a certified provider, and the attacks of ABUSE 22.

tests/oidc_provider runs two real providers on 127.0.0.1: "facility", which operators
trust to name beamline staff, and "partner", which they do not.
"""

import html
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import jwt
import pytest
import requests
from allauth.socialaccount.models import SocialAccount, SocialApp
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings as django_settings
from django.core.cache import caches
from django.test import Client
from jwt.algorithms import RSAAlgorithm
from structlog.testing import capture_logs

from policies.models import Beamline, Proposal, ProviderGrant, User
from policies.signin import sso
from policies.signin.sso_config import SSOConfigError, load_ldap, load_sso
from tests.conftest import PASSWORD, People
from tests.openid import Providers, openid_providers
from tests.programs import free_port, program

HERE = "http://testserver/"

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def running() -> Iterator[Providers]:
    with openid_providers("http://testserver") as providers:
        yield providers


FILE = """
[[oidc]]
id = "facility"
name = "Facility account"
issuer = "{facility}"
client_id = "data-broker"
client_secret = "env:FACILITY_SECRET"
scopes = ["openid", "profile", "email", "groups"]
groups_claim = "groups"
{more}
data_admin_groups = ["data-office"]
beamline_staff = {{ "csx-staff" = ["csx"], "floor" = ["csx", "hxn"] }}

[[oidc]]
id = "partner"
name = "Partner account"
issuer = "{partner}"
client_id = "data-broker"
client_secret = "partner-secret"
scopes = ["openid", "profile", "email", "groups"]
"""


def configure(settings: Any, path: Path, issuers: Mapping[str, str], more: str = "") -> None:
    path.write_text(FILE.format(more=more, **issuers))
    settings.SSO = load_sso(path, {"FACILITY_SECRET": "facility-secret"})
    apps = [provider.for_allauth() for provider in settings.SSO.oidc]
    configured = django_settings.SOCIALACCOUNT_PROVIDERS
    openid = configured["openid_connect"] | {"APPS": apps}
    settings.SOCIALACCOUNT_PROVIDERS = configured | {"openid_connect": openid}


@pytest.fixture
def providers(running: Providers, people: People, settings: Any, tmp_path: Path) -> Providers:
    configure(settings, tmp_path / "sso.toml", running.issuers)
    caches["counters"].clear()
    return running


@pytest.fixture
def trusting(providers: Providers, settings: Any, tmp_path: Path) -> Providers:
    """The facility's `account` claim names people as proposals do, says the operator."""
    more = 'username_claim = "account"'
    configure(settings, tmp_path / "sso.toml", providers.issuers, more)
    return providers


def to_provider(client: Client, provider: str = "facility", **query: str) -> str:
    """Where the browser is sent when somebody presses the button."""
    page = client.post(f"/accounts/oidc/{provider}/login/?{urlencode(query)}")
    assert page.status_code == 200, page.content
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page.content.decode())
    assert found is not None
    return html.unescape(found[1])


def at_provider(url: str) -> str:
    """What the provider's sign-in ends with: the address that it sends the browser back to."""
    with requests.Session() as browser:
        while not url.startswith(HERE):
            answer = browser.get(url, allow_redirects=False, timeout=5)
            assert answer.is_redirect, answer.text
            url = urljoin(url, answer.headers["Location"])
    return url


def back(client: Client, url: str, **changes: str | None) -> Any:
    """The browser comes back; `changes` tamper with the query."""
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    altered = {name: value for name, value in (query | changes).items() if value is not None}
    return client.get(f"{urlsplit(url).path}?{urlencode(altered)}")


def sign_in(client: Client, provider: str = "facility", **query: str) -> Any:
    return back(client, at_provider(to_provider(client, provider, **query)))


def signed_in(client: Client) -> User | None:
    key = client.session.get("_auth_user_id")
    return None if key is None else User.objects.get(pk=key)


def elevated(user: User) -> list[str]:
    return [name for name in ("is_staff", "is_superuser", "data_admin") if getattr(user, name)]


class Refused(Protocol):
    def __call__(self, client: Client, response: Any, reason: str) -> None: ...


@pytest.fixture
def refused() -> Iterator[Refused]:
    """Asserts that nobody was signed in or enrolled, and that the log says why."""
    with capture_logs() as lines:

        def check(client: Client, response: Any, reason: str) -> None:
            assert response.status_code == 401
            assert signed_in(client) is None
            assert not SocialAccount.objects.exists()
            assert lines[-1]["event"] == "request"
            assert lines[-2]["event"] == "sign-in refused"
            assert lines[-2]["reason"] == reason

        yield check


# -- Signing in ------------------------------------------------------------------------------


def test_the_login_page_offers_every_configured_provider(
    client: Client, providers: Providers
) -> None:
    page = client.get("/login/?next=/runs/").content.decode()
    assert "Sign in with Facility account" in page
    assert 'action="/accounts/oidc/partner/login/?next=%2Fruns%2F"' in page


def test_a_first_sign_in_makes_a_user_who_may_read_what_is_public(
    client: Client, providers: Providers
) -> None:
    providers.account("u-1", preferred_username="carol", given_name="Carol", family_name="Ng")
    answer = sign_in(client, next="/account/")
    assert (answer.status_code, answer["Location"]) == (302, "/account/")
    user = signed_in(client)
    assert user is not None
    assert re.fullmatch(r"carol-[0-9a-f]{8}", user.username)
    assert user.get_full_name() == "Carol Ng"
    assert not user.has_usable_password()
    assert elevated(user) == []
    assert client.get("/api/v1/auth/whoami/").json()["user"]["username"] == user.username


def test_people_of_a_provider_sign_in_every_day(client: Client, providers: Providers) -> None:
    """Their groups are read then."""
    providers.account("u-1")
    assert sign_in(client).cookies["sessionid"]["max-age"] == 12 * 3600


def test_the_same_person_is_the_same_user_the_next_time(
    client: Client, providers: Providers
) -> None:
    providers.account("u-1", preferred_username="carol")
    sign_in(client)
    first = signed_in(client)
    again = Client()
    sign_in(again)
    assert signed_in(again) == first
    assert SocialAccount.objects.count() == 1


def test_the_request_carries_state_nonce_and_pkce(client: Client, providers: Providers) -> None:
    query = parse_qs(urlsplit(to_provider(client)).query)
    assert query["code_challenge_method"] == ["S256"]
    assert {len(query[name][0]) >= 16 for name in ("state", "nonce", "code_challenge")} == {True}
    assert query["redirect_uri"] == [f"{HERE}accounts/oidc/facility/login/callback/"]


def test_a_request_chooses_neither_scopes_nor_parameters(
    client: Client, providers: Providers
) -> None:
    url = to_provider(client, scope="admin", auth_params="nonce=known&redirect_uri=http://evil/")
    query = parse_qs(urlsplit(url).query)
    assert set(query["scope"][0].split()) == {"openid", "profile", "email", "groups"}
    assert query["nonce"] != ["known"]
    assert query["redirect_uri"][0].startswith(HERE)


def test_an_account_cannot_be_linked_to_a_session_that_is_open(
    client: Client, providers: Providers, people: People
) -> None:
    """ABUSE 22: `process=connect` would let a trap link its own identity to alice."""
    client.force_login(people.alice)
    providers.account("u-1", preferred_username="mallory")
    sign_in(client, process="connect")
    assert not SocialAccount.objects.filter(user=people.alice).exists()
    assert signed_in(client) != people.alice


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:x"])
def test_afterwards_nobody_is_sent_elsewhere(
    client: Client, providers: Providers, target: str
) -> None:
    """ABUSE 23: open redirect."""
    providers.account("u-1")
    assert sign_in(client, next=target)["Location"] == "/"


def test_a_deactivated_user_does_not_get_in(client: Client, providers: Providers) -> None:
    providers.account("u-1")
    sign_in(client)
    User.objects.filter(pk=SocialAccount.objects.get().user_id).update(is_active=False)
    other = Client()
    assert sign_in(other)["Location"] == "/accounts/inactive/"
    assert signed_in(other) is None


def test_who_cancels_at_the_provider_is_told_so(client: Client, providers: Providers) -> None:
    providers.account("nobody")
    answer = sign_in(client)
    assert client.get(answer["Location"]).status_code == 200
    assert signed_in(client) is None


def test_a_provider_that_is_down_is_no_defect_of_ours(
    client: Client, people: People, settings: Any, tmp_path: Path
) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    configure(settings, tmp_path / "sso.toml", {"facility": dead, "partner": dead})
    assert client.post("/accounts/oidc/facility/login/").status_code == 401


@pytest.mark.parametrize("name", ["nonsense", "openid_connect", "saml"])
def test_providers_that_are_not_configured_do_not_exist(
    client: Client, providers: Providers, name: str
) -> None:
    SocialApp.objects.create(provider="openid_connect", provider_id="nonsense", client_id="x")
    assert client.post(f"/accounts/oidc/{name}/login/").status_code == 404


@pytest.mark.parametrize(
    "path", ["signup/", "password/reset/", "email/", "social/signup/", "3rdparty/", ""]
)
def test_there_is_no_way_to_sign_up_or_to_reset_a_password(client: Client, path: str) -> None:
    assert client.get(f"/accounts/{path}").status_code == 404


# -- ABUSE 22: who somebody is ---------------------------------------------------------------


@pytest.mark.parametrize("verified", [True, False])
def test_the_same_email_does_not_make_two_people_one(
    client: Client, providers: Providers, people: People, verified: bool
) -> None:
    """ABUSE 22: same email but other `sub`; unverified email."""
    providers.account("u-1", email="alice@example.org", email_verified=verified)
    sign_in(client)
    first = signed_in(client)
    providers.account("u-2", email="alice@example.org", email_verified=verified)
    other = Client()
    sign_in(other)
    second = signed_in(other)
    assert first is not None
    assert second is not None
    assert len({first.pk, second.pk, people.alice.pk}) == 3
    assert {first.email} == ({"alice@example.org"} if verified else {""})


def test_a_changed_preferred_username_changes_nothing(
    client: Client, providers: Providers, people: People
) -> None:
    """ABUSE 22: changed preferred_username."""
    providers.account("u-1", preferred_username="carol")
    sign_in(client)
    first = signed_in(client)
    assert first is not None
    providers.account("u-1", preferred_username="alice")
    again = Client()
    sign_in(again)
    assert signed_in(again) == first
    first.refresh_from_db()
    assert first.username.startswith("carol-")


def test_a_preferred_username_takes_nobodys_name(
    client: Client, providers: Providers, people: People
) -> None:
    """ABUSE 22: proposals know people by name, so a wished name is never somebody's name."""
    providers.account("u-1", preferred_username="alice")
    sign_in(client)
    user = signed_in(client)
    assert user is not None
    assert user.username.startswith("alice-")
    assert not Proposal.objects.filter(members=user).exists()


def test_the_same_subject_of_another_provider_is_another_person(
    client: Client, providers: Providers
) -> None:
    """ABUSE 22: identity is (provider, issuer, subject)."""
    providers.account("u-1")
    providers.account("u-1", "partner")
    sign_in(client)
    other = Client()
    sign_in(other, "partner")
    assert signed_in(client) != signed_in(other)


def test_a_provider_whose_issuer_was_changed_knows_nobody_from_before(
    client: Client, providers: Providers, settings: Any, tmp_path: Path
) -> None:
    providers.account("u-1")
    sign_in(client)
    before = signed_in(client)
    assert sso.identity("https://a", "u-1") != sso.identity("https://b", "u-1")
    account = SocialAccount.objects.get()
    assert account.uid == sso.identity(providers.issuers["facility"], "u-1")
    assert account.user == before


def test_the_remote_user_header_means_nothing(client: Client, people: People) -> None:
    """ABUSE 22: `X_Remote_User` and REMOTE_USER."""
    headers: Any = {"HTTP_X_REMOTE_USER": "dan", "HTTP_REMOTE_USER": "dan", "REMOTE_USER": "dan"}
    answer = client.get("/api/v1/auth/whoami/", **headers)
    assert answer.json()["authenticated_by"] == "anonymous"


# -- ABUSE 22: tampering on the way ----------------------------------------------------------


def test_an_answer_without_state_is_refused(
    client: Client, refused: Refused, providers: Providers
) -> None:
    """ABUSE 22: missing state."""
    providers.account("u-1")
    refused(
        client,
        back(client, at_provider(to_provider(client)), state=None),
        "no sign-in was under way here",
    )


def test_an_answer_with_a_wrong_state_is_refused(
    client: Client, refused: Refused, providers: Providers
) -> None:
    providers.account("u-1")
    refused(
        client,
        back(client, at_provider(to_provider(client)), state="A" * 16),
        "no sign-in was under way here",
    )


def test_an_answer_in_another_browser_is_refused(
    client: Client, refused: Refused, providers: Providers
) -> None:
    """ABUSE 22: sign-in by a link that somebody else made."""
    providers.account("u-1")
    url = at_provider(to_provider(client))
    victim = Client()
    refused(victim, back(victim, url), "no sign-in was under way here")


def test_a_state_works_once(client: Client, providers: Providers) -> None:
    providers.account("u-1")
    url = at_provider(to_provider(client))
    assert back(client, url).status_code == 302
    client.post("/logout/")
    assert back(client, url).status_code == 401
    assert signed_in(client) is None


def test_a_state_of_another_provider_is_refused(
    client: Client, refused: Refused, providers: Providers
) -> None:
    providers.account("u-1")
    url = at_provider(to_provider(client)).replace("/facility/", "/partner/")
    refused(client, back(client, url), "no sign-in was under way here")


@pytest.mark.parametrize("nonce", [None, "of-another-sign-in"])
def test_an_id_token_without_this_sign_ins_nonce_is_refused(
    client: Client, refused: Refused, providers: Providers, nonce: str | None
) -> None:
    """ABUSE 22: missing nonce."""
    providers.account("u-1")
    parts = urlsplit(to_provider(client))
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    changed = {k: v for k, v in (query | {"nonce": nonce}).items() if v is not None}
    refused(
        client,
        back(client, at_provider(parts._replace(query=urlencode(changed)).geturl())),
        "the nonce is not the expected one",
    )


def test_a_code_of_another_sign_in_does_not_pass_pkce(
    client: Client, refused: Refused, providers: Providers
) -> None:
    """ABUSE 22: a code that was intercepted elsewhere is injected here."""
    providers.account("u-1")
    stolen = parse_qs(urlsplit(at_provider(to_provider(Client()))).query)["code"][0]
    refused(client, back(client, at_provider(to_provider(client)), code=stolen), "OAuth2Error")


@pytest.mark.parametrize("issuer", ["partner", None])
def test_an_answer_of_another_issuer_is_refused(
    client: Client, refused: Refused, providers: Providers, issuer: str | None
) -> None:
    """ABUSE 22: issuer mix-up (RFC 9207), also by leaving out what the provider always sends."""
    providers.account("u-1")
    url = at_provider(to_provider(client))
    refused(
        client,
        back(client, url, iss=providers.issuers[issuer] if issuer else None),
        "the answer's issuer is not the expected one",
    )


def test_a_provider_that_describes_itself_as_another_is_refused(
    client: Client, refused: Refused, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ABUSE 22: issuer mix-up by discovery."""
    openid: dict[str, Any] = django_settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]
    facility, partner = openid["APPS"]
    mixed_up = [facility | {"settings": partner["settings"]}, partner]
    monkeypatch.setitem(openid, "APPS", mixed_up)
    refused(
        client,
        client.post("/accounts/oidc/facility/login/"),
        "the discovered issuer is not the expected one",
    )


def test_user_info_of_another_subject_is_refused(
    client: Client, refused: Refused, providers: Providers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ABUSE 22: claims of somebody else beside a good ID token."""
    providers.account("u-1")
    monkeypatch.setattr(
        sso.OIDCAdapter, "_fetch_user_info", lambda *_: {"sub": "u-2", "groups": ["data-office"]}
    )
    refused(client, sign_in(client), "the subject of the user info is not the expected one")


class Forger:
    """Makes ID tokens, with a key of the provider's or without."""

    def __init__(self, issuer: str) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.public = self.key.public_key()
        self.claims = {"iss": issuer, "sub": "u-1", "aud": "data-broker", "iat": time.time()}
        self.claims |= {"exp": time.time() + 300, "nonce": "n"}

    def jwks(self) -> dict[str, Any]:
        key = json.loads(RSAAlgorithm.to_jwk(self.public))
        return {"keys": [key | {"kid": "k1", "alg": "RS256", "use": "sig"}]}

    def token(self, algorithm: str = "RS256", key: Any = None, **changes: Any) -> str:
        claims = {k: v for k, v in (self.claims | changes).items() if v is not None}
        return jwt.encode(claims, key or self.key, algorithm, headers={"kid": "k1"})


@pytest.fixture
def forger(providers: Providers, monkeypatch: pytest.MonkeyPatch) -> Forger:
    made = Forger(providers.issuers["facility"])
    original = requests.Session.request

    def request(session: requests.Session, method: str, url: str, **more: Any) -> Any:
        answer = original(session, method, url, **more)
        if url.endswith("/jwks"):
            answer._content = json.dumps(made.jwks()).encode()
        return answer

    monkeypatch.setattr(requests.Session, "request", request)
    return made


def verify(token: Any) -> dict[str, Any]:
    return sso.OIDCAdapter(None, "facility")._verified(token)


def test_a_good_id_token_is_accepted(forger: Forger) -> None:
    assert verify(forger.token())["sub"] == "u-1"
    both = forger.token(aud=["data-broker", "other"], azp="data-broker")
    assert verify(both)["sub"] == "u-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "somebody-else"},
        {"aud": ["data-broker", "other"]},
        {"exp": time.time() - 3600},
        {"exp": None},
        {"sub": None},
        {"sub": 7},
        {"iat": None},
    ],
)
def test_id_tokens_with_wrong_claims_are_refused(forger: Forger, changes: dict[str, Any]) -> None:
    with pytest.raises(sso.SignInRefused):
        verify(forger.token(**changes))


def test_id_tokens_with_a_wrong_signature_are_refused(forger: Forger) -> None:
    """ABUSE 15, 22: alg none, key confusion, another key, no token at all."""
    pem = forger.public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    unsigned = jwt.encode(forger.claims, "", "none", headers={"kid": "k1"})
    secret = jwt.utils.base64url_encode(pem).decode()
    for token in (
        forger.token(key=stranger),
        unsigned,
        forger.token("HS256", key=secret),
        forger.token().rsplit(".", 1)[0] + ".",
        "",
        None,
        {"alg": "none"},
    ):
        with pytest.raises(sso.SignInRefused):
            verify(token)


# -- Group claims ----------------------------------------------------------------------------


def staffed(user: User | None) -> set[str]:
    return set(Beamline.objects.filter(staff=user).values_list("name", flat=True))


def test_groups_give_and_take_staff_rights_at_each_sign_in(
    client: Client, providers: Providers
) -> None:
    providers.account("u-1", groups=["csx-staff", "unknown"])
    sign_in(client)
    user = signed_in(client)
    assert user is not None
    assert staffed(user) == {"csx"}
    providers.account("u-1", groups=["floor", "data-office"])
    sign_in(Client())
    user.refresh_from_db()
    assert staffed(user) == {"csx", "hxn"}
    assert user.data_admin
    providers.account("u-1")
    sign_in(Client())
    user.refresh_from_db()
    assert staffed(user) == set()
    assert not user.data_admin
    assert not ProviderGrant.objects.exists()


def test_rights_given_by_hand_stay_when_the_groups_go(client: Client, providers: Providers) -> None:
    providers.account("u-1")
    sign_in(client)
    user = signed_in(client)
    assert user is not None
    Beamline.objects.get(name="csx").staff.add(user)
    User.objects.filter(pk=user.pk).update(data_admin=True)
    providers.account("u-1", groups=["floor", "data-office"])
    sign_in(Client())
    assert staffed(user) == {"csx", "hxn"}
    providers.account("u-1", groups=[])
    sign_in(Client())
    user.refresh_from_db()
    assert staffed(user) == {"csx"}
    assert user.data_admin


def test_groups_of_a_provider_without_mapping_mean_nothing(
    client: Client, providers: Providers
) -> None:
    """ABUSE 22: a group claim from the wrong provider."""
    groups = ["csx-staff", "floor", "data-office"]
    providers.account("u-1", "partner", groups=groups)
    sign_in(client, "partner")
    user = signed_in(client)
    assert user is not None
    assert staffed(user) == set()
    assert not user.data_admin


@pytest.mark.parametrize(
    "groups", [{"csx-staff": True}, [["csx-staff"]], 7, None, "csx-staff-not", [None]]
)
def test_groups_of_an_unexpected_shape_mean_nothing(
    client: Client, providers: Providers, groups: Any
) -> None:
    providers.account("u-1", groups=groups)
    sign_in(client)
    assert staffed(signed_in(client)) == set()


def test_no_claim_makes_a_superuser(client: Client, providers: Providers) -> None:
    """ABUSE 22: no elevation."""
    claims: Any = {"is_superuser": True, "is_staff": True, "data_admin": True, "roles": ["admin"]}
    providers.account("u-1", groups=["admin", "superuser", "is_superuser"], **claims)
    sign_in(client)
    user = signed_in(client)
    assert user is not None
    assert elevated(user) == []


# -- Account names that the operator trusts --------------------------------------------------


def test_a_trusted_account_name_finds_the_imported_person(
    client: Client, trusting: Providers
) -> None:
    imported = User(username="carol")
    imported.set_unusable_password()
    imported.save()
    trusting.account("u-1", account="carol")
    sign_in(client)
    assert signed_in(client) == imported


def test_a_trusted_account_name_makes_the_user_that_an_import_will_find(
    client: Client, trusting: Providers
) -> None:
    trusting.account("u-1", account="carol")
    sign_in(client)
    user = signed_in(client)
    assert user is not None
    assert user.username == "carol"


def test_an_account_name_that_was_given_to_somebody_else_is_refused(
    client: Client, trusting: Providers
) -> None:
    """ABUSE 22: the name was reused at the institution; other `sub`, no link."""
    trusting.account("u-1", account="carol")
    sign_in(Client())
    trusting.account("u-2", account="carol")
    assert sign_in(client).status_code == 401
    assert signed_in(client) is None
    assert SocialAccount.objects.count() == 1


TAKEN = "a local account has this account name; take its password away first"
RIGHTS_BEFORE = "this account's rights were set before its first sign-in from here"
NO_NAME = "the account name is not one"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, TAKEN) for name in ("alice", "ALICE", "root")),
        *((name, NO_NAME) for name in ("", "../x", None, ["alice"], "a\nb")),
    ],
)
def test_an_account_name_never_takes_over_a_local_account(
    client: Client, refused: Refused, trusting: Providers, name: Any, reason: str
) -> None:
    """ABUSE 22: people with a password, superusers, and what is not a name."""
    root = User(username="root", is_superuser=True)
    root.set_unusable_password()
    root.save()
    trusting.account("u-1", account=name)
    refused(client, sign_in(client), reason)


@pytest.mark.parametrize("right", ["data_admin", "is_staff"])
def test_an_account_name_gets_no_rights_that_were_given_before_its_first_sign_in(
    client: Client, refused: Refused, trusting: Providers, right: str
) -> None:
    """ABUSE 22: rights that somebody gave to a name, before anybody had signed in by it."""
    carol = User(username="carol", **{right: True})
    carol.set_unusable_password()
    carol.save()
    trusting.account("u-1", account="carol")
    refused(client, sign_in(client), RIGHTS_BEFORE)
    User.objects.update(**{right: False})
    sign_in(client)
    assert signed_in(client) == carol
    User.objects.update(**{right: True})
    again = Client()
    sign_in(again)
    assert signed_in(again) == carol


# -- The one door ----------------------------------------------------------------------------


def test_the_password_works_at_the_same_door(client: Client, people: People) -> None:
    answer = client.post("/login/?next=/account/", {"login": "alice", "password": PASSWORD})
    assert answer["Location"] == "/account/"
    assert signed_in(client) == people.alice
    client.post("/logout/")
    assert signed_in(client) is None


def test_the_admin_sends_people_to_the_one_door(client: Client, people: People) -> None:
    first = client.get("/admin/", follow=True)
    assert first.redirect_chain[-1][0].startswith("/login/?next=")
    posted = client.post("/admin/login/", {"username": "alice", "password": PASSWORD})
    assert posted["Location"].startswith("/login/")
    assert signed_in(client) is None
    client.force_login(people.alice)
    assert client.get("/admin/login/").status_code == 403


# -- The file --------------------------------------------------------------------------------

GOOD = """
[[oidc]]
id = "a"
name = "A"
issuer = "https://a.example"
client_id = "x"
client_secret = "y"
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nonsense", "not valid TOML"),
        ("[oidc]\nid = 'a'", "write [[oidc]]"),
        ("[[github]]\n", "has the unknown key 'github'"),
        (GOOD.replace("https", "http"), "oidc[0].issuer: must be an https:// address"),
        (GOOD + "superusers = ['x']", "oidc[0]: has the unknown key 'superusers'"),
        (GOOD.replace('"a"', '"A b"'), "oidc[0].id: use lower case letters"),
        (GOOD.replace('"y"', '"env:NOT_SET"'), "variable NOT_SET is not set"),
        (GOOD.replace('"y"', "7"), "oidc[0].client_secret: must be a text"),
        (GOOD + "scopes = ['email']", "must contain 'openid'"),
        (
            GOOD + "beamline_staff = { g = 'csx' }",
            "beamline_staff[...]: must be a list, not a text",
        ),
        (GOOD + GOOD, "more than one provider has the id 'a'"),
        ("[[saml]]\nid = 'b'\nname = 'B'\nentity_id = 'e'", "saml[0]: needs metadata_url"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "sso.toml").write_text(text)
    with pytest.raises(SSOConfigError, match=re.escape(complaint)):
        load_sso(tmp_path / "sso.toml", {})


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "sso.toml").write_text(GOOD.replace('"y"', '"env:S"'))
    for environ in ({"S": "s3cret"}, {"S_FILE": str(tmp_path / "secret")}):
        assert load_sso(tmp_path / "sso.toml", environ).oidc[0].client_secret == "s3cret"


@pytest.mark.parametrize("variable", ["BROKER_SSO", "BROKER_LDAP"])
def test_the_service_does_not_start_with_a_wrong_file(variable: str) -> None:
    environ = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    environ |= {variable: "does-not-exist.toml"}
    root = Path(__file__).parents[2]
    command = [program("python"), "manage.py", "check"]
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].find(f"{variable}: cannot read") >= 0
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("uri = 'ldap://ldap.example.org'", "passwords need ldaps://"),
        ("uri = 'http://ldap.example.org'", "needs ldaps://host"),
        ("user_filter = '(uid=x)'", "needs %(user)s"),
        ("start_tls = 'yes'", "must be true or false"),
    ],
)
def test_a_wrong_directory_file_is_refused(tmp_path: Path, change: str, complaint: str) -> None:
    lines = {
        "uri": "uri = 'ldaps://ldap.example.org'",
        "bind_dn": "bind_dn = 'cn=broker'",
        "bind_password": "bind_password = 'x'",
        "user_base": "user_base = 'ou=people'",
    }
    lines[change.split(" ")[0]] = change
    (tmp_path / "ldap.toml").write_text("\n".join(lines.values()))
    with pytest.raises(SSOConfigError, match=re.escape(complaint)):
        load_ldap(tmp_path / "ldap.toml", {})
