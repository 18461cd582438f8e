"""Routes under /api/v1/auth/."""

from dataclasses import asdict
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from django.conf import settings
from django.contrib.auth import authenticate
from django.contrib.auth.signals import user_logged_in
from django.db.models import QuerySet
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from drf_spectacular.utils import extend_schema, extend_schema_view, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet
from rest_framework_simplejwt.views import TokenViewBase

from broker_site.openapi import answers
from broker_site.parameters import Parameters
from broker_site.problems import Problem, not_found
from policies.audit import note_refusal
from policies.models import APIToken, Beamline, Membership, Session, User
from policies.permissions import OwnTokens, ReadOnly, SignIn
from policies.requests import access_for
from policies.schemas import APITokenPage, MadeAPIToken, WhoAmI
from policies.sessions import (
    TokenRefused,
    Tokens,
    begin_session,
    end_session,
    refresh_session,
)
from policies.signin.second_factor import password_is_enough
from policies.tokens import (
    MAX_TOKENS,
    Limits,
    longest,
    make_token,
    revoke_token,
    unreadable,
    unwritable,
)

SECOND_FACTOR = (
    "This account signs in with a second factor: use the device sign-in, auth/device/, which is"
    " confirmed in the browser, or an API token."
)
DEFAULT_TOKEN_DAYS = 30
LONGEST_TOKEN_DAYS = 32_767  # more than anybody can be allowed
DAY = 86_400


class Credentials(serializers.Serializer[Any]):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=1000, trim_whitespace=False)


class RenewalRequest(serializers.Serializer[Any]):
    refresh = serializers.CharField(max_length=5000)


class Network(serializers.CharField):
    """An address, or a network as 10.1.0.0/16."""

    def to_internal_value(self, data: Any) -> str:
        try:
            return str(ip_network(super().to_internal_value(data)))
        except ValueError:
            raise serializers.ValidationError(
                "must be an address or a network such as 10.1.0.0/16."
            ) from None


class NewAPIToken(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(APIToken.Scope.choices), allow_empty=False
    )
    expires_in = serializers.IntegerField(
        min_value=60,
        max_value=LONGEST_TOKEN_DAYS * DAY,
        default=DEFAULT_TOKEN_DAYS * DAY,
        help_text="seconds",
    )
    proposals = serializers.ListField(
        child=serializers.CharField(max_length=100),
        allow_empty=False,
        max_length=1000,
        allow_null=True,
        default=None,
    )
    catalogs = serializers.ListField(
        child=serializers.ChoiceField([catalog.name for catalog in settings.CATALOGS]),
        allow_empty=False,
        allow_null=True,
        default=None,
    )
    allowed_ips = serializers.ListField(
        child=Network(max_length=50),
        allow_empty=False,
        max_length=100,
        allow_null=True,
        default=None,
    )

    def to_internal_value(self, data: Any) -> Any:
        values = super().to_internal_value(data)
        if unknown := sorted(set(data) - set(self.fields)):
            raise serializers.ValidationError({name: "is unknown." for name in unknown})
        return values


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


class NewSession(Credentials):
    """Turns credentials into the tokens of a new session."""

    def validate(self, attrs: dict[str, str]) -> dict[str, Any]:
        return asdict(begin_session(authenticated(self.context["request"], attrs)))


class RenewedSession(RenewalRequest):
    """Turns a refresh token into new tokens; using a spent one ends the session."""

    def validate(self, attrs: dict[str, str]) -> dict[str, Any]:
        return asdict(refreshed(attrs["refresh"]))


class SessionTokensView(AuthView, TokenViewBase):
    """Base of the routes that answer with tokens: what the serializer makes of the body."""

    permission_classes = (SignIn,)  # type: ignore[assignment]  # the library has none
    authentication_classes = ()

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        Parameters.of(request)
        return super().post(request, *args, **kwargs)


@extend_schema_view(post=extend_schema(request=Credentials, responses={200: TOKENS} | answers(401)))
class TokenView(SessionTokensView):
    """Signs in with user name and password; begins a session."""

    serializer_class = NewSession


@extend_schema_view(
    post=extend_schema(request=RenewalRequest, responses={200: TOKENS} | answers(401))
)
class TokenRefreshView(SessionTokensView):
    """New tokens for a refresh token. Using a spent one ends the session."""

    serializer_class = RenewedSession


def signed_in(request: Request, credentials: Any) -> User:
    """The person whose user name and password these are. Problem (401) if they are nobody's."""
    given = Credentials(data=credentials)
    given.is_valid(raise_exception=True)
    return authenticated(request, given.validated_data)


def authenticated(request: Request, credentials: dict[str, str]) -> User:
    # Counted as failed, or remembered, on the request that the middlewares see.
    user = authenticate(request._request, **credentials)
    if not isinstance(user, User):
        raise _refused("No active account has this user name and password.")
    if not password_is_enough(user):
        raise _refused(SECOND_FACTOR)
    user_logged_in.send(type(user), request=request._request, user=user)
    return user


def refreshed(refresh_token: str, *, race: timedelta = timedelta(0)) -> Tokens:
    """As `refresh_session`. Problem (401), which the trail has, if the token is refused."""
    try:
        return refresh_session(refresh_token, race=race)
    except TokenRefused as error:
        note_refusal(reason=str(error) or "not valid")
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


