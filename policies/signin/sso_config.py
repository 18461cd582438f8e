"""The sign-on file: which identity providers there are, and what their groups mean here.

Knows neither Django nor the network. A mapping can name beamlines and the data admins;
there is no way to write down that a claim makes somebody a superuser.
"""

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

IDENTIFIER = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class SSOConfigError(ValueError):
    """The file is wrong; the text names the place and says what to do."""


@dataclass(frozen=True)
class GroupRules:
    """What being in a group of the provider means here."""

    beamline_staff: Mapping[str, tuple[str, ...]]
    """group → beamlines whose staff its members are"""
    data_admin_groups: frozenset[str]

    def beamlines(self, groups: Iterable[str]) -> frozenset[str]:
        return frozenset(name for group in groups for name in self.beamline_staff.get(group, ()))

    def data_admin(self, groups: Iterable[str]) -> bool:
        return not self.data_admin_groups.isdisjoint(groups)


@dataclass(frozen=True)
class OIDCProvider:
    id: str
    """names the provider in addresses and stored identities"""
    name: str
    """what the sign-in button says"""
    issuer: str
    client_id: str
    client_secret: str
    scopes: tuple[str, ...]
    groups_claim: str | None
    username_claim: str | None
    """a claim with the account name that proposals know people by; None: not trusted"""
    rules: GroupRules

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


@dataclass(frozen=True)
class SAMLProvider:
    id: str
    name: str
    entity_id: str
    metadata_url: str | None
    sso_url: str | None
    certificate: str | None
    subject_attribute: str
    email_attribute: str | None
    groups_attribute: str | None
    username_attribute: str | None
    rules: GroupRules

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


@dataclass(frozen=True)
class SSO:
    oidc: tuple[OIDCProvider, ...] = ()
    saml: tuple[SAMLProvider, ...] = ()

    @property
    def providers(self) -> tuple[OIDCProvider | SAMLProvider, ...]:
        return (*self.oidc, *self.saml)


@dataclass(frozen=True)
class LDAP:
    uri: str
    start_tls: bool
    ca_certificate: str | None
    """a file; None: the system's certificates"""
    bind_dn: str
    bind_password: str
    user_base: str
    user_filter: str
    group_base: str | None
    rules: GroupRules


def load_sso(path: Path, environ: Mapping[str, str] = os.environ) -> SSO:
    """The providers of a file with tables [[oidc]] and [[saml]]."""
    content = _toml(path)
    if unknown := set(content) - {"oidc", "saml"}:
        raise SSOConfigError(f"{path} has unknown tables: {', '.join(sorted(unknown))}")
    sso = SSO(
        oidc=tuple(_oidc(table, environ) for table in _tables(content, "oidc")),
        saml=tuple(_saml(table) for table in _tables(content, "saml")),
    )
    ids = [provider.id for provider in sso.providers]
    if repeated := {name for name in ids if ids.count(name) > 1}:
        raise SSOConfigError(f"{path}: more than one provider has the id {sorted(repeated)[0]!r}")
    return sso


def load_ldap(path: Path, environ: Mapping[str, str] = os.environ) -> LDAP:
    """The directory of a file with one table of these keys."""
    table = _Table("LDAP", _toml(path), environ)
    ldap = LDAP(
        uri=table.text("uri"),
        start_tls=table.flag("start_tls"),
        ca_certificate=table.optional("ca_certificate"),
        bind_dn=table.text("bind_dn"),
        bind_password=table.text("bind_password"),
        user_base=table.text("user_base"),
        user_filter=table.optional("user_filter") or "(uid=%(user)s)",
        group_base=table.optional("group_base"),
        rules=table.rules(),
    )
    table.refuse_the_rest()
    parts = urlsplit(ldap.uri)
    if parts.scheme not in {"ldap", "ldaps"} or not parts.hostname:
        raise SSOConfigError("uri: needs ldaps://host or ldap://host")
    if parts.scheme == "ldap" and not ldap.start_tls and parts.hostname not in LOOPBACK:
        raise SSOConfigError("uri: passwords need ldaps:// or start_tls = true")
    if "%(user)s" not in ldap.user_filter:
        raise SSOConfigError("user_filter: needs %(user)s where the account name goes")
    return ldap


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise SSOConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SSOConfigError(f"{path} is not valid TOML: {error}") from error


def _tables(content: Mapping[str, Any], kind: str) -> list[Any]:
    tables = content.get(kind, [])
    if not isinstance(tables, list):
        raise SSOConfigError(f"{kind}: write [[{kind}]] for each provider")
    return tables


