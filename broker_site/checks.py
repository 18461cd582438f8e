"""System checks: the service refuses to start in a configuration that is not safe."""

from typing import Any, cast

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.db.models import Model
from django.db.utils import ConnectionRouter

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
        Error(f"{name}: is a well-known default; set a random one", id="broker.E001")
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


@register(Tags.security)  # those with the tag of databases do not run by themselves
def read_only_catalogs(**kwargs: Any) -> list[CheckMessage]:
    """The routers, asked as Django asks them, let nothing write to or migrate a catalog."""
    routers = ConnectionRouter(settings.DATABASE_ROUTERS)
    labels = [app.label for app in apps.get_app_configs()]
    errors: list[CheckMessage] = [
        Error(f"DATABASE_ROUTERS: {alias} is not kept read-only", id="broker.E006")
        for alias in settings.DATABASES
        if alias != "default" and any(routers.allow_migrate(alias, label) for label in labels)
    ]
    if not all(_refused(routers, model) for model in apps.get_app_config("headers").get_models()):
        errors.append(Error("DATABASE_ROUTERS: runs can be written", id="broker.E006"))
    return errors


def _refused(routers: ConnectionRouter, model: type[Model]) -> bool:
    try:
        routers.db_for_write(model)
    except PermissionError:
        return True
    return False


@register(Tags.security)
def hosts(**kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG or "*" not in settings.ALLOWED_HOSTS:
        return []
    return [Error("BROKER_ALLOWED_HOSTS: '*' accepts any Host header", id="broker.E007")]
