"""What answers about the service itself hold, for the OpenAPI document."""

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
