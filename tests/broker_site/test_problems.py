"""Errors: one shape for everything that goes wrong, and JSON that is always JSON."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64, ObjectId
from bson.decimal128 import Decimal128
from django.db import OperationalError
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from broker_site.encoding import to_json
from broker_site.problems import Problem, as_problem, problem_response
from headers.index.runs import IndexedRuns
from policies.models import User
from tests.conftest import Actor, People
from tests.documents import Recorder

URL = "/api/v1/headers/"


def strict(content: bytes) -> Any:
    """Parsed as JSON proper, without Python's NaN and Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(content, parse_constant=refuse)


# -- problems ------------------


@pytest.mark.parametrize("path", [URL, "/runs/", "/admin/", "/api/v1/auth/whoami/"])
def test_an_unreachable_policy_database_is_an_honest_refusal(
    acting_as: Actor, people: People, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """On every route, with the words when to come back; also where middleware asks it first."""
    api = acting_as("alice")
    browser = Client(raise_request_exception=False)
    browser.force_login(people.dan)

    def away(*arguments: Any, **options: Any) -> None:
        raise OperationalError("the server closed the connection")

    client = api if path.startswith("/api/") else browser
    with monkeypatch.context() as patch:
        patch.setattr("django.db.backends.utils.CursorWrapper.execute", away)
        response = client.get(path)
    assert response.status_code == 503
    assert response["Retry-After"] == "5"
    assert "server closed" not in response.content.decode()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", f"{URL}?nonsense=1", 400),
        ("get", f"{URL}00000000-0000-0000-0000-000000000000/", 404),
        ("get", "/api/v1/nonsense/", 404),
        ("get", "/api/v1/auth/token/", 405),
        ("post", "/api/v1/auth/token/", 400),
    ],
)
def test_every_error_is_a_problem_document(
    method: str, path: str, status: int, acting_as: Actor, recorder: Recorder
) -> None:
    response = getattr(acting_as("alice"), method)(path)
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    problem = strict(response.content)
    assert {"type", "title", "status", "detail"} <= set(problem)
    assert problem["status"] == status
    assert problem["detail"]


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("actor", ["alice", "dan", "nobody"])
def test_nobody_writes(method: str, actor: str, acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run("312000")
    for address in (f"{URL}{uid}/", f"{URL}{uid}/documents/"):
        response = getattr(acting_as(actor), method)(address, {"uid": "x"}, format="json")
        assert response.status_code in (401, 403, 405)
        assert response["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[1]", b'"x"', b"null", b"NaN", b'{"username": {"$ne": null}}']
)
def test_a_body_that_is_no_object_of_texts_is_refused(body: bytes, acting_as: Actor) -> None:
    """ABUSE-CASES 1."""
    response = acting_as("nobody").post(
        "/api/v1/auth/token/", body, content_type="application/json"
    )
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"


def test_a_body_of_more_than_a_mebibyte_is_refused(acting_as: Actor) -> None:
    body = b'{"username": "' + b"x" * 2**20 + b'"}'
    response = acting_as("nobody").post(
        "/api/v1/auth/token/", body, content_type="application/json"
    )
    assert response.status_code in (400, 413)


def test_a_bad_token_is_answered_with_a_challenge(acting_as: Actor) -> None:
    client = acting_as("nobody")
    for header in ("Bearer nonsense", "Basic YTpi", "Bearer", "nonsense"):
        response = client.get(URL, HTTP_AUTHORIZATION=header)
        assert response.status_code == 401
        assert response["WWW-Authenticate"].startswith("Bearer")
        assert response["Content-Type"] == "application/problem+json"


def test_a_defect_is_a_500_that_tells_nothing_but_where_to_ask(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(IndexedRuns, "page", broken)
    client = acting_as("alice")
    client.raise_request_exception = False
    response = client.get(URL)
    assert response.status_code == 500
    assert response["Content-Type"] == "application/problem+json"
    assert b"secret" not in response.content
    assert "X-Request-ID" in response


def test_what_is_no_known_error_is_left_to_be_a_defect() -> None:
    assert as_problem(RuntimeError("x")) is None


def test_extra_members_and_headers_of_a_problem_are_sent() -> None:
    response = problem_response(Problem(413, "too much", {"Retry-After": "5"}, bytes=10))
    assert response["Retry-After"] == "5"
    assert strict(response.content) == {
        "type": "about:blank",
        "title": "Request Entity Too Large",
        "status": 413,
        "detail": "too much",
        "bytes": 10,
    }


def test_a_problem_in_the_browsable_api_is_a_page(acting_as: Actor, recorder: Recorder) -> None:
    response = acting_as("alice").get(f"{URL}?nonsense=1", HTTP_ACCEPT="text/html")
    assert response.status_code == 400
    assert response["Content-Type"].startswith("text/html")
    assert b"is unknown" in response.content


def test_only_facility_staff_are_told_where_the_time_went(
    acting_as: Actor, recorder: Recorder, people: People
) -> None:
    """ABUSE-CASES 8: how long a database was busy tells of what it holds."""
    recorder.run()
    User.objects.filter(username="dan").update(is_staff=True)
    assert "mongo;dur=" in acting_as("dan").get(URL)["Server-Timing"]
    for actor in ("alice", "sue", "nobody"):
        assert acting_as(actor).get(URL)["Server-Timing"].startswith("total;dur=")


def test_every_answer_has_a_request_id_and_timings(acting_as: Actor, recorder: Recorder) -> None:
    client = acting_as("alice")
    for path in (URL, f"{URL}nonsense/", "/livez"):
        response = client.get(path)
        assert len(response["X-Request-ID"]) == 32
        assert "total;dur=" in response["Server-Timing"]
        assert "mongo" not in response["Server-Timing"]
    assert client.get(URL, HTTP_X_REQUEST_ID="job-12345")["X-Request-ID"] == "job-12345"
    for hostile in ("x", "a b c d e f", "<script>alert(1)</script>", "x" * 65, "a\nb" * 5):
        assert client.get(URL, HTTP_X_REQUEST_ID=hostile)["X-Request-ID"] != hostile


def test_a_wrong_host_is_refused(db: None) -> None:
    assert Client().get(URL, HTTP_HOST="evil.example").status_code == 400


# -- JSON ------------------

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(2**63 - 2, 2**64 + 2),
        st.floats(),
        st.text(st.characters(exclude_categories=())),
        st.binary(max_size=8),
        st.datetimes(),
        st.just(ObjectId("0" * 24)),
        st.sampled_from([Decimal128("1.5"), Decimal128("NaN"), Int64(5)]),
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=()), max_size=3), inner)
    ),
    max_leaves=6,
)


@given(json_values)
def test_whatever_a_document_holds_becomes_valid_json(value: Any) -> None:
    """ABUSE-CASES 12."""
    strict(to_json(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (2**63, 2**63),
        (2**64 - 1, 2**64 - 1),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (Int64(7), 7),
        (b"\x00\xff", "AP8="),
        (ObjectId("0" * 24), "0" * 24),
        (Decimal128("1.10"), "1.10"),
        (datetime(2026, 7, 4, tzinfo=UTC), "2026-07-04T00:00:00+00:00"),
        ("\ud800", "?"),
        ({"\ud800": [2**70, math.nan]}, {"?": [str(2**70), None]}),
        ((1, 2), [1, 2]),
    ],
)
def test_what_json_does_not_know_becomes_text_or_null(value: Any, expected: Any) -> None:
    """ABUSE-CASES 12."""
    assert strict(to_json([value])) == [expected]
