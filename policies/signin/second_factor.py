"""Second factors: who needs one where, and how their secrets are kept."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import is_mfa_enabled
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from broker_site.problems import Problem, problem_response
from policies.audit import record
from policies.models import AuditEvent, User

OPEN = ("/accounts/2fa/", "/accounts/reauthenticate/", "/login/", "/logout/", "/static/")
"""where staff without a second factor may go, to set one up"""


def password_is_enough(user: User) -> bool:
    """False for who has a second factor, and for staff who are obliged to have one."""
    return not is_mfa_enabled(user) and not _lacks_factor(user)


def _lacks_factor(user: User) -> bool:
    obliged = settings.REQUIRE_STAFF_MFA and (user.is_staff or user.is_superuser)
    return obliged and not is_mfa_enabled(user)


class StaffSecondFactorMiddleware:
    """Keeps staff who signed in without a second factor to the pages that set one up."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = getattr(request, "user", None)  # a program's is not known yet
        if request.path_info.startswith(OPEN) or not isinstance(user, User):
            return self.get_response(request)
        if not _lacks_factor(user):
            return self.get_response(request)
        if request.path_info.startswith("/api/"):
            detail = "Staff need a second factor: set one up at /accounts/2fa/ first."
            return problem_response(Problem(403, detail))
        return redirect("mfa_index")


def on_wrong_factor(sender: Any, user: User, authenticator: Authenticator, **more: Any) -> None:
    details = {"factor": authenticator.type}
    record(AuditEvent.Kind.SIGN_IN_FAILED, user=user, result="wrong factor", details=details)


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Keeps secrets encrypted: a copy of the database makes no codes."""

    def encrypt(self, text: str) -> str:
        return _cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _cipher().decrypt(encrypted_text.encode()).decode()


def _cipher() -> MultiFernet:
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    keys = [hashlib.sha256(b"second factors\n" + secret.encode()).digest() for secret in secrets]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
