"""Who is asking: a bearer token from programs, the Django session from browsers."""

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from policies.models import Session, User
from policies.sessions import TokenRefused, session_of


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access token>`. Any other Authorization header is refused."""

    def authenticate(self, request: Request) -> tuple[User, Session] | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise AuthenticationFailed("Use 'Authorization: Bearer <token>'.")
        try:
            session = session_of(token.strip())
        except TokenRefused:
            raise AuthenticationFailed("The token is not valid or has expired.") from None
        _refuse_two_users(request, session.user)
        return session.user, session

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class BrowserAuthentication(SessionAuthentication):
    """The session of the web pages; changes need its CSRF token."""


def _refuse_two_users(request: Request, user: User) -> None:
    """A cookie of somebody else beside the token: a mistake or an attack, never meant."""
    browser_user = getattr(request._request, "user", None)
    if browser_user is not None and browser_user.is_authenticated and browser_user != user:
        raise AuthenticationFailed("The token and the session cookie belong to different users.")
