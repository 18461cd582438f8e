"""Who may call a route at all. What they may read there, the access decides."""

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from policies.models import APIToken, User
from policies.rule.access import Catalog
from policies.tokens import unwritable


class ReadOnly(BasePermission):
    """Anybody may read: the access narrows it, for anonymous callers to public runs.

    An API token needs the scope that the view names in `required_scope`, by default
    `read:metadata`; None asks for no scope.
    """

    message = "This is read-only."

    def has_permission(self, request: Request, view: Any) -> bool:
        if isinstance(request.auth, APIToken):
            scope = getattr(view, "required_scope", APIToken.Scope.METADATA)
            if scope is not None and scope not in request.auth.scopes:
                self.message = f"This API token lacks the scope {scope}."
                return False
        if request.method == "POST" and getattr(view, "reads_by_post", False):
            return True
        # A method that the view does not know is not forbidden but not allowed: 405, not 403.
        return request.method in SAFE_METHODS or request.method not in view.allowed_methods


class WritesDocuments(BasePermission):
    """API tokens of the scope for writing; which catalogs they may write to, the view asks."""

    message = f"Documents are written with an API token of the scope {APIToken.Scope.WRITE}."

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.auth, APIToken) and APIToken.Scope.WRITE in request.auth.scopes


def may_write_to(request: Request, catalog: str) -> bool:
    """May the caller write runs of some proposal to the catalog of this name now?

    Only by an API token that was made for it, and only while the token's owner has the right
    that it was made by: data admin, or staff of the catalog's beamline. The same for every name
    that is not the token's, whether there is such a catalog or not.
    """
    token = request.auth
    if not isinstance(token, APIToken) or APIToken.Scope.WRITE not in token.scopes:
        return False
    return catalog in (token.catalogs or ()) and not unwritable(token.user, [catalog])


def may_write(request: Request, catalog: Catalog, proposal: str | None) -> bool:
    """May the caller write documents of a run of this proposal to this catalog now?"""
    token = request.auth
    if not isinstance(token, APIToken):
        return False
    if token.proposals is not None and proposal not in token.proposals:
        return False
    return may_write_to(request, catalog.name)


class SignIn(BasePermission):
    """For the routes where one signs in or out. An API token is for reading only."""

    message = "An API token can only read."

    def has_permission(self, request: Request, view: Any) -> bool:
        return not isinstance(request.auth, APIToken)


class OwnTokens(SignIn):
    """For the routes where people look after their own API tokens."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, User) and super().has_permission(request, view)
