"""Sign-in of programs by the device authorization grant (RFC 8628).

A script without a browser gets a code; its user types that code into the page /device/,
where they are signed in by whatever means the institution asks for, and confirms. The
script, which has been asking meanwhile, gets a session of its own.
"""

import secrets
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.contrib.auth.signals import user_logged_in
from django.core.cache import cache
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import Throttled
from rest_framework.parsers import FormParser
from rest_framework.request import Request
from rest_framework.response import Response

from broker_site.parameters import Parameters
from broker_site.parsers import JSONParser
from policies.addresses import client_address, client_network
from policies.models import DeviceRequest, User
from policies.sessions import Tokens, begin_session
from policies.shared_cache import count
from policies.views import TOKENS, AuthView

LIFETIME = timedelta(minutes=10)
INTERVAL = 5
"""seconds that a program waits between two questions, and gets to wait longer if it does not"""
OPEN_REQUESTS = 50
"""of one client address at a time"""
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""of user codes: no vowels, so no words, and nothing that looks like something else"""
USER_CODE_LENGTH = 8
WRONG_CODES = 10
"""that a person may type within WRONG_CODES_SECONDS"""
WRONG_CODES_SECONDS = 900
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

EXPLANATIONS = {
    "authorization_pending": "Nobody has confirmed the code yet. Ask again after the interval.",
    "slow_down": "Asked too soon. Wait five seconds longer between two questions from now on.",
    "access_denied": "The person denied it, or may not sign in.",
    "expired_token": "The code has expired. Begin anew.",
    "invalid_grant": "The device code is not known, or it was used already. Begin anew.",
    "invalid_request": "Send the device_code.",
}


class DeviceClient(serializers.Serializer[Any]):
    client_name = serializers.RegexField(
        # Plain characters only: the person decides by what the page says.
        r"\A[A-Za-z0-9 .,:()/@+_-]*\Z",
        max_length=80,
        default="",
        help_text="what the person is shown, e.g. the script's name",
    )


class DeviceCode(serializers.Serializer[Any]):
    device_code = serializers.CharField(max_length=100)
    grant_type = serializers.ChoiceField(choices=[DEVICE_GRANT], required=False)


STARTED = inline_serializer(
    "DeviceAuthorization",
    {
        "device_code": serializers.CharField(),
        "user_code": serializers.CharField(),
        "verification_uri": serializers.CharField(),
        "verification_uri_complete": serializers.CharField(),
        "expires_in": serializers.IntegerField(help_text="seconds"),
        "interval": serializers.IntegerField(help_text="seconds between two questions"),
    },
)
OAUTH_ERROR = inline_serializer(
    "DeviceError",
    {
        "error": serializers.ChoiceField(choices=sorted(EXPLANATIONS)),
        "error_description": serializers.CharField(),
    },
)


class DeviceView(AuthView):
    authentication_classes = ()
    parser_classes = (JSONParser, FormParser)

    @extend_schema(request=DeviceClient, responses={200: STARTED})
    def post(self, request: Request) -> Response:
        """Begins a sign-in that a person confirms in the browser (RFC 8628)."""
        Parameters.of(request)
        given = DeviceClient(data=request.data)
        given.is_valid(raise_exception=True)
        device_code, user_code = open_request(request, given.validated_data["client_name"])
        page = page_of(request)
        return Response(
            {
                "device_code": device_code,
                "user_code": user_code,
                "verification_uri": page,
                "verification_uri_complete": page_of(request, user_code),
                "expires_in": int(LIFETIME.total_seconds()),
                "interval": INTERVAL,
            }
        )


class DeviceTokenView(AuthView):
    authentication_classes = ()
    parser_classes = (JSONParser, FormParser)

    @extend_schema(request=DeviceCode, responses={200: TOKENS, 400: OAUTH_ERROR})
    def post(self, request: Request) -> Response:
        """Tokens, once the person has confirmed; before that, an error that says what to do."""
        Parameters.of(request)
        given = DeviceCode(data=request.data)
        known = given.is_valid()
        outcome = outcome_of(given.validated_data["device_code"]) if known else "invalid_request"
        if isinstance(outcome, User):
            return Response(asdict(confirmed_session(request, outcome)))
        return Response({"error": outcome, "error_description": EXPLANATIONS[outcome]}, status=400)


def page_of(request: Request, user_code: str = "") -> str:
    """The address of the page where a person confirms a code, which it may hold already."""
    page = request.build_absolute_uri(reverse("device"))
    return f"{page}?{urlencode({'user_code': user_code})}" if user_code else page


def confirmed_session(request: Request, user: User) -> Tokens:
    """A session of the user who confirmed."""
    user_logged_in.send(User, request=request._request, user=user)
    return begin_session(user)


def open_request(request: Request, client_name: str) -> tuple[str, str]:
    """A new request's device code and user code, of which only hashes are stored."""
    now, network = timezone.now(), client_network(request._request)
    DeviceRequest.objects.filter(expires__lte=now).delete()
    if DeviceRequest.objects.filter(network=network).count() >= OPEN_REQUESTS:
        raise Throttled(wait=INTERVAL)
    device_code, letters = secrets.token_urlsafe(32), _letters()
    address = client_address(request._request)
    DeviceRequest.objects.create(
        device_code_hash=_hash("device code", device_code),
        user_code_hash=_hash("user code", letters),
        client_name=client_name,
        address=None if address is None else str(address),
        network=network,
        interval=INTERVAL,
        expires=now + LIFETIME,
    )
    return device_code, _readable(letters)


