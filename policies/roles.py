"""The group that facility staff are put into: what they need in the admin, and no more."""

from typing import Any

from django.apps import apps
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission

STAFF_GROUP = "Facility staff"
STAFF_PERMISSIONS = {
    "headers": {"view_runstart"},
    "policies": {
        "view_user", "add_user", "change_user", "view_beamline",
        "view_proposal", "add_proposal", "change_proposal",
        "view_membership", "add_membership", "change_membership", "delete_membership",
        "view_embargochange", "view_runoverride", "view_session", "view_proposalsync",
    },
}  # fmt: skip


def make_staff_group(**kwargs: Any) -> None:
    """Makes the group once. What superusers make of it later stays."""
    if Group.objects.filter(name=STAFF_GROUP).exists():
        return
    group = Group.objects.create(name=STAFF_GROUP)
    for app, codenames in STAFF_PERMISSIONS.items():
        create_permissions(apps.get_app_config(app), verbosity=0)
        permissions = Permission.objects.filter(content_type__app_label=app)
        group.permissions.add(*permissions.filter(codename__in=codenames))
