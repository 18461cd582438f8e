"""What answers on Tiled's routes hold, for the OpenAPI document: its own documents say more."""

from typing import Any

from drf_spectacular.types import OpenApiTypes

from tiled.wire import MSGPACK

NODES = {(200, media_type): dict[str, Any] for media_type in ("application/json", MSGPACK)}
DATA = {(200, "*/*"): OpenApiTypes.ANY}
"""in the format that `format` or Accept names"""
WHOLE_RUN: dict[Any, Any] = DATA | {302: None}
"""a run as one file is served by a route of the service's own"""
