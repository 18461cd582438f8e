"""Sign-in of programs: signed tokens over a session in the database.

The session decides, the tokens only point at it: an access token stops working the
moment its session ends, the user is deactivated or the password changes. A refresh
token works once; one that is spent ends the session, because somebody has a copy.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt import tokens as jwt_tokens
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import ExpiredTokenError, TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import Token

from policies import audit
from policies.models import Session, User

REFRESH = cast(timedelta, settings.SIMPLE_JWT["REFRESH_TOKEN_LIFETIME"])
RACE = timedelta(seconds=30)
"""for clients whose processes share a refresh token: used again within it, it is refused only"""


# Asked at every request: composing it by the ORM takes several times longer than running it.
# The other columns of the user are read when somebody asks for them.
NEEDED = {"id", "username", "password", "is_active", "is_staff", "is_superuser", "data_admin"}
USER_FIELDS = [field for field in User._meta.concrete_fields if field.column in NEEDED]
RUNNING = f"""
SELECT session.password_hash, {", ".join(f"person.{field.column}" for field in USER_FIELDS)}
FROM policies_session AS session JOIN policies_user AS person ON person.id = session.user_id
WHERE session.id = %s AND session.ended IS NULL AND session.expires > %s AND person.is_active
"""  # noqa: S608 (composed of our own names)


class RememberingBackend(TokenBackend):
    """Checks each signature once: doing so again gives the same. What changes with time, the end
    of a token and its session, is looked at in each request.
    """

    def __init__(self) -> None:
        names = "ALGORITHM", "SIGNING_KEY", "VERIFYING_KEY", "AUDIENCE", "ISSUER"
        super().__init__(*(getattr(api_settings, name) for name in names))
        self._decoded = lru_cache(maxsize=4096)(super().decode)

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        return dict(self._decoded(token, verify))


BACKEND = RememberingBackend()


class CheckedTimes(Token):
    """The signature says who wrote a token, not that it is well-formed."""

    def get_token_backend(self) -> TokenBackend:
        return BACKEND

    def verify(self) -> None:
        if any(type(self.payload.get(name)) is not int for name in ("exp", "iat")):
            raise TokenError("Token has no times")
        super().verify()

    def check_exp(self, claim: str = "exp", current_time: datetime | None = None) -> None:
        try:
            super().check_exp(claim, current_time)
        except TokenError as error:
            raise ExpiredTokenError(*error.args) from None


class AccessToken(CheckedTimes, jwt_tokens.AccessToken):
    pass


class RefreshToken(CheckedTimes, jwt_tokens.RefreshToken):  # type: ignore[misc]  # its two bases
    access_token_class = AccessToken


class TokenRefused(Exception):
    """The token is not valid (any more). Its text is for the audit trail, not the caller."""


@dataclass(frozen=True)
class Tokens:
    access: str
    refresh: str
    expires_in: int
    """seconds until the access token expires"""


@dataclass(frozen=True)
class Claims:
    user: str
    session: uuid.UUID
    token_id: uuid.UUID


def begin_session(user: User) -> Tokens:
    """A new session; the user has proven who they are."""
    session = Session.objects.create(
        user=user,
        refresh_id=uuid.uuid4(),
        password_hash=user.get_session_auth_hash(),
        expires=timezone.now() + REFRESH,
    )
    began = {"session": str(session.pk)}
    audit.record(audit.Kind.SIGN_IN, user=user, result="program", details=began)
    return _tokens(session)


def session_of(access_token: str) -> Session:
    """The running session that an access token points at, with its user."""
    return _session(_claims(AccessToken, access_token))


def refresh_session(refresh_token: str, *, race: timedelta = timedelta(0)) -> Tokens:
    """New tokens for a refresh token, which is spent by this.

    race: how long after that the same token is refused without ending the session.
    """
    claims = _claims(RefreshToken, refresh_token)
    session = _session(claims)
    session.refresh_id = uuid.uuid4()
    session.expires = timezone.now() + REFRESH
    # One statement both checks and spends: of many at the same time, one wins.
    won = Session.objects.filter(pk=session.pk, refresh_id=claims.token_id, ended=None).update(
        refresh_id=session.refresh_id,
        spent_id=claims.token_id,
        refreshed=timezone.now(),
        expires=session.expires,
    )
    if won:
        return _tokens(session)
    if race and _spent_within(race, claims):
        raise TokenRefused("refresh token used again at once")
    end_session(session, "refresh token used twice")
    raise TokenRefused("refresh token used twice")


def _spent_within(race: timedelta, claims: Claims) -> bool:
    """Whether the last refresh, a moment ago, was by this very token."""
    recent = Session.objects.filter(refreshed__gt=timezone.now() - race)
    return recent.filter(pk=claims.session, spent_id=claims.token_id).exists()


def end_session(session: Session, reason: str) -> None:
    """Its tokens stop working at once."""
    name = {"session": str(session.pk)}
    with transaction.atomic():
        ended = Session.objects.filter(pk=session.pk, ended=None).update(
            ended=timezone.now(), end_reason=reason
        )
        if ended:
            kind = audit.Kind.SESSION_ENDED
            audit.record(kind, user=session.user, result=reason, details=name)


def _session(claims: Claims) -> Session:
    session = running_session(claims.session)
    if str(session.user_id) != claims.user:
        raise TokenRefused("token of another user")
    return session


def running_session(session_id: uuid.UUID) -> Session:
    """The session with its user, read now; TokenRefused unless it is still good."""
    database = connections[DEFAULT_DB_ALIAS]
    # As the columns hold them, which for SQLite is as texts.
    key = Session._meta.pk.get_db_prep_value(session_id, database)
    now = database.ops.adapt_datetimefield_value(timezone.now())
    with database.cursor() as cursor:
        cursor.execute(RUNNING, [key, now])
        row = cursor.fetchone()
    if row is None:
        raise TokenRefused("session ended or user deactivated")
    password_hash, *values = row
    known = {f.attname: f.to_python(v) for f, v in zip(USER_FIELDS, values, strict=True)}
    user = User.from_db(database.alias, known.keys(), known.values())
    if not constant_time_compare(password_hash, user.get_session_auth_hash()):
        raise TokenRefused("password changed")
    session = Session.from_db(database.alias, ["id", "user_id"], [session_id, user.pk])
    session.user = user
    return session


def _tokens(session: Session) -> Tokens:
    refresh = RefreshToken.for_user(session.user)
    refresh["sid"] = str(session.pk)
    refresh["jti"] = str(session.refresh_id)
    access = refresh.access_token
    return Tokens(str(access), str(refresh), int(access.lifetime.total_seconds()))


def _claims(kind: type[AccessToken | RefreshToken], token: str) -> Claims:
    """What a token says, after its signature, times, audience and kind are checked."""
    try:
        payload = kind(cast(Any, token)).payload  # the library's own type of a text
    except ExpiredTokenError:
        raise TokenRefused("token expired") from None
    except (TokenError, ValueError, TypeError, OverflowError):
        raise TokenRefused from None
    return Claims(str(payload.get("sub")), _uuid(payload.get("sid")), _uuid(payload.get("jti")))


def _uuid(value: object) -> uuid.UUID:
    try:
        return uuid.UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise TokenRefused from None
