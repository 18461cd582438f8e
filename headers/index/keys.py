"""The `_id` of a document as bytes that sort as MongoDB sorts ObjectIds, texts and numbers."""

import struct
from typing import Any

import bson
from bson import ObjectId

MAX_KEY = 1000
"""bytes; PostgreSQL's indexes take no entry above 2,700"""
NUMBER, TEXT, OBJECT_ID, OTHER = b"\x02", b"\x03", b"\x07", b"\x0f"
MARGIN_SECONDS = 120
Key = bytes | memoryview
"""as a database driver gives it"""


def key_of(document_id: Any) -> bytes | None:
    """The key, or None for an `_id` too long to be one. `id_of` gives the `_id` back."""
    if isinstance(document_id, ObjectId):
        return OBJECT_ID + document_id.binary
    if type(document_id) is str:
        key = TEXT + document_id.encode("utf-8", "surrogatepass")
    elif type(document_id) in (int, float, bson.Int64):
        key = NUMBER + _ordered(float(document_id)) + bson.encode({"": document_id})
    else:
        key = OTHER + bson.encode({"": document_id})
    return key if len(key) <= MAX_KEY else None


def id_of(key: Key) -> Any:
    """The `_id` that a key stands for."""
    kind, content = bytes(key[:1]), bytes(key[1:])
    if kind == OBJECT_ID:
        return ObjectId(content)
    if kind == TEXT:
        return content.decode("utf-8", "surrogatepass")
    return bson.decode(content[8:] if kind == NUMBER else content)[""]


def _ordered(number: float) -> bytes:
    """The bytes of a float, changed so that they compare as floats do."""
    (bits,) = struct.unpack(">Q", struct.pack(">d", number))
    return struct.pack(">Q", bits ^ (2**64 - 1 if bits >> 63 else 2**63))


def behind(key: Key | None, now: float) -> ObjectId:
    """Where to look again for ObjectIds that were made about the time of the newest one seen.

    Writers' clocks differ, and one that is ahead of ours must not hide what others write.
    """
    if key is None or bytes(key[:1]) != OBJECT_ID:
        return ObjectId(bytes(12))
    made = int.from_bytes(bytes(key[1:5]), "big")
    since = max(0, min(made, int(now)) - MARGIN_SECONDS)
    return ObjectId(since.to_bytes(4, "big") + bytes(8))
