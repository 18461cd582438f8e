"""Passwords checked by the institution's directory, by django-auth-ldap (optional).

The directory names its people, so its account names are trusted as user names. An account
of this service with a password of its own stays apart: the directory cannot take it over. Nor can
it sign in a superuser, who could change everything here. A data admin or staff of the admin who was
made so by hand is signed in only if the directory had signed them in before: then whoever gave
the right knew whose account it is.
"""

from typing import Any

import ldap
import structlog
from django.conf import settings
from django_auth_ldap.backend import LDAPBackend
from django_auth_ldap.config import GroupOfNamesType, LDAPSearch

from policies.models import User
from policies.signin.grants import apply_grants, has_rights_by_hand
from policies.signin.sso_config import LDAP

log = structlog.get_logger(__name__)

PROVIDER = "ldap"
SECONDS = 5
"""that the directory may take for one answer"""


class DirectoryBackend(LDAPBackend):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.default_settings = _settings(settings.LDAP)

    def authenticate_ldap_user(self, ldap_user: Any, password: str) -> User | None:
        user: User | None = super().authenticate_ldap_user(ldap_user, password)
        if user is None or not user.is_active:
            return None
        if user.bound_to != PROVIDER:
            user.bound_to = PROVIDER
            user.save(update_fields=["bound_to"])
        groups = ldap_user.group_names if settings.LDAP.group_base else set()
        apply_grants(user, PROVIDER, settings.LDAP, groups)
        return user

    def get_or_build_user(self, username: str, ldap_user: Any) -> tuple[User, bool]:
        user, built = super().get_or_build_user(username, ldap_user)
        if not built and (reason := _local(user)):
            log.warning("sign-in refused", provider=PROVIDER, user_id=user.pk, reason=reason)
            raise ldap_user.AuthenticationFailed(reason)
        return user, built


def _local(user: User) -> str:
    """Why the directory must not sign in this account, or nothing."""
    if user.has_usable_password() or user.is_superuser:
        return "a local account has this name"
    if user.bound_to != PROVIDER and has_rights_by_hand(user, PROVIDER):
        return "this account's rights were set before its first sign-in"
    return ""


def _settings(directory: LDAP) -> dict[str, Any]:
    found = {
        "SERVER_URI": directory.uri,
        "START_TLS": directory.start_tls,
        "BIND_DN": directory.bind_dn,
        "BIND_PASSWORD": directory.bind_password,
        "USER_SEARCH": _below(directory.user_base, directory.user_filter),
        "USER_ATTR_MAP": {"first_name": "givenName", "last_name": "sn", "email": "mail"},
        "CONNECTION_OPTIONS": {
            ldap.OPT_REFERRALS: 0,
            ldap.OPT_NETWORK_TIMEOUT: SECONDS,
            ldap.OPT_TIMEOUT: SECONDS,
        },
    }
    if directory.ca_certificate is not None:
        found["GLOBAL_OPTIONS"] = {ldap.OPT_X_TLS_CACERTFILE: directory.ca_certificate}
    if directory.group_base is not None:
        found["GROUP_SEARCH"] = _below(directory.group_base, "(objectClass=groupOfNames)")
        found["GROUP_TYPE"] = GroupOfNamesType()
    return found


def _below(base: str, condition: str) -> LDAPSearch:
    return LDAPSearch(base, ldap.SCOPE_SUBTREE, condition)
