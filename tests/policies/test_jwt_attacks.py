"""ABUSE-CASES 15 and 16: tokens that somebody forged, bent, or used for something else."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from policies.models import Session
from policies.sessions import begin_session
from policies.tokens import Limits, make_token
from tests.conftest import PASSWORD, People

WHOAMI = "/api/v1/auth/whoami/"
REFRESH = "/api/v1/auth/token/refresh/"
Claims = dict[str, Any]
KEY = settings.JWT_KEY


@pytest.fixture
def claims(people: People) -> Claims:
    """What a good access token of alice says."""
    access = begin_session(people.alice).access
    decoded: Claims = jwt.decode(access, options={"verify_signature": False})
    return decoded


def status_of(token: str) -> int:
    client = APIClient(raise_request_exception=False)
    return client.get(WHOAMI, HTTP_AUTHORIZATION=f"Bearer {token}").status_code


def signed(claims: Claims, **headers: Any) -> str:
    return jwt.encode(claims, KEY, "HS256", headers=headers or None)


def part(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def test_the_unchanged_claims_are_accepted(claims: Claims) -> None:
    """Without this the refusals below would prove nothing."""
    assert status_of(signed(claims)) == 200


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
def test_abuse_15_alg_none(algorithm: str, claims: Claims) -> None:
    head = part({"alg": algorithm, "typ": "JWT"})
    assert status_of(f"{head}.{part(claims)}.") == 401
    signature = signed(claims).rpartition(".")[2]
    assert status_of(f"{head}.{part(claims)}.{signature}") == 401


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_abuse_15_another_algorithm_with_the_right_key(algorithm: str, claims: Claims) -> None:
    assert status_of(jwt.encode(claims, KEY, algorithm)) == 401


def test_abuse_15_key_confusion(claims: Claims) -> None:
    """Signed with somebody's own RSA key, or HMAC with a public key or a JWK as the secret."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert status_of(jwt.encode(claims, private, "RS256")) == 401
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())
    for secret in (public, jwk.encode(), b"", b"\0" * 32, settings.SECRET_KEY.encode()):
        text = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
        mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
        forged = f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        assert status_of(forged) == 401


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"jku": "http://127.0.0.1:1/keys.json"},
        {"x5u": "http://127.0.0.1:1/certificate.pem"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": False},
    ],
)
def test_abuse_15_a_header_chooses_no_key(header: Claims, claims: Claims) -> None:
    """With another key they are refused; what they point at is never asked."""
    forged = jwt.encode(claims, "x" * 32, "HS256", headers=header)
    assert status_of(forged) == 401


def test_abuse_15_a_critical_header_that_we_do_not_know_is_refused(claims: Claims) -> None:
    assert status_of(signed(claims, crit=["policy"], policy="all")) == 401


NOW = int(time.time())


@pytest.mark.parametrize(
    "change",
    [
        {"exp": str(NOW + 600)},
        {"exp": "never"},
        {"exp": None},
        {"exp": NOW - 1},
        {"exp": {"$gt": 0}},
        {"exp": [NOW + 600]},
        {"exp": True},
        {"exp": float(NOW + 600)},
        {"iat": "yesterday"},
        {"iat": NOW + 10_000},
        {"jti": None},
        {"jti": ""},
        {"jti": 7},
        {"jti": {"$ne": None}},
        {"jti": "not-a-uuid"},
        {"sid": None},
        {"sid": {"$ne": None}},
        {"sid": ["x"]},
        {"sid": "\0"},
        {"sid": str(uuid.UUID(int=0))},
        {"sub": {"id": 1}},
        {"sub": ["1"]},
        {"sub": 1},
        {"sub": None},
        {"sub": "0"},
        {"sub": "1 OR 1=1"},
        {"aud": "another-service"},
        {"aud": None},
        {"iss": "https://accounts.example.org"},
        {"iss": {"$ne": None}},
        {"token_type": "refresh"},
        {"token_type": None},
        {"token_type": ["access"]},
        {"nbf": "soon"},
    ],
    ids=lambda change: next(iter(change)),  # not the values, which tell the time
)
def test_abuse_15_a_claim_of_the_wrong_kind_is_refused_even_when_signed(
    change: Claims, claims: Claims
) -> None:
    changed = {name: value for name, value in (claims | change).items() if value is not None}
    text = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(changed)}"
    signature = jwt.api_jws.PyJWS().get_algorithm_by_name("HS256")
    mac = signature.sign(text.encode(), KEY.encode())
    assert status_of(f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}") == 401


