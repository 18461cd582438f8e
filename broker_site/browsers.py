"""Middleware that browsers need, and that programs need not wait for."""

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.utils.deprecation import MiddlewareMixin


class ForBrowsers(MiddlewareMixin):
    """Passed by where the API is asked without a cookie: there is no session to look up."""

    def __call__(self, request: HttpRequest) -> Any:
        if request.path.startswith("/api/") and "HTTP_COOKIE" not in request.META:
            return self.get_response(request)
        return super().__call__(request)


class Sessions(ForBrowsers, SessionMiddleware):
    pass


class Users(ForBrowsers, AuthenticationMiddleware):
    """The user of the session."""


class Messages(ForBrowsers, MessageMiddleware):
    pass
