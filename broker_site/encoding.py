"""JSON of documents as MongoDB holds them. Always valid JSON."""

import base64
from datetime import datetime
from typing import Any

import orjson
from bson import Int64

OPTIONS = orjson.OPT_SERIALIZE_NUMPY


def to_json(value: Any) -> bytes:
    """UTF-8 JSON. NaN and ±Infinity become null, integers beyond 64 bits texts.

    What JSON does not know becomes text: object ids and decimals as they are
    written, dates in ISO 8601, bytes in base64.
    """
    try:
        return orjson.dumps(value, default=_text, option=OPTIONS)
    except orjson.JSONEncodeError:
        # Rare: an integer beyond 64 bits, or text with half of a surrogate pair.
        return orjson.dumps(_tamed(value), default=_text, option=OPTIONS)


def _text(value: Any) -> Any:
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def _tamed(value: Any) -> Any:
    if isinstance(value, dict):
        # Errors of list items are keyed by their number.
        return {_tamed(str(key)): _tamed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_tamed(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value
