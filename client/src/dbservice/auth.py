"""Signing in: access tokens for who asks, from a token given, a session kept, or a person."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import urlsplit

from dbservice.errors import BrokerWarning, SignInNeeded, error_of
from dbservice.tokens import TokenStore
from dbservice.wire import PASSING, Request, Response, Send, backoff, retry_after

TOKEN_VARIABLE = "DBSERVICE_TOKEN"  # noqa: S105 (a name)
EARLY = 30.0
"""seconds before its end at which an access token is renewed"""
RENEW_TRIES = 4


class Auth:
    """The tokens of one user at one server. Safe for threads; asks a person if one is there.

    send: performs a Send. token: an API token or access token that is used as it is.
    """

    def __init__(
        self,
        server: str,
        send: Callable[[Send], Response],
        *,
        token: str | None = None,
        user: str | None = None,
        anonymous: bool = False,
    ) -> None:
        self.server = server
        self.anonymous = anonymous
        self.store = TokenStore()
        self._send = send
        self._given = None if anonymous else token or os.environ.get(TOKEN_VARIABLE)
        self._user = user
        self._access: str | None = None
        self._expires = 0.0
        self._refresh: str | None = None
        """of a session that is not to be remembered"""
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"Auth({self.server!r}, user={self.user!r})"

    @property
    def user(self) -> str | None:
        """Who is signed in, or will be; None if that is not known."""
        if self._given or self.anonymous:
            return None
        return self._user or self.store.last_user(self.server)

    @property
    def is_given(self) -> bool:
        """Whether a token was given, which is used as it is."""
        return self._given is not None

    @property
    def identity(self) -> str:
        """What tells the answers for this user from those for others; no secret."""
        if self._given:
            return hashlib.sha256(self._given.encode()).hexdigest()
        return self.user or ""

    def token(self, spent: str | None = None) -> str | None:
        """The token to send, None for nobody. spent: one that the service refused.

        Raises SignInNeeded if there is none and nobody to ask.
        """
        if self.anonymous:
            return None
        if self._given:
            if spent:
                raise SignInNeeded(f"The token given, or in ${TOKEN_VARIABLE}, is not valid.", 401)
            return self._given
        with self._lock:
            fresh = self._access and time.monotonic() < self._expires - EARLY
            if not (fresh and self._access != spent) and not self._renew():
                self.login()
            return self._access

    def login(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        device: bool = False,
        remember: bool = True,
    ) -> None:
        """Signs in with a password, or in the browser by a code; asks for what is not given."""
        if not device:
            username = username or self._ask_name()
        with self._lock:
            if device or not username:
                tokens = self._sign_in_by_browser()
            else:
                tokens = self._sign_in(username, password)
            self._adopt(tokens)
            self._user = username or self._name()
            self._given, self.anonymous = None, False
            self._keep(self._user, tokens["refresh"], remember=remember, signed_in=True)

    def logout(self) -> None:
        """Ends the session at the service and forgets its tokens."""
        with self._lock:
            user = self.user
            if self._given:
                self._given = None
                return
            if self._access or (user and self._renew()):
                self._post("auth/logout/", None)
            self._access = self._refresh = None
            if user:
                self.store.forget(self.server, user)

    def _renew(self) -> bool:
        """Whether the kept session gave a new access token."""
        user = self.user
        if not user:
            return False
        if self._refresh:
            return self._renewed(user, self._refresh, remember=False)
        # Read again under the lock: another process may have spent what was kept before.
        with self.store.locked(self.server):
            refresh = self.store.refresh_token(self.server, user)
            return bool(refresh) and self._renewed(user, str(refresh), remember=True)

    def _renewed(self, user: str, refresh: str, *, remember: bool) -> bool:
        response = self._post_patiently("auth/token/refresh/", {"refresh": refresh})
        if response.status in (400, 401):
            self._refresh = self._access = None
            self.store.forget(self.server, user)
            return False
        tokens = _content(response)
        self._adopt(tokens)
        self._keep(user, tokens["refresh"], remember=remember)
        return True

    def _keep(self, user: str, refresh: str, *, remember: bool, signed_in: bool = False) -> None:
        """For the next start if that is wanted and possible, else for this one."""
        self._refresh = refresh
        if not remember:
            return
        try:
            self.store.remember(self.server, user, refresh, signed_in=signed_in)
        except OSError as error:  # a home that cannot be written to
            message = f"You stay signed in until this program ends: {error}"
            warnings.warn(message, BrokerWarning, stacklevel=4)
        else:
            self._refresh = None

    def _post_patiently(self, path: str, body: Any) -> Response:
        """Waits while the service is busy; it has not looked at the token then."""
        for attempt in range(1, RENEW_TRIES):
            response = self._post(path, body)
            if response.status not in PASSING:
                return response
            asked = retry_after(response.headers.get("retry-after", ""))
            time.sleep(min(backoff(attempt) if asked is None else asked, 60))
        return self._post(path, body)

    def _adopt(self, tokens: dict[str, Any]) -> None:
        self._access = tokens["access"]
        self._expires = time.monotonic() + float(tokens.get("expires_in", 600))

    def _ask_name(self) -> str:
        self._require_person()
        return _answer(input, f"User name at {self.server} (empty: sign in with the browser): ")

    def _require_person(self) -> None:
        if not (in_notebook() or (sys.stdin and sys.stdin.isatty())):
            raise SignInNeeded(
                f"Nobody is signed in at {self.server}, and there is no terminal to ask. Set"
                f" ${TOKEN_VARIABLE} to an API token (made on the account page), or run"
                " `dbservice login` first; connect(url, anonymous=True) reads public runs."
            )

    def _sign_in(self, username: str, password: str | None) -> dict[str, Any]:
        if password is None:
            self._require_person()
            password = _answer(getpass.getpass, f"Password of {username}: ")
        _warn_of_plain_text(self.server)
        response = self._post("auth/token/", {"username": username, "password": password})
        if response.status == 401 and b"auth/device/" in bytes(response.content):
            return self._sign_in_by_browser()  # a second factor is needed
        return _content(response)

    def _sign_in_by_browser(self) -> dict[str, Any]:
        """RFC 8628: a person confirms a code in the browser while this waits."""
        name = "".join(c for c in f"dbservice on {socket.gethostname()}"[:80] if c.isascii())
        started = _content(self._post("auth/device/", {"client_name": name.replace("\n", " ")}))
        show_code(started)
        wait = float(started["interval"])
        deadline = time.monotonic() + float(started["expires_in"])
        while time.monotonic() < deadline:
            time.sleep(wait)
            response = self._post("auth/device/token/", {"device_code": started["device_code"]})
            reason = response.json().get("error") if response.status == 400 else None
            if reason == "slow_down":
                wait += 5
            elif reason != "authorization_pending":
                return _content(response)
        raise SignInNeeded("Nobody confirmed the code in time. Sign in again.")

    def _name(self) -> str:
        who = _content(self._send(Send(Request("GET", "auth/whoami/"), self._access)))
        return str((who.get("user") or {}).get("username") or "")

    def _post(self, path: str, body: Any) -> Response:
        return self._send(Send(Request("POST", path, body=body), self._access))


def _content(response: Response) -> dict[str, Any]:
    if response.status >= 400:
        error = error_of(response.status, response.headers, bytes(response.content))
        if "error_description" in error.about:
            raise SignInNeeded(str(error.about["error_description"]), response.status)
        raise error
    content: dict[str, Any] = response.json()
    return content


def _answer(ask: Callable[[str], str], prompt: str) -> str:
    try:
        return ask(prompt).strip() if ask is input else ask(prompt)
    except (EOFError, NotImplementedError):  # a notebook that is run by a program
        raise SignInNeeded(f"Nobody answers here; set ${TOKEN_VARIABLE} to an API token.") from None


def _warn_of_plain_text(server: str) -> None:
    parts = urlsplit(server)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        message = f"{server} is not encrypted: others on the network can read the password."
        warnings.warn(message, BrokerWarning, stacklevel=4)


def in_notebook() -> bool:
    """Whether a person with a notebook is there. Never imports IPython."""
    find_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = find_shell() if find_shell is not None else None
    return shell is not None and hasattr(shell, "kernel")


def show_code(started: dict[str, Any]) -> None:
    """The link and the code of a sign-in in the browser, and a QR code if segno is installed."""
    link = str(started.get("verification_uri_complete") or started["verification_uri"])
    page, code = str(started["verification_uri"]), str(started["user_code"])
    if in_notebook():
        from IPython.display import HTML, display

        display(
            HTML(
                f'<p>Open <a href="{escape(link)}" target="_blank" rel="noopener">'
                f"{escape(page)}</a> and confirm the code <b><code>{escape(code)}</code></b>.</p>"
                f"{_qr_svg(link)}"
            )
        )
    else:
        print(f"Open {page} and confirm the code {code}", file=sys.stderr)
        _print_qr(link)


def _qr_svg(link: str) -> str:
    try:
        import segno
    except ImportError:
        return ""
    return str(segno.make(link).svg_inline(scale=4))


def _print_qr(link: str) -> None:
    try:
        import segno
    except ImportError:
        return
    if sys.stderr.isatty():
        segno.make(link).terminal(out=sys.stderr, compact=True)
