"""The page on which a principal investigator makes a proposal public before its time."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from policies.embargo import EmbargoError, may_release, release_now
from policies.models import Proposal, User


class ReleaseForm(forms.Form):
    reason = forms.CharField(max_length=500)
    sure = forms.BooleanField(label="I know that what has been public stays known.")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def release(request: HttpRequest, proposal_id: str) -> HttpResponse:
    """Asks for a reason, and releases. Not there for those who may not."""
    proposal = Proposal.objects.filter(proposal_id=proposal_id).first()
    user = request.user
    if proposal is None or not isinstance(user, User) or not may_release(user, proposal):
        raise Http404
    form = ReleaseForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            release_now(proposal, user, form.cleaned_data["reason"])
        except EmbargoError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Proposal {proposal.proposal_id} is public now.")
            return redirect("account")
    context = {"proposal": proposal, "form": form, "section": "account"}
    status = 200 if request.method != "POST" else 400
    return render(request, "admin/policies/release.html", context, status=status)
