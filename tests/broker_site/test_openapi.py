"""The OpenAPI document: valid, complete, and told to everybody alike."""

from typing import Any

import pytest
import yaml
from drf_spectacular.validation import validate_schema

from tests.conftest import Actor
from tests.test_hidden_runs import routes


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
