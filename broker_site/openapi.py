"""What the schema says of how callers authenticate, and of query parameters."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema

EXAMPLES = {"key": "-1", "stream": "primary"}
"""for parts of a path: with these, “Try it out” works for anybody who may read a run"""


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "policies.authentication.BearerAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "description": "Access token or API token"}


class BrowserScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "policies.authentication.BrowserAuthentication"
    name = "browser"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class NoParameters(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """A route may have none; drf-spectacular takes for granted that there is one."""

    target_class = "broker_site.parameters.Parameters"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        map_plainly: Callable[..., dict[str, Any]] = auto_schema._map_serializer
        return {"properties": {}} | map_plainly(self.target, direction, bypass_extensions=True)


def add_examples(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """A hook of drf-spectacular."""
    for operations in result["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path" and parameter["name"] in EXAMPLES:
                    parameter["example"] = EXAMPLES[parameter["name"]]
    return result
