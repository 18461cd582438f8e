"""System checks: the service refuses to start in a configuration that is not safe."""

import stat
import time
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS

AUTHENTICATION = {
    "policies.authentication.BearerAuthentication",
    "policies.authentication.BrowserAuthentication",
}
DEFAULT_SECRETS = ("debug-only", "django-insecure", "changeme", "secret" * 3)


def _rest_framework(name: str) -> list[str]:
    return cast(list[str], settings.REST_FRAMEWORK.get(name, []))


@register(Tags.security)
def secrets(**kwargs: Any) -> list[CheckMessage]:
    """Keys are neither a known default nor the same."""
    if settings.DEBUG:
        return []
    keys = {"BROKER_SECRET_KEY": settings.SECRET_KEY, "BROKER_JWT_KEY": settings.JWT_KEY}
    errors: list[CheckMessage] = [
        Error(
            f"{name}: is a well-known default, or hardly random; set what this gives:"
            " openssl rand -base64 48",
            id="broker.E001",
        )
        for name, key in keys.items()
        if key.lower().startswith(DEFAULT_SECRETS) or len(set(key)) < 8
    ]
    if settings.SECRET_KEY == settings.JWT_KEY:
        errors.append(Error("BROKER_JWT_KEY: equals BROKER_SECRET_KEY", id="broker.E002"))
    return errors


@register(Tags.security)
def revocation(**kwargs: Any) -> list[CheckMessage]:
    """Every route authenticates against the sessions table, so that logout means something."""
    if set(_rest_framework("DEFAULT_AUTHENTICATION_CLASSES")) == AUTHENTICATION:
        return []
    return [
        Error(
            "REST_FRAMEWORK: DEFAULT_AUTHENTICATION_CLASSES must be those of policies,"
            " which refuse ended sessions",
            id="broker.E003",
        )
    ]


@register(Tags.security)
def permissions(**kwargs: Any) -> list[CheckMessage]:
    """No route is open for writing by default."""
    classes = _rest_framework("DEFAULT_PERMISSION_CLASSES")
    if classes and not any(name.endswith(".AllowAny") for name in classes):
        return []
    return [
        Error("REST_FRAMEWORK: DEFAULT_PERMISSION_CLASSES must not be AllowAny", id="broker.E004")
    ]


@register(Tags.security)
def proxies(**kwargs: Any) -> list[CheckMessage]:
    """The client's address is taken from as many proxies as there are, never from the client."""
    if settings.REST_FRAMEWORK.get("NUM_PROXIES") is not None:
        return []
    return [Error("REST_FRAMEWORK: NUM_PROXIES must be set (BROKER_NUM_PROXIES)", id="broker.E005")]


@register(Tags.security)
def databases(**kwargs: Any) -> list[CheckMessage]:
    """Catalogs are no databases of Django's: nothing of it may write to them or migrate them."""
    if set(settings.DATABASES) == {DEFAULT_DB_ALIAS}:
        return []
    return [Error("DATABASES: only 'default' is known to the service", id="broker.E006")]


@register(Tags.security)
def hosts(**kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    return [Error("BROKER_ALLOWED_HOSTS: '*' accepts any Host header", id="broker.E007")]


# -- Mistakes of operators: told by `manage.py check --deploy`; the service starts ------------

LOCAL_HOSTS = {"localhost", "127.0.0.1", "[::1]"}
OTHERS_MAY_WRITE, STICKY = stat.S_IWOTH, stat.S_ISVTX
CLOCK_SECONDS = 86_400
"""so much may differ between the clock of this machine and the one where the files were made"""


@register(Tags.security, deploy=True)
def one_instance(**kwargs: Any) -> list[CheckMessage]:
    """Several instances, on one machine or more, need a database server."""
    engine = settings.DATABASES["default"]["ENGINE"]
    if not engine.endswith("sqlite3") or not (settings.NUM_PROXIES or settings.CACHE_URL):
        return []
    text = "DATABASE_URL: SQLite is for one instance on one machine; use PostgreSQL for several"
    return [Warning(text, id="broker.W001")]


@register(Tags.security, deploy=True)
def unknown_proxy(**kwargs: Any) -> list[CheckMessage]:
    """The service has no TLS of its own: who is reachable by a name is behind a proxy."""
    if settings.NUM_PROXIES or set(settings.ALLOWED_HOSTS) <= LOCAL_HOSTS:
        return []
    return [
        Warning(
            "BROKER_NUM_PROXIES: is 0, but BROKER_ALLOWED_HOSTS has public names. Behind a proxy"
            " all callers then have its address, and share its limits; with deploy/nginx.conf: 1",
            id="broker.W002",
        )
    ]


@register(Tags.security, deploy=True)
def files_of_all(**kwargs: Any) -> list[CheckMessage]:
    """Nobody else may replace the catalogs file or what is in var/."""
    places = [settings.CATALOGS_FILE, settings.STATIC_ROOT.parent]
    return [
        Warning(f"{place}: every account of this machine can write there", id="broker.W003")
        for place in places
        if _others_may_write(place)
    ]


def _others_may_write(place: Path) -> bool:
    mode = place.stat().st_mode
    return bool(mode & OTHERS_MAY_WRITE and not mode & STICKY)


@register(Tags.security, deploy=True)
def clock(**kwargs: Any) -> list[CheckMessage]:
    """A clock that is behind the service's own files makes tokens and memberships valid again."""
    if time.time() > Path(__file__).stat().st_mtime - CLOCK_SECONDS:
        return []
    return [Warning("The clock of this machine is days behind", id="broker.W004")]
