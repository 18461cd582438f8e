"""What answers on Tiled's routes hold, for the OpenAPI document: its own documents say more."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from broker_site import media_types
from broker_site.openapi import answers
from tiled.documents import SequenceWriter
from tiled.formats import ARRAYS, TABLES

KNOWN = answers(304, 404, 422)
"""what routes answer that name a node"""
DISTINCT = KNOWN | answers(413)
RECORDS = (SequenceWriter.media_type, media_types.X_MSGPACK)


class TiledNode(serializers.Serializer[object]):
    id = serializers.CharField()
    attributes = serializers.DictField(help_text="structure, specs, metadata, …")
    links = serializers.DictField(allow_null=True)
    meta = serializers.DictField(allow_null=True)


class TiledNodeAnswer(serializers.Serializer[object]):
    data = TiledNode()  # type: ignore[assignment]
    error = serializers.DictField(allow_null=True)
    links = serializers.DictField(allow_null=True)
    meta = serializers.DictField()


class TiledLinks(serializers.Serializer[object]):
    self = serializers.CharField()
    first = serializers.CharField()
    next = serializers.CharField(allow_null=True)


class TiledCount(serializers.Serializer[object]):
    count = serializers.IntegerField(help_text="children, those of other pages included")


@extend_schema_serializer(many=False)
class TiledNodePage(serializers.Serializer[object]):
    data = TiledNode(many=True)  # type: ignore[assignment]
    error = serializers.DictField(allow_null=True)
    links = TiledLinks()
    meta = TiledCount()


class TiledDistinctValue(serializers.Serializer[object]):
    value = serializers.JSONField()
    count = serializers.IntegerField(allow_null=True)


class TiledDistinctValues(serializers.Serializer[object]):
    metadata = serializers.DictField(
        child=TiledDistinctValue(many=True), help_text="key → its values"
    )
    structure_families = serializers.ListField(allow_null=True, required=False)
    specs = serializers.ListField(allow_null=True, required=False)


class TiledSignInForm(serializers.Serializer[object]):
    username = serializers.CharField()
    password = serializers.CharField()


class TiledRefreshToken(serializers.Serializer[object]):
    refresh_token = serializers.CharField()


class TiledIdentity(serializers.Serializer[object]):
    id = serializers.CharField()
    provider = serializers.CharField()


class TiledSignedIn(serializers.Serializer[object]):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="seconds")
    refresh_token_expires_in = serializers.IntegerField(help_text="seconds")
    token_type = serializers.CharField()
    identity = TiledIdentity(required=False)
    principal = serializers.CharField(required=False)


class TiledAuthorization(serializers.Serializer[object]):
    authorization_uri = serializers.CharField(help_text="where the person confirms")
    verification_uri = serializers.CharField(help_text="where the program asks for its tokens")
    device_code = serializers.CharField()
    user_code = serializers.CharField()
    interval = serializers.IntegerField(help_text="seconds between two questions")
    expires_in = serializers.IntegerField(help_text="seconds")


class TiledPending(serializers.Serializer[object]):
    detail = serializers.JSONField(help_text="`error`, of RFC 8628, or what is wrong")


class TiledKey(serializers.Serializer[object]):
    first_eight = serializers.CharField()
    expiration_time = serializers.DateTimeField()
    note = serializers.CharField()
    scopes = serializers.ListField(child=serializers.CharField())
    access_tags = serializers.ListField(allow_null=True)
    latest_activity = serializers.DateTimeField(allow_null=True)


class TiledNewKey(TiledKey):
    secret = serializers.CharField(help_text="shown in this answer only")


class TiledPrincipal(serializers.Serializer[object]):
    uuid = serializers.UUIDField()
    type = serializers.CharField()
    identities = serializers.ListField(child=serializers.DictField())
    roles = serializers.ListField(child=serializers.DictField())
    api_keys = TiledKey(many=True)
    sessions = serializers.ListField()
    latest_activity = serializers.DateTimeField(allow_null=True)


def spoken(schema: type[serializers.Serializer[object]]) -> dict[Any, Any]:
    """Content that is sent as JSON or, to who asks for it, as msgpack."""
    return {(200, media_type): schema for media_type in (media_types.JSON, media_types.X_MSGPACK)}


def _as_bytes(*media_types: str) -> dict[Any, Any]:
    return {(200, media_type): bytes for media_type in media_types}


ARRAY = _as_bytes(*ARRAYS) | KNOWN | answers(406, 410, 413)
TABLE = _as_bytes(*TABLES) | KNOWN | answers(406, 413)
CONTAINER = TABLE | _as_bytes(SequenceWriter.media_type) | answers(302)
DOCUMENTS = _as_bytes(*RECORDS) | answers(404, 410, 413, 422)
