"""The OpenAPI document: valid, complete, and told to everybody alike."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from drf_spectacular.validation import validate_schema

from tests.conftest import Actor
from tests.test_hidden_runs import routes

TAKES_ONE_DOCUMENT = "post /api/v1/documents/{node}"
"""answers with null, as Tiled's server does"""


@pytest.fixture
def schema(acting_as: Actor) -> Any:
    response = acting_as("nobody").get("/api/v1/schema/")
    assert response.status_code == 200
    return yaml.safe_load(response.content)


def test_it_is_a_valid_document_of_openapi_3_1(schema: Any) -> None:
    assert schema["openapi"].startswith("3.1")
    validate_schema(schema)  # type: ignore[no-untyped-call]
    for operations in schema["paths"].values():
        for operation in operations.values():
            assert operation["responses"]


def test_every_operation_says_what_it_is_and_what_it_answers(schema: Any) -> None:
    for path, method, operation in operations_of(schema):
        about = f"{method} {path}"
        assert operation.get("summary"), about
        assert operation.get("tags"), about
        for status, response in operation["responses"].items():
            schemas = [content.get("schema") for content in response.get("content", {}).values()]
            if status in ("200", "201") and about != TAKES_ONE_DOCUMENT:
                assert schemas, f"{about}: {status}"
            assert None not in schemas, f"{about}: {status}"


def test_every_operation_describes_what_it_takes_and_answers(schema: Any) -> None:
    for path, method, operation in operations_of(schema):
        answers = [operation["responses"].get(status, {}) for status in ("200", "201")]
        for described in [operation.get("requestBody", {}), *answers]:
            for media_type, content in described.get("content", {}).items():
                anything = content["schema"] in ({}, {"type": "object", "additionalProperties": {}})
                assert not anything, f"{method} {path}: {media_type}"


def test_every_problem_is_described(schema: Any) -> None:
    for path, method, operation in operations_of(schema):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert "application/problem+json" in response["content"], f"{method} {path}"


def test_operations_have_names_of_their_own(schema: Any) -> None:
    names = [operation["operationId"] for _, _, operation in operations_of(schema)]
    assert len(names) == len(set(names))
    assert not any(name[-1].isdigit() for name in names)


def test_arrays_say_their_shape_in_headers(schema: Any) -> None:
    for path in (
        "/api/v1/headers/{key}/streams/{stream}/data/{field}/",
        "/api/v1/events/{uid}/data/{field}/",
    ):
        headers = schema["paths"][path]["get"]["responses"]["200"]["headers"]
        assert headers.keys() == {"X-Array-Shape", "X-Array-Dtype"}


def operations_of(schema: Any) -> Iterator[tuple[str, str, Any]]:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield path, method, operation


def test_it_lists_every_route(schema: Any) -> None:
    documented = {path.replace("{", "<").replace("}", ">") for path in schema["paths"]}
    there = {
        "/" + route.replace("<str:", "<").replace("<path:", "<").replace("<int:pk>", "<id>")
        for route in routes()
        if route.startswith("api/v1/") and route != "api/v1/schema/"
    }
    assert there <= {path.replace("<pk>", "<id>") for path in documented}


def test_filters_are_described(schema: Any) -> None:
    parameters = schema["paths"]["/api/v1/headers/"]["get"]["parameters"]
    names = {parameter["name"] for parameter in parameters}
    assert names >= {
        *("query", "catalog", "beamline", "proposal", "plan_name", "scan_id", "uid", "since"),
        *("until", "exit_status", "search", "ordering", "include", "page_size", "cursor"),
    }


def test_the_page_of_the_documentation_needs_no_foreign_server(acting_as: Actor) -> None:
    response = acting_as("nobody").get("/api/docs/")
    assert response.status_code == 200
    assert b"cdn" not in response.content.lower()
    assert "unsafe-inline" not in response["Content-Security-Policy"].split("script-src")[1][:30]


def test_every_tag_is_described(acting_as: Actor) -> None:
    schema = acting_as("nobody").get("/api/v1/schema/?format=json").json()
    described = {tag["name"] for tag in schema["tags"] if tag["description"]}
    used = {
        tag
        for operations in schema["paths"].values()
        for operation in operations.values()
        for tag in operation["tags"]
    }
    assert described == used
