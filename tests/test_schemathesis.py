"""What a generator of requests makes of the OpenAPI document, as each actor.

However odd the request, the answer is no defect, and its status is one that the document
tells of: ABUSE-CASES 1, 2 and 14.
"""

from collections.abc import Iterator
from typing import Any

import msgpack
import orjson
import pytest
import schemathesis
from django.core.cache import caches
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from broker_site.encoding import to_json
from policies.sessions import begin_session
from tests.conftest import ACTORS, People
from tests.documents import Recorder

Values = dict[str, list[Any]]
CHECKS: Any = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def to_ndjson(context: Any, value: Any) -> bytes:
    return b"\n".join(map(to_json, value if isinstance(value, list) else [value]))


@schemathesis.serializer("application/msgpack")
def to_msgpack(context: Any, value: Any) -> bytes:
    return bytes(msgpack.packb(orjson.loads(to_json(value))))


bounded = settings(
    max_examples=6,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def operations() -> list[Any]:
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]
    document = orjson.loads(to_json(generator.get_schema(request=None, public=True)))
    schema: Any = schemathesis.openapi.from_dict(without_large_bounds(document))
    schema.app = WSGIHandler()
    return [found.ok() for found in schema.get_all_operations()]


def without_large_bounds(part: Any) -> Any:
    """To violate a bound of a million characters takes longer to make than to refuse."""
    if isinstance(part, list):
        return [without_large_bounds(item) for item in part]
    if not isinstance(part, dict):
        return part
    large = {"maxLength"} if part.get("maxLength", 0) > 2000 else set()
    return {name: without_large_bounds(part[name]) for name in part.keys() - large}


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """The server closes its connection after a request; the test's transaction lives in it."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def real(recorder: Recorder) -> Values:
    """Names of what is there, by the part of a path that they are for."""
    public, hidden = recorder.run("312000"), recorder.run("310000", catalog="hxn")
    recorder.run(None, exit_status=None)
    return {
        "key": [public, hidden, "-1", public[:8]],
        "stream": ["primary"],
        "field": ["det", "motor"],
        "uid": [public],
    }


@pytest.mark.parametrize(
    ("actor", "mode"),
    [
        *((actor, GenerationMode.POSITIVE) for actor in ACTORS),
        # What is malformed is refused before rights matter; dan's requests go the farthest.
        ("dan", GenerationMode.NEGATIVE),
    ],
)
def test_every_answer_is_one_that_the_document_tells_of(
    actor: str, mode: GenerationMode, operations: list[Any], people: People, real: Values
) -> None:
    headers = {}
    if actor != "nobody":
        headers["Authorization"] = f"Bearer {begin_session(getattr(people, actor)).access}"
    for operation in operations:
        if operation.path.rstrip("/") == "/api/v1/auth/logout":
            continue  # else nobody would be signed in any more for what follows
        try:
            ask(operation, mode, headers, real)
        except Unsatisfiable:
            # There is nothing to get wrong in a request without parameters and body.
            assert mode is GenerationMode.NEGATIVE


def ask(operation: Any, mode: GenerationMode, headers: dict[str, str], real: Values) -> None:
    told = {int(status) for status in operation.definition.raw["responses"]}

    @bounded
    @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
    def is_told(case: Case[Any], data: st.DataObject) -> None:
        caches["counters"].clear()
        parts = case.path_parameters or {}
        for name in set(parts) & set(real):
            parts[name] = data.draw(st.sampled_from([parts[name], *real[name], *real[name]]))
        response = case.call(base_url="http://localhost", headers=headers)
        assert response.status_code in told, (response.status_code, case.as_curl_command())
        case.validate_response(response, checks=CHECKS, headers=headers)

    is_told()
