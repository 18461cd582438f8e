"""What the clients ask first: which protocol is spoken, and where one signs in."""

from typing import Any

from tiled.filters import CONDITIONS
from tiled.formats import ARRAY_ALIASES, ARRAYS, RUN_ALIASES, TABLE_ALIASES, TABLES

PROTOCOL = "0.2.20"
"""the version of Tiled whose protocol this is; its writers compare it"""
PROVIDER = "password"
DEVICE = "browser"
"""the other way to sign in, as the clients offer it to people"""


def about(host: str, own: dict[str, Any]) -> dict[str, Any]:
    """own: what the service says of itself. host: its address with a slash at the end."""
    auth = f"{host}api/v1/auth/"
    return own | {
        "api_version": 0,
        "library_version": PROTOCOL,
        "formats": {
            "array": list(ARRAYS),
            "container": list(RUN_ALIASES),
            "xarray_dataset": list(TABLES),
            "table": list(TABLES),
        },
        "aliases": {
            "array": ARRAY_ALIASES,
            "container": RUN_ALIASES,
            "xarray_dataset": TABLE_ALIASES,
            "table": TABLE_ALIASES,
        },
        "queries": list(CONDITIONS),
        "authentication": {
            "required": False,
            "providers": [
                {
                    "provider": PROVIDER,
                    "mode": "password",  # as clients of all generations name it
                    "links": {"auth_endpoint": f"{auth}provider/{PROVIDER}/token"},
                    "confirmation_message": None,
                },
                {
                    "provider": DEVICE,
                    "mode": "external",
                    "links": {"auth_endpoint": f"{auth}provider/{DEVICE}/authorize"},
                    "confirmation_message": None,
                },
            ],
            "links": {
                "whoami": f"{auth}whoami",
                "apikey": f"{auth}apikey",
                "refresh_session": f"{auth}session/refresh",
                "revoke_session": f"{auth}session/revoke/{{session_id}}",
                "logout": f"{auth}logout",
            },
        },
        "links": {"self": f"{host}api/v1", "documentation": f"{host}api/docs/"},
        "meta": {"root_path": "/api", "version": own.get("version")},
    }
