"""How answers are written."""

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer

from broker_site.encoding import to_json


class JSONRenderer(BaseRenderer):
    media_type = "application/json"
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
    """The same content as a page, for people."""

    def get_default_renderer(self, view: Any) -> BaseRenderer:
        return JSONRenderer()
