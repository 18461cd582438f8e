"""The page on which people see and manage what is theirs."""

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from policies.embargo import may_release
from policies.models import Beamline, Membership, Proposal, Session, User
from policies.sessions import end_session

PUBLIC_SHOWN = 50


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """What I may read and why, my sessions of programs, my tokens. POST ends a session."""
    user = cast(User, request.user)  # login_required
    if request.method == "POST":
        _end(user, request.POST.get("session", ""))
        messages.success(request, "The session has ended; its tokens no longer work.")
        return redirect("account")
    return render(request, "account.html", {"section": "account", **_belongings(user)})


def _belongings(user: User) -> dict[str, object]:
    memberships = Membership.objects.filter(user=user).select_related("proposal")
    public = Proposal.objects.public()
    return {
        "memberships": memberships.order_by("-proposal__proposal_id"),
        "releasable": [row.proposal for row in memberships if _can_be_released(user, row.proposal)],
        "beamlines": Beamline.objects.all() if user.reads_everything else _staffed(user),
        "public": public.order_by("-proposal_id")[:PUBLIC_SHOWN],
        "sessions": _running(user).order_by("-created"),
    }


def _can_be_released(user: User, proposal: Proposal) -> bool:
    return not proposal.is_public and not proposal.proprietary and may_release(user, proposal)


def _staffed(user: User) -> QuerySet[Beamline]:
    return Beamline.objects.filter(staff=user)


def _running(user: User) -> QuerySet[Session]:
    return Session.objects.filter(user=user, ended=None, expires__gt=timezone.now())


def _end(user: User, session_id: str) -> None:
    try:
        session = _running(user).filter(pk=session_id).first()
    except ValidationError:  # not an id at all
        session = None
    if session is None:
        raise Http404
    end_session(session, "ended on the account page")
