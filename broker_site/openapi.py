"""What the schema says of how callers authenticate, and of query parameters."""

import re
from collections.abc import Callable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema

EXAMPLES = {"key": "-1", "stream": "primary"}
"""for parts of a path: with these, “Try it out” works for anybody who may read a run"""


class OperationSchema(AutoSchema):
    """Every operation has a summary, the first line of what its view says, and a tag."""

    def get_summary(self) -> str | None:
        return self.get_description().partition("\n")[0].removesuffix(".") or None

    def get_tags(self) -> list[str]:
        return super().get_tags() or ["about"]


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


PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457)",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what to do about it"},
    },
}
DESCRIPTIONS = {
    304: "The caller's copy, named by If-None-Match, is still right",
    400: "A parameter or the body is wrong; `detail` says which and how",
    401: "The credentials are missing, wrong or not valid any more",
    403: "Not allowed by these credentials, such as an API token without the scope",
    404: "There is nothing here that the caller may read",
    406: "Accept names no format that is offered",
    409: "Several runs start with this key; or events lack a value, or differ in shape",
    410: "The file is missing or unreadable; names the resource and its spec",
    413: "Larger than one answer may be; says what would fit",
    415: "The body is of a type that is not read here",
    422: "The shape is not `expected_shape`; or what no repetition would get, to Tiled's clients",
    429: "Too many requests, bytes or failed sign-ins; Retry-After says when to go on",
    501: "No handler for the spec, or recorded outside of this database",
    503: "A database or the reader of files is away or busy; Retry-After says when to ask again",
}
ALWAYS = {400, 401, 403, 406, 429}
READS_RUNS = re.compile(r"/api/v1/(headers|descriptors|events)/")
READS_AS_TILED = re.compile(r"/api/v1/(metadata|search|distinct|array|container|table|documents)/")
SIGNS_IN_AS_TILED = re.compile(r"/api/v1/auth/.*[^/]$")
READS_DATA = re.compile(r"/api/v1/(events/|headers/{key}/(documents|export|streams/.))")


def add_problems(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: every route says which statuses it answers with."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            declared = {int(status) for status in operation["responses"]}
            refusals = {status for status in declared if status >= 400}
            for status in sorted(refusals | _statuses(path, method)):
                described = _response(path, status)
                response = operation["responses"].setdefault(str(status), described)
                if status >= 400:
                    response["content"] = described["content"] | response.get("content", {})
    return result


EVENT_STREAM = "text/event-stream"
BYTES = {"type": "string", "format": "binary"}
SERVER_SENT_EVENT = {
    "type": "object",
    "description": "One event of the stream; `data` is JSON, `id` says where to go on",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
}


def describe_streamed(result: dict[str, Any], **context: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: answers of bytes that are JSON or events are no texts."""
    for operations in result["paths"].values():
        for operation in operations.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if EVENT_STREAM in content:
                    content[EVENT_STREAM]["schema"] = SERVER_SENT_EVENT
                if content.get("application/json", {}).get("schema") == BYTES:
                    content["application/json"]["schema"] = {"description": "The same as JSON"}
    return result


def _statuses(path: str, method: str) -> set[int]:
    """What the route may answer with besides what its view declares."""
    found = set(ALWAYS)
    if method == "post":
        found.add(415)
    if "{" in path:
        found.add(404)
    if "{key}" in path or path.endswith("/data/{field}/"):
        found.add(409)
    if READS_RUNS.match(path):
        found |= {304, 503} if "{" in path else {503}
    if READS_DATA.match(path):
        found |= {304, 404, 410, 413, 501}
    if READS_AS_TILED.match(path):
        found |= {304, 404, 410, 413, 422, 503}
    return found


def _response(path: str, status: int) -> dict[str, Any]:
    described: dict[str, Any] = {"description": DESCRIPTIONS[status]}
    if status >= 400:
        schema = {"$ref": "#/components/schemas/Problem"}
        as_tiled = READS_AS_TILED.match(path) or SIGNS_IN_AS_TILED.match(path)
        # Tiled's clients understand JSON alone; where no route is, the service answers as ever.
        types = ["application/problem+json", *(["application/json"] if as_tiled else [])]
        described["content"] = {media_type: {"schema": schema} for media_type in types}
    return described
