"""How answers are written."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer
from rest_framework.request import Request

from broker_site import media_types
from broker_site.document_html import document_html
from broker_site.encoding import to_json


class JSONRenderer(BaseRenderer):
    media_type = media_types.JSON
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else to_json(data)


class BrowsableRenderer(BrowsableAPIRenderer):
    """The same content as a page, for people: links between documents, a form of the parameters."""

    def get_default_renderer(self, view: Any) -> BaseRenderer:
        return JSONRenderer()

    def get_context(
        self, data: Any, accepted_media_type: str | None, renderer_context: Mapping[str, Any]
    ) -> dict[str, Any]:
        view, request = renderer_context["view"], renderer_context["request"]
        content, is_cut = document_html(data)
        query = request.query_params
        return {
            "section": "api",
            "user": request.user,
            "name": self.get_name(view),
            "description": self.get_description(view, renderer_context["response"].status_code),
            "breadcrumbs": self.get_breadcrumbs(request),
            "method": request.method,
            "status": renderer_context["response"].status_code,
            "content": content,
            "is_cut": is_cut,
            "links": {name: data.get(name) for name in ("previous", "next")}
            if isinstance(data, dict)
            else {},
            "parameters": [
                {"name": name, "field": field, "given": query.get(name, "")}
                for name, field in _parameters(view).items()
                if name != "cursor"
            ],
            "formats": [
                {"name": name, "url": _with_format(request, name)}
                for name in (renderer.format for renderer in view.renderer_classes)
                if name != self.format
            ],
        }


def _parameters(view: Any) -> Mapping[str, serializers.Field[Any, Any, Any, Any]]:
    """The query parameters that the route documents."""
    annotated = getattr(getattr(view, "get", None), "kwargs", {}).get("schema")
    if annotated is None:
        return {}
    schema = annotated()
    schema.view, schema.method = view, "GET"
    documented = schema.get_override_parameters()
    fields = [given._declared_fields for given in documented if hasattr(given, "_declared_fields")]
    return {name: field for group in fields for name, field in group.items()}


def _with_format(request: Request, name: str) -> str:
    query = request.query_params.copy()
    query["format"] = name
    return f"{request.path}?{query.urlencode()}"
