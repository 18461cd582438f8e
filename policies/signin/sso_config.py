"""The sign-on file: which identity providers there are, and what their groups mean here.

Knows neither Django nor the network. A mapping can name beamlines and the data admins;
there is no way to write down that a claim makes somebody a superuser.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from broker_site.outside import CheckedText, EnvironmentText, checked, read_toml

IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}
SUBJECT_ID = EnvironmentText("urn:oasis:names:tc:SAML:attribute:subject-id")
USER_FILTER = EnvironmentText("(uid=%(user)s)")


class SSOConfigError(ValueError):
    """The file is wrong; the text names the place and says what to do."""


class ProviderId(CheckedText):
    @staticmethod
    def check(value: str) -> None:
        if not IDENTIFIER.fullmatch(value) or value == "ldap":
            raise ValueError("use lower case letters, digits and '-'")


class SecureURL(EnvironmentText):
    @staticmethod
    def check(value: str) -> None:
        parts = urlsplit(value)
        # On the machine itself nobody listens in; tests and trials need no certificate.
        local = parts.scheme == "http" and parts.hostname in LOOPBACK
        if not local and not (parts.scheme == "https" and parts.hostname):
            raise ValueError("must be an https:// address")


class GroupRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What being in a group of the provider means here."""

    beamline_staff: dict[str, tuple[str, ...]] = {}
    """group → beamlines whose staff its members are"""
    data_admin_groups: frozenset[str] = frozenset()

    def beamlines(self, groups: Iterable[str]) -> frozenset[str]:
        return frozenset(name for group in groups for name in self.beamline_staff.get(group, ()))

    def data_admin(self, groups: Iterable[str]) -> bool:
        return not self.data_admin_groups.isdisjoint(groups)


class OIDCProvider(GroupRules, frozen=True, kw_only=True):
    id: ProviderId
    """names the provider in addresses and stored identities"""
    name: EnvironmentText
    """what the sign-in button says"""
    issuer: SecureURL
    client_id: EnvironmentText
    client_secret: EnvironmentText
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    groups_claim: EnvironmentText | None = None
    username_claim: EnvironmentText | None = None
    """a claim with the account name that proposals know people by; None: not trusted"""

    def __post_init__(self) -> None:
        if "openid" not in self.scopes:
            raise ValueError("scopes: must contain 'openid'")

    def for_allauth(self) -> dict[str, Any]:
        return {
            "provider_id": self.id,
            "name": self.name,
            "client_id": self.client_id,
            "secret": self.client_secret,
            "settings": {
                "server_url": self.issuer.rstrip("/") + "/.well-known/openid-configuration",
                "scope": list(self.scopes),
            },
        }


class SAMLProvider(GroupRules, frozen=True, kw_only=True):
    id: ProviderId
    name: EnvironmentText
    entity_id: EnvironmentText
    metadata_url: SecureURL | None = None
    sso_url: SecureURL | None = None
    certificate: EnvironmentText | None = None
    subject_attribute: EnvironmentText = SUBJECT_ID
    email_attribute: EnvironmentText | None = None
    groups_attribute: EnvironmentText | None = None
    username_attribute: EnvironmentText | None = None

    def __post_init__(self) -> None:
        if self.metadata_url is None and not (self.sso_url and self.certificate):
            raise ValueError("needs metadata_url, or sso_url and certificate")

    def for_allauth(self) -> dict[str, Any]:
        idp = {
            "entity_id": self.entity_id,
            "metadata_url": self.metadata_url,
            "sso_url": self.sso_url,
            "x509cert": self.certificate,
        }
        mapping = {"email": self.email_attribute} if self.email_attribute else {}
        return {
            "provider_id": self.id,
            "name": self.name,
            "client_id": self.id,
            "settings": {
                "idp": {key: value for key, value in idp.items() if value is not None},
                "attribute_mapping": mapping,
                "advanced": {"want_assertion_signed": True, "reject_idp_initiated_sso": True},
            },
        }


class SSO(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    oidc: tuple[OIDCProvider, ...] = ()
    saml: tuple[SAMLProvider, ...] = ()

    @property
    def providers(self) -> tuple[OIDCProvider | SAMLProvider, ...]:
        return (*self.oidc, *self.saml)


class LDAP(GroupRules, frozen=True, kw_only=True):
    uri: EnvironmentText
    start_tls: bool = False
    ca_certificate: EnvironmentText | None = None
    """a file; None: the system's certificates"""
    bind_dn: EnvironmentText
    bind_password: EnvironmentText
    user_base: EnvironmentText
    user_filter: EnvironmentText = USER_FILTER
    group_base: EnvironmentText | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.uri)
        if parts.scheme not in {"ldap", "ldaps"} or not parts.hostname:
            raise ValueError("uri: needs ldaps://host or ldap://host")
        if parts.scheme == "ldap" and not self.start_tls and parts.hostname not in LOOPBACK:
            raise ValueError("uri: passwords need ldaps:// or start_tls = true")
        if "%(user)s" not in self.user_filter:
            raise ValueError("user_filter: needs %(user)s where the account name goes")


def load_sso(path: Path, environ: Mapping[str, str] = os.environ) -> SSO:
    """The providers of a file with tables [[oidc]] and [[saml]]."""
    content = read_toml(path, SSOConfigError)
    for kind in ("oidc", "saml"):
        if isinstance(content.get(kind), dict):
            raise SSOConfigError(f"{kind}: write [[{kind}]] for each provider")
    sso = checked(content, SSO, "", SSOConfigError, environ)
    ids = [provider.id for provider in sso.providers]
    if repeated := {name for name in ids if ids.count(name) > 1}:
        raise SSOConfigError(f"{path}: more than one provider has the id {sorted(repeated)[0]!r}")
    return sso


def load_ldap(path: Path, environ: Mapping[str, str] = os.environ) -> LDAP:
    """The directory of a file with one table of these keys."""
    return checked(read_toml(path, SSOConfigError), LDAP, "", SSOConfigError, environ)
