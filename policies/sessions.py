"""Sign-in of programs: signed tokens over a session in the database.

The session decides, the tokens only point at it: an access token stops working the
moment its session ends, the user is deactivated or the password changes. A refresh
token works once; one that is spent ends the session, because somebody has a copy.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, cast

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rest_framework_simplejwt.exceptions import TokenBackendError
from rest_framework_simplejwt.state import token_backend

from policies import audit
from policies.models import Session, User

ACCESS = cast(timedelta, settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"])
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
    return _session(_claims(access_token, "access"))


def refresh_session(refresh_token: str, *, race: timedelta = timedelta(0)) -> Tokens:
    """New tokens for a refresh token, which is spent by this.

    race: how long after that the same token is refused without ending the session.
    """
    claims = _claims(refresh_token, "refresh")
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
    return Tokens(
        access=_signed(session, "access", uuid.uuid4(), ACCESS),
        refresh=_signed(session, "refresh", session.refresh_id, REFRESH),
        expires_in=int(ACCESS.total_seconds()),
    )


def _signed(session: Session, kind: str, token_id: uuid.UUID, lifetime: timedelta) -> str:
    now = int(time.time())
    return token_backend.encode(
        {
            "token_type": kind,
            "sub": str(session.user_id),
            "sid": str(session.pk),
            "jti": str(token_id),
            "iat": now,
            "exp": now + int(lifetime.total_seconds()),
        }
    )


def _claims(token: str, kind: str) -> Claims:
    """What a token says, after its signature, times, audience and kind are checked."""
    payload = _payload(token)
    # The signature says who wrote it, not that it is well-formed.
    times = (payload.get("exp"), payload.get("iat"))
    if payload.get("token_type") != kind or any(type(value) is not int for value in times):
        raise TokenRefused
    if payload["exp"] <= time.time():
        raise TokenRefused("token expired")
    return Claims(str(payload.get("sub")), _uuid(payload.get("sid")), _uuid(payload.get("jti")))


@lru_cache(maxsize=4096)
def _payload(token: str) -> dict[str, Any]:
    """What a token with a good signature says. Kept, because checking one again gives the same;
    what changes with time, its end and its session, is asked for at each request.
    """
    try:
        return token_backend.decode(cast(Any, token))  # stubs ask for a Token
    except (TokenBackendError, ValueError, TypeError, UnicodeError):
        raise TokenRefused from None


def _uuid(value: object) -> uuid.UUID:
    try:
        return uuid.UUID(value if isinstance(value, str) else "")
    except ValueError:
        raise TokenRefused from None
