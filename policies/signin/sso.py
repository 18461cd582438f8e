"""Sign-in with an institution's account, by django-allauth; OpenID Connect (SAML: `saml`).

Who somebody is, is decided by (provider, issuer, subject) alone. An e-mail address or a
display name that the provider sends is shown and otherwise means nothing. allauth does
the redirects and the sessions; what it leaves open is closed here: the ID token's
signature, nonce and issuer are always checked, and nothing in a request chooses scopes,
endpoints or what the sign-in is for.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit

import jwt
import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.utils import get_next_redirect_url
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base.constants import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from requests import RequestException

from policies.addresses import client_network
from policies.audit import record
from policies.models import AuditEvent, User
from policies.signin.grants import apply_grants, has_rights_by_hand
from policies.signin.sso_config import LOOPBACK, OIDCProvider, SAMLProvider

log = structlog.get_logger(__name__)

PASSWORD_BACKEND = "django.contrib.auth.backends.ModelBackend"  # noqa: S105 (a class's name)
SIGNATURES = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
"""Asymmetric ones only: with HS256 the provider's public key could be used to sign."""
CLOCK_SKEW = 60  # seconds
ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


class SignInRefused(OAuth2Error):  # type: ignore[misc]
    """The provider's answer is not accepted. The text is for the log, without secrets."""


def configured(provider_id: str) -> OIDCProvider | SAMLProvider:
    """The provider of this id in the sign-on file."""
    for provider in settings.SSO.providers:
        if provider.id == provider_id:
            return provider
    raise Http404


def identity(issuer: str, subject: str) -> str:
    """The stored key of an identity: of one length, and different for another issuer."""
    return hashlib.sha256(f"{issuer}\n{subject}".encode()).hexdigest()


