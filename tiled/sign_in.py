"""Signing in under Tiled's names. Sessions and tokens are those of `policies`."""

import re
import uuid
from datetime import timedelta
from typing import Any

from django.http import HttpResponse, HttpResponseBase
from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.parsers import FormParser
from rest_framework.request import Request

from broker_site import media_types
from broker_site.openapi import answers
from broker_site.problems import Problem, not_found
from policies.models import APIToken, Session, User
from policies.permissions import OwnTokens, SignIn
from policies.sessions import (
    RACE,
    REFRESH,
    Tokens,
    begin_session,
    end_session,
    session_of,
)
from policies.signin.device import (
    INTERVAL,
    LIFETIME,
    DeviceCode,
    confirmed_session,
    open_request,
    outcome_of,
    page_of,
)
from policies.tokens import Limits, longest, make_token, revoke_token
from policies.views import (
    AuthView,
    check_within_rights,
    owner,
    refreshed,
    signed_in,
    tokens_of,
)
from tiled import wire
from tiled.about import DEVICE, PROVIDER
from tiled.schemas import (
    TiledAuthorization,
    TiledKey,
    TiledNewKey,
    TiledPending,
    TiledPrincipal,
    TiledRefreshToken,
    TiledSignedIn,
    TiledSignInForm,
    spoken,
)
from tiled.views import Speaking

PRINCIPALS = uuid.UUID("5b1f3c0e-6f0a-4c53-9b0e-2f1d4f3a7c11")
PROGRAM = re.compile(r"[A-Za-z0-9./_-]{1,80}")
SCOPES = [str(APIToken.Scope.METADATA), str(APIToken.Scope.DATA)]
DEFAULT_LIFETIME = timedelta(days=30)


