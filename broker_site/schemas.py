"""What answers about the service itself hold, for the OpenAPI document."""

from rest_framework import serializers

ROOT = {
    "type": "object",
    "description": "The service, and its routes; Tiled's clients find more here",
    "required": ["version", "documentation", "schema", "routes"],
    "properties": {
        "version": {"type": "string"},
        "documentation": {"type": "string", "format": "uri"},
        "schema": {"type": "string", "format": "uri"},
        "routes": {
            "type": "object",
            "description": "name → address, with the parts to fill in in braces",
            "additionalProperties": {"type": "string"},
        },
    },
    "additionalProperties": {},
}


class ProblemDetails(serializers.Serializer[object]):
    """What went wrong (RFC 9457), and what more a program may want to know of it."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="what to do about it")
