"""Who is asking: a bearer token from programs, the Django session from browsers."""

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, Throttled
from rest_framework.request import Request

from broker_site.timing import phase
from policies.addresses import client_address
from policies.audit import note_refusal
from policies.models import APIToken, Session, User
from policies.sessions import TokenRefused, session_of
from policies.throttling import admit_anonymous
from policies.tokens import PREFIX, APITokenRefused, token_of


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access or API token>`, or `Apikey <API token>` as Tiled's clients
    send it. Any other Authorization header is refused.
    """

    def authenticate(self, request: Request) -> tuple[User, Session | APIToken] | None:
        header = request.headers.get("Authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme.lower() not in ("bearer", "apikey"):
            raise AuthenticationFailed("Use 'Authorization: Bearer <token>'.")
        with phase("auth"):
            credential = _credential(request, token.strip(), scheme.lower() == "apikey")
        _refuse_two_users(request, credential.user)
        return credential.user, credential

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class BrowserAuthentication(SessionAuthentication):
    """The session of the web pages; changes need its CSRF token."""


def _credential(request: Request, token: str, must_be_api: bool) -> Session | APIToken:
    try:
        if must_be_api or token.startswith(PREFIX):
            return token_of(token, client_address(request._request))
        return session_of(token)
    except APITokenRefused as error:
        note_refusal(reason=f"API token: {error.reason}", token=error.key)
    except TokenRefused as error:
        note_refusal(reason=str(error) or "access token not valid")
    # Whose token fails is nobody, and must not be faster at guessing than nobody is.
    if not admit_anonymous(request._request):
        raise Throttled(60)
    raise AuthenticationFailed("The token is not valid or has expired.")


def _refuse_two_users(request: Request, user: User) -> None:
    """A cookie of somebody else beside the token: a mistake or an attack, never meant."""
    browser_user = getattr(request._request, "user", None)
    if browser_user is not None and browser_user.is_authenticated and browser_user != user:
        note_refusal(reason="token and cookie of two users")
        raise AuthenticationFailed("The token and the session cookie belong to different users.")