# -- What allauth asks us ---------------------------------------------------------------------


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """People come from an identity provider, an import or the admin, never by themselves."""
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Failed passwords are counted in one place for all doors, and that is not here."""

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_network(request)

    def login(self, request: HttpRequest, user: User) -> None:
        if not hasattr(user, "backend"):
            user.backend = PASSWORD_BACKEND
        super().login(request, user)


class SocialAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]
    def list_apps(self, request: HttpRequest, **which: Any) -> list[SocialApp]:
        """Those of the sign-on file: a row in the database cannot add a provider."""
        return [app for app in super().list_apps(request, **which) if app.pk is None]

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, exception: Any = None, **more: Any
    ) -> None:
        if exception is None:
            reason = "no sign-in was under way here"
        elif isinstance(exception, SignInRefused):
            reason = str(exception)
        else:
            # Exceptions of others may quote the provider's answer, tokens included.
            reason = type(exception).__name__
        log.warning("sign-in refused", provider=provider.sub_id, reason=reason)
        details = {"provider": provider.sub_id, "reason": reason}
        record(AuditEvent.Kind.SIGN_IN_FAILED, result="failed", details=details)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """The identity is proven: finds or makes its user, and applies the group claims."""
        provider = configured(sociallogin.account.provider)
        try:
            if not sociallogin.is_existing:
                _enrol(sociallogin, provider)
        except SignInRefused as error:
            page = render_authentication_error(request, sociallogin.provider, exception=error)
            raise ImmediateHttpResponse(page) from error
        groups = sociallogin.account.extra_data["groups"]
        apply_grants(cast(User, sociallogin.user), provider.id, provider, groups)


def _enrol(sociallogin: SocialLogin, provider: OIDCProvider | SAMLProvider) -> None:
    """Binds a new identity to a user, who is new too except where account names are trusted."""
    account: SocialAccount = sociallogin.account
    try:
        with transaction.atomic():
            user = _user_for(account, cast(User, sociallogin.user))
            user.save()
            account.user = user
            account.save()
    except IntegrityError as error:
        raise SignInRefused("the same identity signed in at the same time") from error
    sociallogin.user = user
    log.info("identity enrolled", provider=provider.id, user_id=user.pk)


def _user_for(account: SocialAccount, new_user: User) -> User:
    name = account.extra_data["account_name"]
    if name is None:
        new_user.username = _unique_username(new_user.username, account.uid)
        return new_user
    if not ACCOUNT_NAME.fullmatch(name):
        raise SignInRefused("the account name is not one")
    known = User.objects.filter(username__iexact=name).first()
    if known is None:
        new_user.username = name
        return new_user
    if known.has_usable_password() or known.is_superuser:
        raise SignInRefused("a local account has this account name; take its password away first")
    if SocialAccount.objects.filter(user=known, provider=account.provider).exists():
        raise SignInRefused("another identity has this account name")
    if has_rights_by_hand(known, account.provider):
        raise SignInRefused("this account's rights were set before its first sign-in from here")
    return known


def _unique_username(wish: str, uid: str) -> str:
    """Readable, free, and not a name that proposals may know somebody else by."""
    readable = re.sub(r"[^A-Za-z0-9._-]", "", wish)[:40] or "user"
    names = [f"{readable}-{uid[:length]}" for length in (8, 16, 64)]
    return next(name for name in names if not User.objects.filter(username=name).exists())


# -- To the provider, by a page of ours ---------------------------------------------------------


class ByOurPage:
    """Sends the browser on from a page instead of by a redirect.

    The policy `form-action 'self'` would stop a form's redirect to the provider, and to
    wherever the provider redirects in turn, which nobody here can list.
    """

    def redirect(self, request: HttpRequest, process: str, **options: Any) -> HttpResponse:
        response: HttpResponse = super().redirect(request, process, **options)  # type: ignore[misc]
        if not isinstance(response, HttpResponseRedirect):
            return response
        context = {"provider": self, "url": response.url}
        return render(request, "socialaccount/continue.html", context)

    def get_redirect_from_request_kwargs(self, request: HttpRequest) -> dict[str, Any]:
        """Only where to go afterwards: the request has no say in scopes or linking accounts."""
        return {"process": AuthProcess.LOGIN, "next_url": get_next_redirect_url(request)}


# -- OpenID Connect -----------------------------------------------------------------------------


class OIDCAdapter(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    nonce: str | None = None

    @property
    def provider(self) -> OIDCProvider:
        return cast(OIDCProvider, configured(self.provider_id))

    @property
    def openid_config(self) -> dict[str, Any]:
        """The provider's own description of itself, which must be of the configured issuer."""
        try:
            config = cast(dict[str, Any], super().openid_config)
            return _checked(config, self.provider.issuer)
        except (RequestException, ValueError, KeyError) as error:
            raise SignInRefused(f"its discovery failed: {type(error).__name__}") from error

    def check_response(self, state: Mapping[str, Any], response: Mapping[str, Any]) -> None:
        """Refuses the answer of another issuer (RFC 9207) and remembers this sign-in's nonce."""
        says_issuer = self.openid_config.get("authorization_response_iss_parameter_supported")
        if "iss" in response or says_issuer:
            _must_equal(response.get("iss"), self.provider.issuer, "the answer's issuer")
        self.nonce = state["nonce"]

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: Any, **given: Any
    ) -> SocialLogin:
        claims = self._verified(given["response"].get("id_token"))
        _must_equal(claims.get("nonce"), self.nonce, "the nonce")
        if "userinfo_endpoint" in self.openid_config:
            userinfo = self._fetch_user_info(token.token)
            _must_equal(userinfo.get("sub"), claims["sub"], "the subject of the user info")
            claims = userinfo | claims
        return self.get_provider().sociallogin_from_response(request, claims)

    def _verified(self, id_token: Any) -> dict[str, Any]:
        """The claims of an ID token that the issuer signed, for us, and that is not expired."""
        with get_adapter().get_requests_session() as session:
            answer = session.get(self.openid_config["jwks_uri"])
            answer.raise_for_status()
        try:
            keys = jwt.PyJWKSet.from_dict(answer.json())
            key = keys[jwt.get_unverified_header(id_token).get("kid", "")]
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key,
                algorithms=SIGNATURES,
                audience=self.provider.client_id,
                issuer=self.provider.issuer,
                leeway=CLOCK_SKEW,
                options={"require": ["iss", "sub", "aud", "exp", "iat"]},
            )
        except (jwt.PyJWTError, KeyError, ValueError) as error:
            raise SignInRefused(f"its ID token: {type(error).__name__}") from error
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1:
            _must_equal(claims.get("azp"), self.provider.client_id, "the authorized party")
        return claims


