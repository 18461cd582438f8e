"""The access desk: may somebody read a run, and why; who reads it; who gave what when.

It shows staff what the admin's lists show them, and of runs only those that they may read. What it
says of rights comes from the rule's own code.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from broker_site.parameters import Parameters, PlainText
from broker_site.problems import Problem, as_problem
from headers.catalogs import Catalog
from headers.finding import AmbiguousKey, RunFinder, RunNotFound
from headers.index.runs import CatalogsUnavailable
from headers.repositories import Run
from policies import audit
from policies.embargo import may_manage
from policies.explain import Decision, explain, explain_proposal
from policies.membership import grant, refusal
from policies.models import AuditEvent, Beamline, Membership, Proposal, User
from policies.principals import access_of
from policies.rule.access import Access
from policies.states import members_state, membership_state, proposal_state
from staff import simulator, timeline
from staff.guards import person, rehearsal
from staff.runs import run_row

NOBODY = ("anonymous", "-")
MATCHES = 10
GRANTING = ("policies.change_proposal", "policies.add_membership", "policies.change_membership")
INPUT = "%Y-%m-%dT%H:%M"
"""how browsers write the time of an input"""
Somebody = User | AnonymousUser


class DeskParameters(Parameters):
    person = PlainText(required=False, allow_blank=True, max_length=150)
    run = PlainText(required=False, allow_blank=True, max_length=200)
    catalog = serializers.ChoiceField(
        [c.name for c in settings.CATALOGS], required=False, allow_blank=True
    )
    proposal = PlainText(required=False, allow_blank=True, max_length=100)


@dataclass
class Asked:
    """Whom and what the desk is asked about, as far as its viewer may know of it."""

    viewer: User
    access: Access
    given: dict[str, Any]
    missing: list[str] = field(default_factory=list)
    """what there is not"""
    person: Somebody | None = None
    people: Sequence[User] = ()
    """whose names are like the one given, where nobody has it"""
    run: Run | None = None
    proposal: Proposal | None = None
    proposals: Sequence[Proposal] = ()

    @classmethod
    def by(cls, viewer: User, given: QueryDict) -> "Asked":
        """ValidationError for parameters that make no sense, CatalogsUnavailable."""
        texts = {k: v.strip() for k, v in DeskParameters.checked(given).items() if v.strip()}
        asked = cls(viewer, access_of(viewer), texts)
        for name, find in (
            ("person", asked._find_person),
            ("run", asked._find_run),
            ("proposal", asked._find_proposal),
        ):
            if name in texts:
                find(texts[name])
        return asked

    def _find_person(self, name: str) -> None:
        if name in NOBODY:
            self.person = AnonymousUser()
            return
        self.person = User.objects.filter(username=name).first()
        if self.person is None:
            self.missing.append(f"There is no user “{name}”.")
            if self.viewer.has_perm("policies.view_user"):
                names = ("username", "first_name", "last_name", "email")
                self.people = like(User.objects.order_by("username"), names, name)

    def _find_run(self, key: str) -> None:
        wanted = self.given.get("catalog")
        catalogs = [c for c in settings.CATALOGS if wanted in (None, c.name)]
        try:
            self.run = RunFinder(catalogs, self.access).find(key)
        except RunNotFound:
            self.missing.append("There is no such run that you may read.")
        except AmbiguousKey:
            self.missing.append("Several runs start with this; type more of the uid.")

    def _find_proposal(self, name: str) -> None:
        if not self.viewer.has_perm("policies.view_proposal"):
            return
        self.proposal = Proposal.objects.filter(proposal_id=name).first()
        if self.proposal is None:
            self.missing.append(f"There is no proposal “{name}”.")
            self.proposals = like(Proposal.objects.all(), ("proposal_id", "title"), name)

    # -- what the viewer is concerned with -----------------------------------------------------

    @property
    def catalogs(self) -> list[Catalog]:
        """Those of the viewer's beamlines; of the proposal's, where it names some."""
        own = [
            c
            for c in settings.CATALOGS
            if self.access.data_admin or c.beamline in self.access.beamlines
        ]
        named = self.proposal and {b.name for b in self.proposal.beamlines.all()}
        return [c for c in own if not named or c.beamline in named]

    def may_see_grants(self, proposal: Proposal | None) -> bool:
        """What happened to a proposal is for those who look after it, and who read the trail."""
        if self.viewer.has_perm("policies.view_auditevent"):
            return True
        return proposal is not None and may_manage(self.viewer, proposal)


def like(rows: QuerySet[Any], names: Iterable[str], text: str) -> list[Any]:
    """The first rows in which one of these columns holds the text, in any case."""
    found = Q()
    for name in names:
        found |= Q(**{f"{name}__icontains": text})
    return list(rows.filter(found)[:MATCHES])


# -- The page ----------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
def access_desk(request: HttpRequest) -> HttpResponse:
    """Answers about a person, a run or a proposal; by POST, grants a membership of a proposal."""
    viewer = person(request)
    if not viewer.has_perm("headers.view_runstart"):
        raise PermissionDenied
    try:
        asked = Asked.by(viewer, request.GET)
        if request.method == "POST":
            return _granted(request, asked)
        return _page(request, asked, GrantForm.about(asked))
    except CatalogsUnavailable as error:
        text = f"No answer from the database of {', '.join(error.names)}. Try again soon."
        return _failed(request, text, 503)
    except (ValidationError, Problem) as error:
        problem = as_problem(error)
        return _failed(request, problem.detail if problem else "The request is malformed.", 400)


def _failed(request: HttpRequest, problem: str, status: int) -> HttpResponse:
    return _rendered(request, {"problem": problem, "given": {}}, status)


def _page(
    request: HttpRequest, asked: Asked, form: "GrantForm | None", **more: Any
) -> HttpResponse:
    context = {
        "asked": asked,
        "given": asked.given,
        "decisions": decisions(asked),
        "partial": not asked.access.data_admin,
        **_about_run(asked),
        **_about_person(asked),
        **_about_proposal(asked),
        "form": form,
        **more,
    }
    _note(request, asked, context)
    hidden = "run" in asked.given and asked.run is None
    return _rendered(request, context, 404 if hidden else 200)


def _rendered(request: HttpRequest, context: dict[str, Any], status: int) -> HttpResponse:
    page = {
        "title": "Access desk",
        **admin.site.each_context(request),
        "catalogs": settings.CATALOGS,
    }
    return TemplateResponse(request, "admin/access/desk.html", page | context, status=status)


def _note(request: HttpRequest, asked: Asked, shown: Mapping[str, Any]) -> None:
    """What staff look up about people and runs is told in the audit trail as all reading is."""
    of_proposal = [run for part in shown.get("proposal_runs", ()) for run in part.newest]
    audit.note_runs([*([asked.run] if asked.run else ()), *of_proposal])
    if "reads" not in shown:
        return
    runs = [run for share in shown["reads"].shares for run in share.newest]
    details = {
        "what can be read by": shown["reader"],
        "runs": [[run.catalog.name, str(run.uid)] for run in runs],
    }
    audit.record_soon(
        AuditEvent.Kind.READ, request, status=200, result="simulated", details=details
    )


# -- Its parts -----------------------------------------------------------------------------------


def decisions(asked: Asked) -> list[tuple[str, Decision]]:
    """May the person read the run, or the runs of the proposal in each catalog, and why."""
    if asked.person is None:
        return []
    if asked.run is not None:
        run = asked.run
        return [(f"run {run.uid}", explain(asked.person, run.catalog, run.start))]
    if asked.proposal is None:
        return []
    name = asked.proposal.proposal_id
    return [
        (f"runs of {name} in {catalog.title}", explain_proposal(asked.person, catalog, name))
        for catalog in asked.catalogs
    ]


def _about_run(asked: Asked) -> dict[str, Any]:
    if (run := asked.run) is None:
        return {}
    proposal = Proposal.objects.filter(proposal_id=run.proposal).first()
    beamline = Beamline.objects.filter(name=run.catalog.beamline).first()
    staffed = asked.access.data_admin or run.catalog.beamline in asked.access.beamlines
    seen = asked.may_see_grants(proposal) or (proposal is None and staffed)
    return {
        "run": run_row(run),
        "keep_run": urlencode({"catalog": run.catalog.name, "run": str(run.uid)}),
        "run_catalog": run.catalog,
        "run_proposal": proposal,
        "run_proposal_state": proposal and proposal_state(proposal),
        "readers": simulator.who_can_read(run),
        "run_grants": timeline.of_run(str(run.uid), proposal, beamline) if seen else None,
    }


def _about_person(asked: Asked) -> dict[str, Any]:
    someone = asked.person
    if not isinstance(someone, User) or not asked.viewer.has_perm("policies.view_user"):
        return {}
    rows = Membership.objects.filter(user=someone).select_related("proposal")
    shown = [row for row in rows.order_by("-proposal_id") if asked.may_see_grants(row.proposal)]
    sees_all = asked.viewer.has_perm("policies.view_auditevent")
    staffed = Beamline.objects.all() if sees_all else asked.viewer.staffed_beamlines.all()
    known = None if sees_all else frozenset(_managed_by(asked.viewer))
    return {
        "reader": someone.get_username(),
        "reads": simulator.what_can_read(someone, asked.access, settings.CATALOGS),
        "memberships": [
            (row, membership_state(row), proposal_state(row.proposal)) for row in shown
        ],
        "staff_of": [str(b) for b in someone.staffed_beamlines.filter(pk__in=staffed)],
        "person_grants": timeline.of_person(someone, known, frozenset(map(str, staffed))),
    }


def _managed_by(viewer: User) -> Iterable[str]:
    """Ids of the proposals that staff of beamlines look after; see `may_manage`."""
    if viewer.reads_everything:
        return Proposal.objects.values_list("proposal_id", flat=True)
    own = Proposal.objects.filter(locked=False, beamlines__staff=viewer)
    return own.values_list("proposal_id", flat=True)


def _about_proposal(asked: Asked) -> dict[str, Any]:
    if (proposal := asked.proposal) is None:
        return {}
    seen = asked.may_see_grants(proposal)
    rows = list(proposal.memberships.select_related("user").order_by("user__username"))
    catalogs, name = asked.catalogs, proposal.proposal_id
    return {
        "keep_proposal": urlencode({"proposal": name}),
        "proposal_state": proposal_state(proposal),
        "members_state": members_state(rows),
        "members": [(row, membership_state(row)) for row in rows] if seen else None,
        "proposal_runs": simulator.runs_of_proposal(name, asked.access, settings.CATALOGS),
        "proposal_readers": [(c, simulator.readers_of(c, name)) for c in catalogs] if seen else [],
        "proposal_grants": timeline.of_proposal(proposal) if seen else None,
        "not_granting": _why_not(asked, proposal),
    }


def _why_not(asked: Asked, proposal: Proposal) -> str | None:
    if not asked.viewer.has_perms(GRANTING):
        return "You may not change proposals."
    return refusal(asked.viewer, proposal)


# -- Granting ------------------------------------------------------------------------------------


class GrantForm(forms.Form):
    """Makes somebody a member of a proposal, or moves the end of their membership."""

    member = forms.CharField(max_length=150, label="User name")
    role = forms.ChoiceField(choices=Membership.Role.choices, initial=Membership.Role.MEMBER)
    expires = forms.DateTimeField(
        required=False,
        label="Ends (UTC)",
        help_text="Empty: it does not end.",
        widget=forms.DateTimeInput({"type": "datetime-local"}, format=INPUT),
    )
    reason = forms.CharField(max_length=500, widget=forms.TextInput(attrs={"size": 40}))

    def __init__(self, asked: Asked, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.asked = asked

    @classmethod
    def about(cls, asked: Asked) -> "GrantForm | None":
        """For the person and the proposal asked about, with what they are to each other now."""
        if asked.proposal is None or _why_not(asked, asked.proposal):
            return None
        initial: dict[str, Any] = {}
        if isinstance(asked.person, User):
            row = asked.proposal.memberships.filter(user=asked.person).first()
            initial = {"role": row.role, "expires": row.expires} if row else {}
            initial["member"] = asked.person.get_username()
        return cls(asked, initial=initial)

    def clean_member(self) -> User:
        name = self.cleaned_data["member"]
        user = User.objects.filter(username=name, is_active=True).first()
        if user is None:
            raise forms.ValidationError(f"There is no active user “{name}”.")
        if why := refusal(self.asked.viewer, self.asked.proposal, user):
            raise forms.ValidationError(why)
        return user

    def clean_expires(self) -> Any:
        expires = self.cleaned_data["expires"]
        if expires is not None and expires <= timezone.now():
            raise forms.ValidationError("Choose a time to come.")
        return expires

    def apply(self, proposal: Proposal) -> Membership:
        values = self.cleaned_data
        return grant(
            proposal, values["member"], values["role"], values["expires"], values["reason"]
        )


def _granted(request: HttpRequest, asked: Asked) -> HttpResponse:
    """Shows what the grant in the form would let be read; saves it when that was seen."""
    proposal = asked.proposal
    if proposal is None or not asked.viewer.has_perms(GRANTING):
        raise PermissionDenied
    form = GrantForm(asked, request.POST)
    if not form.is_valid():
        return _page(request, asked, form)
    if "save" not in request.POST:
        return _page(request, asked, form, preview=_preview(form, asked, proposal))
    membership = form.apply(proposal)
    _log(request, proposal, f"Granted: {membership}. {form.cleaned_data['reason']}")
    messages.success(request, f"{membership}: saved.")
    about = {"person": membership.user.get_username(), "proposal": proposal.proposal_id}
    return redirect(f"{reverse('access-desk')}?{urlencode(about)}")


def _log(request: HttpRequest, changed: Model, message: str) -> None:
    admin.site.get_model_admin(type(changed)).log_change(request, changed, message)


def _preview(form: GrantForm, asked: Asked, proposal: Proposal) -> dict[str, Any]:
    member: User = form.cleaned_data["member"]

    def change() -> bool:
        form.apply(Proposal.objects.get(pk=proposal.pk))
        return True

    name, tried = member.get_username(), rehearsal(change, lambda: [member])
    gained = simulator.what_is_gained(
        tried.before[name], tried.after[name], asked.access, settings.CATALOGS
    )
    audit.note_runs([run for part in gained for run in part.newest])
    return {"member": member, "gained": gained, "total": sum(part.count for part in gained)}
