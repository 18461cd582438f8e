"""Who may call a route at all. What they may read there, the access decides."""

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request


class ReadOnly(BasePermission):
    """Anybody may read: the access narrows it, for anonymous callers to public runs."""

    message = "This is read-only."

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.method in SAFE_METHODS


class SignIn(BasePermission):
    """For the routes where one signs in or out."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return True
