"""What stops the guessing of passwords, at every door that asks for one.

django-axes counts failed sign-ins, whichever door they came through: of a name from a
network, which locks that name out from there, and of a network with any names. A name is
never locked out as such, so that nobody can lock out a victim from elsewhere.
"""

import unicodedata
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from broker_site.problems import Problem, problem_response

FAILURES_OF_A_NETWORK = 100
"""in the cool-off time, with whatever names; many people may share an address"""
DETAIL = "Too many failed sign-ins from here. Try again later."

Credentials = dict[str, Any] | None


class SignInHandler(AxesDatabaseHandler):  # type: ignore[misc]  # untyped
    def get_failures(self, request: HttpRequest, credentials: Credentials = None) -> int:
        """Failures that count against AXES_FAILURE_LIMIT."""
        of_name, of_network = (
            sum(attempts.values_list("failures_since_start", flat=True))
            for attempts in self.get_user_attempts(request, credentials)
        )
        if of_network >= FAILURES_OF_A_NETWORK:
            return max(int(of_name), int(settings.AXES_FAILURE_LIMIT))
        return int(of_name)

    def reset_user_attempts(self, request: HttpRequest, credentials: Credentials = None) -> int:
        """Forgets the failures of who has signed in, not those with other names."""
        of_name, _ = self.filter_user_attempts(request, credentials)
        return int(of_name.delete()[0])


def name_of(request: HttpRequest, credentials: Credentials = None) -> str:
    """The name that somebody signs in with, as it is counted: however it is spelt.

    A directory takes a name in any case, in full-width letters, with spaces around or with
    signs that nobody sees (RFC 4518); each spelling must not be one more set of guesses.
    """
    given = credentials or request.POST
    name = unicodedata.normalize("NFKC", str(given.get("username") or given.get("login") or ""))
    seen = (sign for sign in name.casefold() if unicodedata.category(sign)[0] not in "CZM")
    return "".join(seen)[:255]


def locked_out(
    request: HttpRequest, response: HttpResponseBase, credentials: Credentials = None
) -> HttpResponseBase:
    wait = str(int(settings.AXES_COOLOFF_TIME.total_seconds()))
    if request.path_info.startswith("/api/"):
        return problem_response(Problem(429, DETAIL, {"Retry-After": wait}))
    context = {"detail": DETAIL, "minutes": int(wait) // 60}
    page = render(request, "registration/locked_out.html", context, status=429)
    page["Retry-After"] = wait
    return page