def _letters() -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(USER_CODE_LENGTH))


def _hash(kind: str, code: str) -> str:
    """Keyed, because a user code is short enough to be found by trying."""
    return salted_hmac(f"policies.signin.device {kind}", code, algorithm="sha256").hexdigest()


@transaction.atomic
def outcome_of(device_code: str) -> User | str:
    """The user who confirmed, once; else the error of RFC 8628."""
    waiting = DeviceRequest.objects.select_for_update(of=("self",)).select_related("user")
    found = waiting.filter(device_code_hash=_hash("device code", device_code)).first()
    now = timezone.now()
    if found is None:
        return "invalid_grant"
    if found.expires > now and found.answer == DeviceRequest.Answer.PENDING:
        return _wait(found, now)
    found.delete()
    if found.expires <= now:
        return "expired_token"
    confirmed = found.answer == DeviceRequest.Answer.CONFIRMED
    if confirmed and found.user is not None and found.user.is_active:
        return found.user
    return "access_denied"


def _wait(found: DeviceRequest, now: datetime) -> str:
    too_soon = found.asked is not None and now - found.asked < timedelta(seconds=found.interval)
    if too_soon:
        found.interval += INTERVAL
    found.asked = now
    found.save(update_fields=["asked", "interval"])
    return "slow_down" if too_soon else "authorization_pending"


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest) -> HttpResponse:
    """The page where a signed-in person types the code, sees who asks, and decides."""
    user = cast(User, request.user)
    given = request.POST if request.method == "POST" else request.GET
    code = _typed(given.get("user_code", ""))
    if not code:
        return _page(request, "ask")
    if cache.get(_guesses(user), 0) >= WRONG_CODES:
        response = _page(request, "too many", status=429)
        response["Retry-After"] = str(WRONG_CODES_SECONDS)
        return response
    found = _pending(code)
    if found is None:
        _count_guess(user)
        return _page(request, "unknown", status=404)
    if request.method != "POST":
        return _page(request, "decide", found=found, code=_readable(code))
    confirmed = request.POST.get("answer") == "confirm"
    answer = DeviceRequest.Answer.CONFIRMED if confirmed else DeviceRequest.Answer.DENIED
    open_still = DeviceRequest.objects.filter(pk=found.pk, answer=DeviceRequest.Answer.PENDING)
    if not open_still.update(answer=answer, user=user):
        return _page(request, "unknown", status=404)
    return _page(request, "confirmed" if confirmed else "denied", found=found)


def _page(request: HttpRequest, stage: str, status: int = 200, **context: Any) -> HttpResponse:
    return render(request, "account/device.html", {"stage": stage, **context}, status=status)


def _pending(letters: str) -> DeviceRequest | None:
    return DeviceRequest.objects.filter(
        user_code_hash=_hash("user code", letters),
        answer=DeviceRequest.Answer.PENDING,
        expires__gt=timezone.now(),
    ).first()


def _typed(code: str) -> str:
    """The letters of a code as somebody typed it."""
    return "".join(letter for letter in code[:40].upper() if letter in LETTERS)


def _readable(letters: str) -> str:
    return f"{letters[:4]}-{letters[4:]}"


def _guesses(user: User) -> str:
    return f"device-guesses-{user.pk}"


def _count_guess(user: User) -> None:
    count(cache, _guesses(user), 1, WRONG_CODES_SECONDS)
