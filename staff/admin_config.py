"""Django's admin with what staff need most before what they need rarely."""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig
from django.http import HttpRequest

APPS = ("headers", "policies")
"""runs, then people and policies, then the rest by name"""
MODELS = ("User", "Proposal", "Beamline", "RunOverride", "AuditEvent")


class BrokerAdminSite(AdminSite):
    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Apps and their models in the order in which staff look for them."""
        apps: list[Any] = super().get_app_list(request, app_label)
        for app in apps:
            app["models"].sort(key=lambda model: _place(model["object_name"], MODELS))
        return sorted(apps, key=lambda app: _place(app["app_label"], APPS))


def _place(name: str, order: tuple[str, ...]) -> int:
    return order.index(name) if name in order else len(order)


class BrokerAdminConfig(AdminConfig):
    default_site = "staff.admin_config.BrokerAdminSite"