def _checked(config: dict[str, Any], issuer: str) -> dict[str, Any]:
    _must_equal(config["issuer"], issuer, "the discovered issuer")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        parts = urlsplit(config[name])
        if parts.scheme != "https" and parts.hostname not in LOOPBACK:
            raise SignInRefused(f"its {name} is not an https:// address")
    return config


def _must_equal(given: Any, expected: str | None, what: str) -> None:
    known = isinstance(given, str) and isinstance(expected, str)
    if not known or not hmac.compare_digest(given.encode(), cast(str, expected).encode()):
        raise SignInRefused(f"{what} is not the expected one")


class OIDC(ByOurPage, OpenIDConnectProvider):  # type: ignore[misc]
    oauth2_adapter_class = OIDCAdapter
    pkce_enabled_default = True

    def redirect(self, request: HttpRequest, process: str, **options: Any) -> HttpResponse:
        nonce = secrets.token_urlsafe(32)
        # allauth keeps `nonce` in the state of the browser's session.
        return super().redirect(
            request, process, nonce=nonce, auth_params={"nonce": nonce}, **options
        )

    def extract_uid(self, data: dict[str, Any]) -> str:
        return identity(data["iss"], data["sub"])

    def extract_extra_data(self, data: dict[str, Any]) -> dict[str, Any]:
        provider = cast(OIDCProvider, configured(self.app.provider_id))
        return {
            "issuer": data["iss"],
            "subject": data["sub"],
            "groups": texts(data.get(provider.groups_claim or "")),
            "account_name": account_name(data, provider.username_claim),
        }

    def extract_common_fields(self, data: dict[str, Any]) -> dict[str, Any]:
        return {
            "username": text(data.get("preferred_username")),
            "email": text(data.get("email")) if data.get("email_verified") is True else "",
            "first_name": text(data.get("given_name")),
            "last_name": text(data.get("family_name")),
            "name": text(data.get("name")),
        }

    def extract_email_addresses(self, data: dict[str, Any]) -> list[Any]:
        return []


class _CallbackView(OAuth2CallbackView):  # type: ignore[misc]
    def _get_state(self, request: HttpRequest, provider: Any) -> tuple[Any, HttpResponse | None]:
        state, response = super()._get_state(request, provider)
        if response is None:
            self.adapter.check_response(state, request.GET.dict())
        return state, response


def oidc_login(request: HttpRequest, provider_id: str) -> HttpResponse:
    return _run(OAuth2LoginView, request, provider_id)


def oidc_callback(request: HttpRequest, provider_id: str) -> HttpResponse:
    return _run(_CallbackView, request, provider_id)


def _run(view: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    if not isinstance(configured(provider_id), OIDCProvider):
        raise Http404
    adapter = OIDCAdapter(request, provider_id)
    try:
        return cast(HttpResponse, view.adapter_view(adapter)(request))
    except SignInRefused as error:
        page = render_authentication_error(request, adapter.get_provider(), exception=error)
        return cast(HttpResponse, page)


# -- Claims -------------------------------------------------------------------------------------


def text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def texts(values: Any) -> list[str]:
    """A claim as the list of texts it should be: one text counts as a list, others as none."""
    items = [values] if isinstance(values, str) else values
    return [item for item in items if isinstance(item, str)] if isinstance(items, list) else []


def account_name(claims: Mapping[str, Any], claim: str | None) -> str | None:
    """None where account names are not trusted; there must be one where they are."""
    if claim is None:
        return None
    return text(claims.get(claim))