class SignInView(Speaking, AuthView):
    authentication_classes = ()
    parser_classes = [FormParser]

    @extend_schema(
        request={"application/x-www-form-urlencoded": TiledSignInForm},
        responses=spoken(TiledSignedIn) | answers(401),
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Signs in with user name and password."""
        form = request.data if isinstance(request.data, dict) else {}
        user = signed_in(request, {n: form.get(n) for n in ("username", "password")})
        return wire.uncached(request, tokens(begin_session(user)) | identity(user))


class BrowserProviderView(Speaking, AuthView):
    authentication_classes = ()

    @extend_schema(request=None, responses=spoken(TiledAuthorization))
    def post(self, request: Request) -> HttpResponseBase:
        """Begins a sign-in that a person confirms in the browser."""
        device_code, user_code = open_request(request, _program(request))
        content = {
            "authorization_uri": page_of(request, user_code),
            "verification_uri": request.build_absolute_uri(reverse("tiled-device-code")),
            "interval": INTERVAL,
            "device_code": device_code,
            "expires_in": int(LIFETIME.total_seconds()),
            "user_code": user_code,
        }
        return wire.uncached(request, content)


class DeviceCodeView(Speaking, AuthView):
    authentication_classes = ()

    @extend_schema(
        request=DeviceCode,
        responses=spoken(TiledSignedIn) | {(400, media_types.JSON): TiledPending},
    )
    def post(self, request: Request) -> HttpResponseBase:
        """Tokens, once the person has confirmed."""
        given = DeviceCode(data=request.data)
        known = given.is_valid()
        outcome = outcome_of(given.validated_data["device_code"]) if known else "invalid_request"
        if isinstance(outcome, User):
            made = confirmed_session(request, outcome)
            return wire.uncached(request, tokens(made) | identity(outcome, DEVICE))
        # Any other error ends the clients' asking.
        error = "authorization_pending" if outcome == "slow_down" else outcome
        return wire.uncached(request, {"detail": {"error": error}}, status=400)


def _program(request: Request) -> str:
    """The name of the program that asks, as far as the confirming person may be shown it."""
    agent = request.headers.get("User-Agent", "").partition(" ")[0]
    return agent if PROGRAM.fullmatch(agent) else ""


class RefreshView(Speaking, AuthView):
    authentication_classes = ()

    @extend_schema(request=TiledRefreshToken, responses=spoken(TiledSignedIn) | answers(401))
    def post(self, request: Request) -> HttpResponseBase:
        """New tokens for a refresh token."""
        return wire.uncached(request, tokens(refreshed(refresh_token(request), race=RACE)))


class RevokeView(Speaking, AuthView):
    authentication_classes = ()

    @extend_schema(request=TiledRefreshToken, responses={204: None} | answers(401))
    def post(self, request: Request) -> HttpResponseBase:
        """Ends the session of a refresh token, which is spent for that."""
        end_session(session_of(refreshed(refresh_token(request)).access), "logout")
        return HttpResponse(status=204)


class ClientLogoutView(Speaking, AuthView):
    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request) -> HttpResponseBase:
        """Ends the session whose access token is sent."""
        if not isinstance(request.auth, Session):
            raise Problem(401, "Send the access token of the session that shall end.")
        end_session(request.auth, "logout")
        return HttpResponse(status=204)


class Everybody(SignIn):
    """API tokens, too: they learn whose they are."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return True


class ClientWhoAmIView(Speaking, AuthView):
    permission_classes = (Everybody,)
    required_scope = None

    @extend_schema(request=None, responses=spoken(TiledPrincipal))
    def get(self, request: Request) -> HttpResponseBase:
        """The caller, as the clients show them."""
        user = request.user
        if not isinstance(user, User):
            raise Problem(401, "Nobody is signed in.", {"WWW-Authenticate": "Bearer"})
        keys = [] if isinstance(request.auth, APIToken) else [key(t) for t in tokens_of(request)]
        return wire.uncached(
            request,
            {
                "uuid": principal(user),
                "type": "user",
                "identities": [identity(user)["identity"] | {"latest_login": user.last_login}],
                "roles": [{"name": "user", "scopes": SCOPES}],
                "api_keys": keys,
                "sessions": [],
                "latest_activity": None,
            },
        )


class NewKey(serializers.Serializer[Any]):
    scopes = serializers.ListField(child=serializers.CharField(), allow_null=True, default=None)
    expires_in = serializers.IntegerField(min_value=1, allow_null=True, default=None)
    note = serializers.CharField(max_length=100, allow_null=True, allow_blank=True, default=None)


class OwnKeys(OwnTokens):
    """An API token, too, may ask what it is."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.method == "GET" or super().has_permission(request, view)


class KeysView(Speaking, AuthView):
    permission_classes = (OwnKeys,)

    @extend_schema(request=None, responses=spoken(TiledKey))
    def get(self, request: Request) -> HttpResponseBase:
        """The API key by which the caller asks."""
        if not isinstance(request.auth, APIToken):
            raise Problem(401, "No API key was sent.", {"WWW-Authenticate": "Apikey"})
        return wire.uncached(request, key(request.auth))

    @extend_schema(request=NewKey, responses=spoken(TiledNewKey))
    def post(self, request: Request) -> HttpResponseBase:
        """A new API key. Its secret is in this answer only."""
        given = NewKey(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        user = owner(request)
        seconds = asked["expires_in"]
        if seconds is not None and seconds > longest(user).total_seconds():
            raise Problem(400, f"expires_in: at most {longest(user).days} days for you.")
        lifetime = DEFAULT_LIFETIME if seconds is None else timedelta(seconds=seconds)
        limits = Limits(scopes=_scopes(asked["scopes"]))
        lifetime = min(lifetime, longest(user))
        check_within_rights(request, limits, lifetime)
        token, text = make_token(user, asked["note"] or "tiled", limits, lifetime)
        return wire.uncached(request, key(token) | {"secret": text})

    @extend_schema(
        parameters=[OpenApiParameter("first_eight", str, required=True)],
        responses={204: None} | answers(404),
    )
    def delete(self, request: Request) -> HttpResponseBase:
        """Revokes a key of the caller."""
        first = request.query_params.get("first_eight", "")
        found = [token for token in tokens_of(request) if token.key[:8] == first]
        if not found:
            raise not_found()
        for token in found:
            revoke_token(token)
        return HttpResponse(status=204)


def _scopes(asked: list[str] | None) -> list[str]:
    if asked is None or asked == ["inherit"]:
        return SCOPES
    if unknown := sorted(set(asked) - set(SCOPES)):
        raise Problem(400, f"scopes: {', '.join(unknown)[:200]} is not given here.")
    return asked


def key(token: APIToken) -> dict[str, Any]:
    return {
        "first_eight": token.key[:8],
        "expiration_time": token.expires,
        "note": token.name,
        "scopes": token.scopes,
        "access_tags": None,
        "latest_activity": token.last_used,
    }


def tokens(made: Tokens) -> dict[str, Any]:
    return {
        "access_token": made.access,
        "expires_in": made.expires_in,
        "refresh_token": made.refresh,
        "refresh_token_expires_in": int(REFRESH.total_seconds()),
        "token_type": "bearer",
    }


def identity(user: User, provider: str = PROVIDER) -> dict[str, Any]:
    return {
        "identity": {"id": user.username, "provider": provider},
        "principal": principal(user),
    }


def principal(user: User) -> str:
    """A uuid that stays the user's."""
    return str(uuid.uuid5(PRINCIPALS, user.username))


def refresh_token(request: Request) -> str:
    given = request.data.get("refresh_token") if isinstance(request.data, dict) else None
    if not isinstance(given, str):
        raise Problem(400, "The body must be a JSON object with refresh_token.")
    return given