def test_abuse_15_the_session_of_another_user_is_not_lent(claims: Claims, people: People) -> None:
    assert status_of(signed(claims | {"sub": str(people.dan.pk)})) == 401


@pytest.mark.parametrize(
    "token",
    ["", " ", ".", "..", "...", "a.b.c", "é.é.é", "x" * 100_000, "dbk_", "dbk_.", "null", "[]"],
)
def test_abuse_15_nonsense_is_refused(token: str, people: People) -> None:
    assert status_of(token) == 401


@pytest.mark.django_db
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    payload=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_abuse_15_no_signed_payload_is_a_defect(payload: Any, people: People) -> None:
    text = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(payload)}"
    mac = jwt.api_jws.PyJWS().get_algorithm_by_name("HS256").sign(text.encode(), KEY.encode())
    assert status_of(f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}") == 401


# -- ABUSE 16 ----------------------------------------------------------------------------------


def test_abuse_16_a_refresh_token_reads_nothing(people: People) -> None:
    assert status_of(begin_session(people.alice).refresh) == 401


def test_abuse_16_an_access_token_refreshes_nothing(people: People) -> None:
    access = begin_session(people.alice).access
    assert APIClient().post(REFRESH, {"refresh": access}, format="json").status_code == 401
    assert Session.objects.filter(ended=None).count() == 1


def test_abuse_16_an_id_token_of_an_identity_provider_is_not_ours(people: People) -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    told = {
        "iss": "https://login.example.org",
        "aud": "data-broker-service",
        "sub": str(people.alice.pk),
        "exp": NOW + 600,
        "iat": NOW,
        "nonce": "n",
        "email": people.alice.email,
    }
    assert status_of(jwt.encode(told, private, "RS256")) == 401


@pytest.mark.parametrize("name", ["token", "access_token", "jwt", "api_key", "Authorization"])
def test_abuse_16_a_token_in_the_query_string_is_an_unknown_parameter(
    name: str, people: People
) -> None:
    access = begin_session(people.alice).access
    answer = APIClient().get("/api/v1/headers/", {name: access})
    assert answer.status_code == 400
    assert access not in answer.content.decode()


@pytest.mark.parametrize("kind", ["jwt", "api token"])
def test_abuse_16_cookie_and_token_of_two_users_are_refused(kind: str, people: People) -> None:
    if kind == "jwt":
        token = begin_session(people.alice).access
    else:
        token = make_token(people.alice, "n", Limits(["read:metadata"]), timedelta(days=1))[1]
    header: Any = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    browser = Client()
    browser.force_login(people.bob, "django.contrib.auth.backends.ModelBackend")
    assert browser.get(WHOAMI, **header).status_code == 401
    browser.force_login(people.alice, "django.contrib.auth.backends.ModelBackend")
    assert browser.get(WHOAMI, **header).status_code == 200


@pytest.mark.parametrize(
    "scheme", ["Basic YWxpY2U6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5", "Token x", "Bearer", "bearer  ", ""]
)
def test_abuse_16_other_authorization_headers_are_refused(scheme: str, people: People) -> None:
    assert PASSWORD == "correct-horse-battery"
    assert APIClient().get(WHOAMI, HTTP_AUTHORIZATION=scheme).status_code == 401