class APITokenViewSet(ViewSet):
    """The API tokens of the caller."""

    permission_classes = (OwnTokens,)

    @extend_schema(responses={200: APITokenPage})
    def list(self, request: Request) -> Response:
        """The caller's API tokens that are not revoked, newest first."""
        Parameters.of(request)
        return Response(
            {
                "next": None,
                "previous": None,
                "results": [token_summary(t) for t in tokens_of(request)],
            }
        )

    @extend_schema(request=NewAPIToken, responses={201: MadeAPIToken})
    def create(self, request: Request) -> Response:
        """A new API token. Its text, `token`, is shown in this answer only."""
        Parameters.of(request)
        given = NewAPIToken(data=request.data)
        given.is_valid(raise_exception=True)
        wanted = dict(given.validated_data)
        name, lifetime = wanted.pop("name"), timedelta(seconds=wanted.pop("expires_in"))
        limits = Limits(**wanted)
        check_within_rights(request, limits, lifetime)
        token, text = make_token(owner(request), name, limits, lifetime)
        return Response(token_summary(token) | {"token": text}, status=201)

    @extend_schema(responses={204: None} | answers(404))
    def destroy(self, request: Request, pk: int) -> Response:
        """Revokes an API token of the caller; it stops working at once."""
        Parameters.of(request)
        token = tokens_of(request).filter(pk=pk).first()
        if token is None:
            raise not_found()
        revoke_token(token)
        return Response(status=204)


def check_within_rights(request: Request, limits: Limits, lifetime: timedelta) -> None:
    """A token that asks for more than its owner has is refused, not cut down."""
    user = owner(request)
    if lifetime > longest(user):
        days = user.max_token_days
        raise Problem(400, f"expires_in: at most {days * DAY} seconds ({days} days) for you.")
    if unknown := unreadable(user, access_for(request), limits.proposals or ()):
        raise Problem(400, f"proposals: you may not read {', '.join(unknown)}.")
    if APIToken.Scope.WRITE in limits.scopes:
        _check_may_write(user, limits)
    if tokens_of(request).count() >= MAX_TOKENS:
        raise Problem(400, f"You have {MAX_TOKENS} tokens; delete those that are not needed.")


def _check_may_write(user: User, limits: Limits) -> None:
    if limits.catalogs is None:
        raise Problem(400, f"catalogs: name those that {APIToken.Scope.WRITE} is for.")
    if others := unwritable(user, limits.catalogs):
        raise Problem(
            400,
            f"scopes: {APIToken.Scope.WRITE} for {', '.join(others)} takes staff of its beamline"
            " or a data admin.",
        )


def tokens_of(request: Request) -> QuerySet[APIToken]:
    return APIToken.objects.filter(user=owner(request), revoked=None)


def owner(request: Request) -> User:
    """The caller, of whom the permission has made sure that it is somebody."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


def token_summary(token: APIToken) -> dict[str, Any]:
    """What is shown of a token after it has been made."""
    names = "id name key scopes proposals catalogs allowed_ips created expires last_used"
    return {name: getattr(token, name) for name in names.split()}


class WhoAmIView(APIView):
    permission_classes = (ReadOnly,)
    required_scope = None

    @extend_schema(responses={200: WhoAmI})
    def get(self, request: Request) -> Response:
        """The caller: user, roles, proposals, beamlines, and how they are authenticated."""
        Parameters.of(request)
        user = request.user
        known = user if isinstance(user, User) else None
        return Response(
            {
                "user": known and {"username": known.username, "email": known.email},
                "roles": _roles(known, request.auth),
                "proposals": _proposals(known, request.auth),
                "beamlines": _beamlines(known, request.auth),
                "authenticated_by": _method(request),
                "token": token_summary(request.auth)
                if isinstance(request.auth, APIToken)
                else None,
            }
        )


def _roles(user: User | None, auth: object) -> list[str]:
    if user is None or _narrowed(auth):
        return []
    roles = {
        "superuser": user.is_superuser,
        "data_admin": user.reads_everything,
        "staff": user.is_staff,
    }
    return [name for name, holds in roles.items() if holds]


def _proposals(user: User | None, auth: object) -> list[dict[str, Any]]:
    if user is None:
        return []
    current = Membership.objects.current().filter(user=user, proposal__locked=False)
    if isinstance(auth, APIToken) and auth.proposals is not None:
        # Who holds a token for some proposals need not learn of the owner's others.
        current = current.filter(proposal__proposal_id__in=auth.proposals)
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


def _beamlines(user: User | None, auth: object) -> list[str]:
    """Whose staff the caller is, as far as the token covers all that this gives."""
    if user is None or (isinstance(auth, APIToken) and auth.proposals is not None):
        return []
    staffed = Beamline.objects.filter(staff=user)
    if isinstance(auth, APIToken) and auth.catalogs is not None:
        covered = {c.beamline for c in settings.CATALOGS if c.name in auth.catalogs}
        staffed = staffed.filter(name__in=covered)
    return list(staffed.values_list("name", flat=True))


def _narrowed(auth: object) -> bool:
    """Who holds a token for a part of what its owner may read is told of that part only."""
    return isinstance(auth, APIToken) and not (auth.proposals is None and auth.catalogs is None)


def _method(request: Request) -> str:
    if isinstance(request.auth, Session):
        return "jwt"
    if isinstance(request.auth, APIToken):
        return "api-token"
    return "session" if request.user.is_authenticated else "anonymous"


def _refused(detail: str) -> Problem:
    """401 also on routes without authentication, where REST framework would say 403."""
    return Problem(401, detail, {"WWW-Authenticate": "Bearer"})
