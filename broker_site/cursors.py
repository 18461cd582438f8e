"""Opaque, signed page cursors.

A cursor is BSON, so that what it holds comes back with the type it had, signed
for one purpose: the route, its parameters and the caller. Used for anything else,
or changed by a bit, it is refused.
"""

import base64
import binascii
import hashlib
from typing import Any

import bson
from django.core.signing import BadSignature, Signer

from broker_site.problems import Problem

MAX_CURSOR = 2000


def purpose(*parts: object) -> str:
    """What a cursor is for, as a salt."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def write_cursor(content: dict[str, Any], salt: str) -> str:
    text = base64.urlsafe_b64encode(bson.encode(content)).decode("ascii").rstrip("=")
    return Signer(salt=f"cursor:{salt}").sign(text)


def read_cursor(cursor: str, salt: str, longest: int = MAX_CURSOR) -> dict[str, Any]:
    """The content, or a Problem of status 400."""
    try:
        if len(cursor) > longest:
            raise BadSignature
        text = Signer(salt=f"cursor:{salt}").unsign(cursor)
        return bson.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (BadSignature, binascii.Error, bson.errors.InvalidBSON, ValueError):
        raise Problem(
            400, "cursor: is not one of this list; use the links 'next' and 'previous' as they are."
        ) from None
