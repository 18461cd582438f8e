"""Sign-in by SAML: answers are signed here, with the key of a provider that the file names."""

import base64
import html
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers import registry
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.cache import caches
from django.test import Client as DjangoClient

from broker_site import urls
from policies.models import Beamline, User
from policies.signin.sso_config import load_sso
from tests.conftest import People
from tests.programs import lacking

pytestmark = pytest.mark.django_db

IDP = "https://idp.example.org/saml"
ACS = "http://broker.example.org/accounts/saml/campus/acs/"
FILE = """
[[saml]]
id = "campus"
name = "Campus"
entity_id = "{idp}"
sso_url = "https://idp.example.org/sso"
certificate = '''{certificate}'''
groups_attribute = "groups"
beamline_staff = {{ "csx-staff" = ["csx"] }}
"""
RESPONSE = """<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"
 xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r1" Version="2.0"
 IssueInstant="{now}" Destination="{acs}" InResponseTo="{request}">
<saml:Issuer>{issuer}</saml:Issuer>
<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>
{assertion}</samlp:Response>"""
ASSERTION = """<saml:Assertion xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a1"
 Version="2.0" IssueInstant="{now}"><saml:Issuer>{issuer}</saml:Issuer>
<saml:Subject><saml:NameID
 Format="urn:oasis:names:tc:SAML:2.0:nameid-format:transient">t-{request}</saml:NameID>
<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">
<saml:SubjectConfirmationData NotOnOrAfter="{later}" Recipient="{acs}" InResponseTo="{request}"/>
</saml:SubjectConfirmation></saml:Subject>
<saml:Conditions NotBefore="{before}" NotOnOrAfter="{later}"><saml:AudienceRestriction>
<saml:Audience>{audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions>
<saml:AuthnStatement AuthnInstant="{now}" SessionIndex="s1"><saml:AuthnContext>
<saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password
</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>
<saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>"""
ATTRIBUTE = (
    '<saml:Attribute Name="{}"><saml:AttributeValue>{}</saml:AttributeValue></saml:Attribute>'
)


class IdentityProvider:
    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp")])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(name, name, self.key.public_key(), 1)
        made = made.not_valid_before(now).not_valid_after(now + timedelta(days=1))
        signed = made.sign(self.key, hashes.SHA256())
        self.certificate = signed.public_bytes(serialization.Encoding.PEM).decode()

    def answer(self, request: str, *, sign: bool = True, **changes: Any) -> dict[str, str]:
        """The form that the provider makes the browser send."""
        now = datetime.now(UTC)
        values = {
            "now": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "before": f"{now - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}",
            "later": f"{now + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
            "acs": ACS,
            "audience": "http://broker.example.org/accounts/saml/campus/metadata/",
            "issuer": IDP,
            "request": request,
            "attributes": attributes(),
        } | changes
        assertion = ASSERTION.format(**values)
        if sign:
            assertion = self._signed(assertion)
        xml = RESPONSE.format(assertion=assertion, **values)
        return {"SAMLResponse": base64.b64encode(xml.encode()).decode()}

    def _signed(self, xml: str) -> str:
        from onelogin.saml2.utils import OneLogin_Saml2_Utils

        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return str(OneLogin_Saml2_Utils.add_sign(xml, pem.decode(), self.certificate).decode())


class Client(DjangoClient):
    """A browser, which always says which host it means."""

    def __init__(self) -> None:
        super().__init__(HTTP_HOST="broker.example.org")


def attributes(subject: str = "carol@campus", *groups: str) -> str:
    named = [("urn:oasis:names:tc:SAML:attribute:subject-id", subject)] if subject else []
    return "".join(ATTRIBUTE.format(*pair) for pair in [*named, *(("groups", g) for g in groups)])


