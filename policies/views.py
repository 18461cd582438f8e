"""Routes under /api/v1/auth/."""

from typing import Any

from django.contrib.auth import authenticate
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from broker_site.parameters import Parameters
from policies.models import Beamline, Membership, Session, User
from policies.permissions import ReadOnly, SignIn
from policies.sessions import (
    TokenRefused,
    Tokens,
    begin_session,
    end_session,
    refresh_session,
)


class Credentials(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=1000, trim_whitespace=False)


class RefreshToken(serializers.Serializer[Any]):
    refresh = serializers.CharField(max_length=5000)


TOKENS = inline_serializer(
    "Tokens",
    {
        "access": serializers.CharField(),
        "refresh": serializers.CharField(),
        "expires_in": serializers.IntegerField(help_text="seconds"),
    },
)


class AuthView(APIView):
    """Base of the routes where one signs in or out: answers are never stored."""

    permission_classes = (SignIn,)

    @method_decorator(never_cache)
    @method_decorator(sensitive_post_parameters())
    def dispatch(self, *args: Any, **kwargs: Any) -> Any:
        return super().dispatch(*args, **kwargs)


class TokenView(AuthView):
    authentication_classes = ()

    @extend_schema(request=Credentials, responses={200: TOKENS})
    def post(self, request: Request) -> Response:
        """Signs in with user name and password; begins a session."""
        Parameters.of(request)
        given = Credentials(data=request.data)
        given.is_valid(raise_exception=True)
        user = authenticate(request, **given.validated_data)
        if not isinstance(user, User):
            raise _refused("No active account has this user name and password.")
        return _answer(begin_session(user))


class TokenRefreshView(AuthView):
    authentication_classes = ()

    @extend_schema(request=RefreshToken, responses={200: TOKENS})
    def post(self, request: Request) -> Response:
        """New tokens for a refresh token. Using a spent one ends the session."""
        Parameters.of(request)
        given = RefreshToken(data=request.data)
        given.is_valid(raise_exception=True)
        try:
            return _answer(refresh_session(given.validated_data["refresh"]))
        except TokenRefused:
            raise _refused("The refresh token is not valid. Sign in again.") from None


class LogoutView(AuthView):
    @extend_schema(request=None, responses={204: None})
    def post(self, request: Request) -> Response:
        """Ends the session: its access and refresh tokens stop working at once."""
        Parameters.of(request)
        if not isinstance(request.auth, Session):
            raise _refused("Send the access token of the session that shall end.")
        end_session(request.auth, "logout")
        return Response(status=204)


class WhoAmIView(APIView):
    permission_classes = (ReadOnly,)

    @extend_schema(responses={200: dict[str, Any]})
    def get(self, request: Request) -> Response:
        """The caller: user, roles, proposals, beamlines, and how they are authenticated."""
        Parameters.of(request)
        user = request.user
        known = user if isinstance(user, User) else None
        return Response(
            {
                "user": known and {"username": known.username, "email": known.email},
                "roles": _roles(known),
                "proposals": _proposals(known),
                "beamlines": _beamlines(known),
                "authenticated_by": _method(request),
                "token": None,
            }
        )


def _roles(user: User | None) -> list[str]:
    if user is None:
        return []
    roles = {
        "superuser": user.is_superuser,
        "data_admin": user.reads_everything,
        "staff": user.is_staff,
    }
    return [name for name, holds in roles.items() if holds]


def _proposals(user: User | None) -> list[dict[str, Any]]:
    if user is None:
        return []
    current = Membership.objects.current().filter(user=user, proposal__locked=False)
    rows = current.order_by("proposal__proposal_id").values(
        "proposal__proposal_id", "proposal__title", "role", "expires"
    )
    return [
        {
            "proposal_id": row["proposal__proposal_id"],
            "title": row["proposal__title"],
            "role": row["role"],
            "expires": row["expires"],
        }
        for row in rows
    ]


def _beamlines(user: User | None) -> list[str]:
    if user is None:
        return []
    return list(Beamline.objects.filter(staff=user).values_list("name", flat=True))


def _method(request: Request) -> str:
    if isinstance(request.auth, Session):
        return "jwt"
    return "session" if request.user.is_authenticated else "anonymous"


def _answer(tokens: Tokens) -> Response:
    return Response(
        {"access": tokens.access, "refresh": tokens.refresh, "expires_in": tokens.expires_in}
    )


def _refused(detail: str) -> AuthenticationFailed:
    error = AuthenticationFailed(detail)
    error.auth_header = "Bearer"  # type: ignore[attr-defined]
    return error
