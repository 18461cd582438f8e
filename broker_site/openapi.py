"""What the OpenAPI document says of every route: summaries, problems, how callers authenticate."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from broker_site import media_types
from broker_site.negotiation import ContentNegotiation
from broker_site.problems import MEDIA_TYPE
from broker_site.schemas import ProblemDetails

EXAMPLES = {"key": "-1", "stream": "primary"}
"""for parts of a path: with these, “Try it out” works for anybody who may read a run"""
DESCRIPTIONS = {
    302: "A route of the service's own serves this; the clients follow",
    303: "Another route serves this better; ask there by GET",
    304: "The caller's copy, named by If-None-Match, is still right",
    307: "Another route serves this better",
    400: "A parameter or the body is wrong; `detail` says which and how",
    401: "The credentials are missing, wrong or not valid any more",
    403: "Not allowed by these credentials, such as an API token without the scope",
    404: "There is nothing here that the caller may read",
    406: "Accept names no format that is offered",
    409: "In conflict with what is stored: several runs start with this key, or events differ",
    410: "The file is missing or unreadable; names the resource and its spec",
    413: "Larger than one answer or request may be; says what would fit",
    415: "The body is of a type that is not read here",
    422: "The shape is not `expected_shape`; or what no repetition would get, to Tiled's clients",
    429: "Too many requests, bytes or failed sign-ins; Retry-After says when to go on",
    501: "No handler for the spec, or recorded outside of this database",
    503: "A database or the reader of files is away or busy; Retry-After says when to ask again",
}
Responses = dict[int, OpenApiResponse]


def answers(*statuses: int) -> Responses:
    """What a view declares, as `responses`, besides its content: redirects and problems.

    What every view answers with alike is added by `OperationSchema`.
    """
    return {
        status: OpenApiResponse(description=DESCRIPTIONS[status]) for status in sorted(statuses)
    }


def header(name: str, description: str) -> OpenApiParameter:
    """A header of the answer 200."""
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, description=description, response=[200]
    )


class OperationSchema(AutoSchema):
    """Every operation has a summary, the first line of what its view says, and a tag.

    A view's `schema_tag` is the tag in place of the first part of its path. Its
    `problem_media_types` are what its problems come as.
    """

    def get_summary(self) -> str | None:
        return self.get_description().partition("\n")[0].removesuffix(".") or None

    def get_tags(self) -> list[str]:
        tag = getattr(self.view, "schema_tag", None)
        return [tag] if tag else super().get_tags() or ["about"]

    def get_operation_id(self) -> str:
        """Unique where paths differ in nothing but a slash or a part at their end."""
        if not getattr(self.view, "schema_tag", None):
            return super().get_operation_id()
        words = re.findall(r"\w+", self.path.removeprefix("/api/v1/"))
        return "_".join([*self.get_tags(), *words, self.method_mapping[self.method.lower()]])

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        for always in self._always():
            bodies.setdefault(str(always), {"description": DESCRIPTIONS[always]})
        schema = self.resolve_serializer(ProblemDetails, direction).ref
        types: Sequence[str] = getattr(self.view, "problem_media_types", [MEDIA_TYPE])
        for status, body in bodies.items():
            if status >= "400":
                described = {media_type: {"schema": schema} for media_type in types}
                body["content"] = described | body.get("content", {})
        return dict(sorted(bodies.items()))

    def _always(self) -> Iterator[int]:
        """The statuses that REST framework and the middlewares give: no view need declare them."""
        yield from (400, 429, 503)
        if self.view.authentication_classes:
            yield 401
            if getattr(self.view, "required_scope", "") is not None:
                yield 403
        if issubclass(self.view.content_negotiation_class, ContentNegotiation):
            yield 406
        reads_any = any(parser.media_type == "*/*" for parser in self.view.parser_classes)
        if self.method == "POST" and self.get_request_serializer() and not reads_any:
            yield 415


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
                if media_types.EVENT_STREAM in content:
                    content[media_types.EVENT_STREAM]["schema"] = SERVER_SENT_EVENT
                if content.get(media_types.JSON, {}).get("schema") == BYTES:
                    content[media_types.JSON]["schema"] = {"description": "The same as JSON"}
    return result
