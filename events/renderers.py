"""How answers about events are written, and which formats the streaming routes offer."""

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import BaseRenderer

from broker_site import media_types
from broker_site.renderers import JSONRenderer
from events.wire import to_msgpack


class MsgpackRenderer(BaseRenderer):
    media_type = media_types.MSGPACK
    format = "msgpack"
    charset = None
    render_style = "binary"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return b"" if data is None else to_msgpack(data)


def offered(format: str, media_type: str) -> type[BaseRenderer]:
    """A format that can be asked for, of a route that streams its answer by itself."""
    attributes = {"format": format, "media_type": media_type}
    return type(f"Offered_{format}", (JSONRenderer,), attributes)