@pytest.fixture
def idp(people: People, settings: Any, tmp_path: Path) -> Iterator[IdentityProvider]:
    if find_spec("onelogin") is None:
        lacking("python3-saml (requirements-saml.txt)")
    from policies.signin import saml

    caches["counters"].clear()
    made = IdentityProvider()
    file = tmp_path / "sso.toml"
    file.write_text(FILE.format(idp=IDP, certificate=made.certificate))
    settings.SSO = load_sso(file)
    settings.ALLOWED_HOSTS = ["broker.example.org"]
    apps = [provider.for_allauth() for provider in settings.SSO.saml]
    settings.SOCIALACCOUNT_PROVIDERS = {"saml": {"APPS": apps}}
    addresses = ModuleType("addresses")
    addresses.__dict__.update(vars(urls), urlpatterns=[*urls.urlpatterns, *saml.urlpatterns])
    settings.ROOT_URLCONF = addresses
    registry.register(saml.SAML)
    yield made
    del registry.provider_map["saml"]


def request_id(client: Client) -> str:
    page = client.post("/accounts/saml/campus/login/").content.decode()
    found = re.search(r'content="0; url=([^"]+)"', page)
    assert found is not None, page
    query = parse_qs(urlsplit(html.unescape(found[1])).query)
    request = zlib.decompress(base64.b64decode(query["SAMLRequest"][0]), -15).decode()
    return str(re.search(r' ID="([^"]+)"', request)[1])  # type: ignore[index]


def sign_in(client: Client, form: dict[str, str]) -> Any:
    sent_on = client.post("/accounts/saml/campus/acs/", form)
    return client.get(sent_on["Location"])


def signed_in(client: Client) -> User | None:
    key = client.session.get("_auth_user_id")
    return None if key is None else User.objects.get(pk=key)


def test_a_signed_answer_signs_in_always_the_same_user(idp: IdentityProvider) -> None:
    users = []
    for groups in (["csx-staff"], []):
        client = Client()
        form = idp.answer(request_id(client), attributes=attributes("carol@campus", *groups))
        assert sign_in(client, form).status_code == 302
        users.append(signed_in(client))
        staffed = Beamline.objects.filter(staff=users[-1]).values_list("name", flat=True)
        assert list(staffed) == ["csx"] * len(groups)
    assert users[0] is not None
    assert users[0] == users[1]
    assert users[0].username.startswith("user-")


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example.org/saml"},
        {"audience": "https://another.example.org/"},
        {"later": "2020-01-01T00:00:00Z"},
        {"acs": "http://another.example.org/acs/"},
        {"attributes": attributes("")},
    ],
)
def test_answers_for_others_or_without_a_subject_are_refused(
    idp: IdentityProvider, changes: dict[str, Any]
) -> None:
    """ABUSE 22: issuer mix-up; and a transient name is nobody."""
    client = Client()
    answer = sign_in(client, idp.answer(request_id(client), **changes))
    assert answer.status_code == 401
    assert signed_in(client) is None
    assert not SocialAccount.objects.exists()


def test_unsigned_and_foreign_signatures_are_refused(idp: IdentityProvider) -> None:
    client = Client()
    unsigned = idp.answer(request_id(client), sign=False)
    foreign = IdentityProvider().answer(request_id(client))
    for form in (unsigned, foreign, {"SAMLResponse": "%%%"}, {}):
        assert sign_in(client, form).status_code == 401
        assert signed_in(client) is None


def test_answers_nobody_asked_for_are_refused(idp: IdentityProvider) -> None:
    """ABUSE 22: missing state; also an answer to somebody else's request."""
    asked_by_another = request_id(Client())
    client = Client()
    for request in (asked_by_another, "_made_up"):
        assert sign_in(client, idp.answer(request)).status_code in {401, 403}
        assert signed_in(client) is None


def test_an_answer_works_once(idp: IdentityProvider) -> None:
    client = Client()
    form = idp.answer(request_id(client))
    sign_in(client, form)
    client.post("/logout/")
    assert sign_in(client, form).status_code in {401, 403}
    assert signed_in(client) is None


def test_single_logout_is_not_offered(idp: IdentityProvider) -> None:
    assert Client().get("/accounts/saml/campus/sls/").status_code == 404