def _oidc(content: Any, environ: Mapping[str, str]) -> OIDCProvider:
    table = _Table("[[oidc]]", content, environ)
    provider = OIDCProvider(
        id=table.identifier(),
        name=table.text("name"),
        issuer=table.secure_url("issuer"),
        client_id=table.text("client_id"),
        client_secret=table.text("client_secret"),
        scopes=table.texts("scopes") or ("openid", "profile", "email"),
        groups_claim=table.optional("groups_claim"),
        username_claim=table.optional("username_claim"),
        rules=table.rules(),
    )
    table.refuse_the_rest()
    if "openid" not in provider.scopes:
        raise SSOConfigError(f"{table.where} scopes: must contain 'openid'")
    return provider


def _saml(content: Any) -> SAMLProvider:
    table = _Table("[[saml]]", content, {})
    provider = SAMLProvider(
        id=table.identifier(),
        name=table.text("name"),
        entity_id=table.text("entity_id"),
        metadata_url=table.secure_url("metadata_url") if table.has("metadata_url") else None,
        sso_url=table.secure_url("sso_url") if table.has("sso_url") else None,
        certificate=table.optional("certificate"),
        subject_attribute=table.optional("subject_attribute")
        or "urn:oasis:names:tc:SAML:attribute:subject-id",
        email_attribute=table.optional("email_attribute"),
        groups_attribute=table.optional("groups_attribute"),
        username_attribute=table.optional("username_attribute"),
        rules=table.rules(),
    )
    table.refuse_the_rest()
    if provider.metadata_url is None and not (provider.sso_url and provider.certificate):
        raise SSOConfigError(f"{table.where} needs metadata_url, or sso_url and certificate")
    return provider


class _Table:
    """One table of the file; remembers which keys were asked for, to refuse misspelt ones."""

    def __init__(self, where: str, content: Any, environ: Mapping[str, str]) -> None:
        if not isinstance(content, dict):
            raise SSOConfigError(f"{where} is not a table")
        self.content: dict[str, Any] = content
        self.where = f"{where} {content['id']!r}" if "id" in content else where
        self.environ = environ
        self.known: set[str] = set()

    def has(self, key: str) -> bool:
        self.known.add(key)
        return key in self.content

    def text(self, key: str) -> str:
        value = self.content[key] if self.has(key) else None
        if not isinstance(value, str) or not value:
            raise SSOConfigError(f"{self.where} {key}: must be a text")
        return self._from_environment(key, value)

    def optional(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None

    def flag(self, key: str) -> bool:
        value = self.content[key] if self.has(key) else False
        if not isinstance(value, bool):
            raise SSOConfigError(f"{self.where} {key}: must be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        return _texts(f"{self.where} {key}", self.content[key] if self.has(key) else [])

    def identifier(self) -> str:
        value = self.text("id")
        if not IDENTIFIER.fullmatch(value) or value == "ldap":
            raise SSOConfigError(f"{self.where} id: use lower case letters, digits and '-'")
        return value

    def secure_url(self, key: str) -> str:
        value = self.text(key)
        parts = urlsplit(value)
        if parts.scheme == "https" and parts.hostname:
            return value
        # On the machine itself nobody listens in; tests and trials need no certificate.
        if parts.scheme == "http" and parts.hostname in LOOPBACK:
            return value
        raise SSOConfigError(f"{self.where} {key}: must be an https:// address")

    def rules(self) -> GroupRules:
        staff = self.content["beamline_staff"] if self.has("beamline_staff") else {}
        where = f"{self.where} beamline_staff"
        if not isinstance(staff, dict):
            raise SSOConfigError(f"{where}: must map groups to lists of beamlines")
        return GroupRules(
            beamline_staff={group: _texts(where, names) for group, names in staff.items()},
            data_admin_groups=frozenset(self.texts("data_admin_groups")),
        )

    def refuse_the_rest(self) -> None:
        if unknown := set(self.content) - self.known:
            raise SSOConfigError(f"{self.where} has unknown keys: {', '.join(sorted(unknown))}")

    def _from_environment(self, key: str, value: str) -> str:
        if not value.startswith("env:"):
            return value
        variable = value.removeprefix("env:")
        path = self.environ.get(f"{variable}_FILE")
        try:
            given = self.environ.get(variable) or (Path(path).read_text().strip() if path else "")
        except OSError as error:
            raise SSOConfigError(f"{variable}_FILE: cannot read it: {error.strerror}") from error
        if not given:
            raise SSOConfigError(
                f"{self.where} {key}: the environment variable {variable} is not set"
            )
        return given


def _texts(where: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise SSOConfigError(f"{where}: must be a list of texts")
    return tuple(values)
