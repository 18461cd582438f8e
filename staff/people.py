"""People and policies in the admin. Nobody raises their own rights here."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from headers.finding import AmbiguousKey, RunFinder, RunNotFound
from headers.index.catch_up import fresh_index
from headers.index.listing import Wanted
from headers.index.runs import CatalogsUnavailable, IndexedRuns
from policies.embargo import extend_embargo, may_manage, may_widen, release_now
from policies.membership import ALL_BEAMLINES, OWN_RIGHTS, refusal
from policies.models import (
    Beamline,
    EmbargoChange,
    Membership,
    Proposal,
    ProposalSync,
    RunOverride,
    Session,
    User,
)
from policies.principals import access_of
from policies.rule.access import Access
from policies.sessions import end_session
from policies.states import members_state, membership_state, proposal_state
from staff.guards import (
    PreviewedAdmin,
    ReadOnlyAdmin,
    ReasonForm,
    StrictAdmin,
    act,
    person,
)

if TYPE_CHECKING:
    TabularInline = admin.TabularInline[Any, Any]
    InlineFormSet = forms.BaseInlineFormSet[Any, Any, Any]
    ModelForm = forms.ModelForm[Any]
    BaseUserAdmin = DjangoUserAdmin[User]
else:
    TabularInline = admin.TabularInline
    InlineFormSet = forms.BaseInlineFormSet
    ModelForm = forms.ModelForm
    BaseUserAdmin = DjangoUserAdmin

RIGHTS = ("is_staff", "is_superuser", "data_admin", "groups", "user_permissions", "max_token_days")
WIDENING = {"beamlines", "proprietary", "locked"}
"""what of a proposal lets more people read its runs"""


# -- People ----------------------------------------------------------------------------------


class NewPersonForm(ModelForm):
    """A person without a password: the institution's sign-on knows who they are.

    Whoever could choose a password could sign in as the person that the facility's proposal
    system will add to proposals by this name.
    """

    class Meta:
        model = User
        fields = ("username", "first_name", "last_name", "email")

    def save(self, commit: bool = True) -> Any:
        self.instance.set_unusable_password()
        return super().save(commit)


class UserAdmin(StrictAdmin, BaseUserAdmin):
    """Rights, passwords and the accounts of those who have rights are for superusers."""

    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Rights", {"fields": ("is_active", *RIGHTS)}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    list_display = ("username", "email", "is_active", "is_staff", "data_admin", "beamlines")
    list_filter = ("is_active", "is_staff", "is_superuser", "data_admin", "staffed_beamlines")
    readonly_fields = ("last_login", "date_joined")
    change_form_template = "admin/policies/user_change_form.html"

    @admin.display(description="staff of")
    def beamlines(self, user: User) -> str:
        return ", ".join(beamline.name for beamline in user.staffed_beamlines.all())

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("staffed_beamlines")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if person(request).is_superuser:
            return super().get_fieldsets(request, obj)
        if obj is None:
            about = "A person signs in through the institution; a superuser can give a password."
            return ((None, {"fields": NewPersonForm.Meta.fields, "description": about}),)
        # Not even the kind of the password's hash is for others.
        return ((None, {"fields": ("username",)}), *self.fieldsets[1:])

    def get_form(  # type: ignore[override]  # as Django's own admin of users has it
        self, request: HttpRequest, obj: Any = None, **options: Any
    ) -> Any:
        if obj is None and not person(request).is_superuser:
            options["form"] = NewPersonForm
        return super().get_form(request, obj, **options)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        if person(request).is_superuser or obj is None:
            return self.readonly_fields
        return (*self.readonly_fields, "username", *RIGHTS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super().has_change_permission(request, obj)
        if obj is None or person(request).is_superuser:
            return may
        privileged = obj.is_superuser or obj.data_admin or obj.is_staff
        return may and not privileged and obj.pk != request.user.pk

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return person(request).is_superuser

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> Any:
        if not person(request).is_superuser:
            raise PermissionDenied
        return super().user_change_password(request, id, form_url)


class GroupAdmin(StrictAdmin, DjangoGroupAdmin):
    """Who could change a group could give its permissions to themselves."""

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return person(request).is_superuser

    has_add_permission = has_change_permission = has_delete_permission = has_view_permission

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)


# -- Beamlines and proposals -----------------------------------------------------------------


class OwnRightsForm(ModelForm):
    """A form that knows who fills it in."""

    request: HttpRequest


class BeamlineForm(OwnRightsForm):
    def clean_staff(self) -> Any:
        staff, user = self.cleaned_data["staff"], person(self.request)
        was = self.instance.pk and self.instance.staff.filter(pk=user.pk).exists()
        if bool(was) != (user in staff) and not user.is_superuser:
            raise ValidationError(OWN_RIGHTS)
        return staff


class BeamlineAdmin(PreviewedAdmin):
    """For data admins: the staff of a beamline may read all of its runs."""

    form = BeamlineForm
    list_display = ("name", "title", "staff_names", "known")
    search_fields = ("name", "title", "staff__username")
    autocomplete_fields = ("staff",)

    @admin.display(description="staff")
    def staff_names(self, beamline: Beamline) -> str:
        return ", ".join(user.username for user in beamline.staff.all())

    @admin.display(boolean=True, description="has a catalog")
    def known(self, beamline: Beamline) -> bool:
        return beamline.name in {catalog.beamline for catalog in settings.CATALOGS}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("staff")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **options)
        return type(form.__name__, (form,), {"request": request})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and person(request).reads_everything

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and person(request).reads_everything

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and person(request).reads_everything

    def involved(self, obj: Any) -> Iterable[User]:
        return list(obj.staff.all())


class MembershipFormSet(InlineFormSet):
    request: HttpRequest

    def clean(self) -> None:
        super().clean()
        user = person(self.request)
        for form in self.forms:
            if not (form.has_changed() or form in self.deleted_forms):
                continue
            members = {
                form.cleaned_data.get("user"),
                form.instance.user if form.instance.pk else None,
            }
            for member in members:
                # Whoever adds a proposal was judged by its own form.
                proposal = self.instance if self.instance.pk else None
                if why := refusal(user, proposal, member):
                    raise ValidationError(why)


class MembershipInline(TabularInline):
    model = Membership
    formset = MembershipFormSet
    autocomplete_fields = ("user",)
    fields = ("user", "role", "expires", "state", "source")
    readonly_fields = ("state", "source")
    extra = 1

    @admin.display(description="state")
    def state(self, membership: Membership) -> str:
        return membership_state(membership) if membership.pk else "-"

    def get_formset(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        formset = super().get_formset(request, obj, **options)
        return type(formset.__name__, (formset,), {"request": request})


class EmbargoChangeInline(TabularInline):
    model = EmbargoChange
    fields = readonly_fields = ("made", "made_by", "before", "after", "reason")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


class ExtensionForm(ReasonForm):
    until = forms.SplitDateTimeField(
        widget=AdminSplitDateTime(), help_text="Not public before then."
    )


class ProposalForm(OwnRightsForm):
    """Adding is guarded as changing is: a proposal gives rights on the runs that name it."""

    def clean(self) -> dict[str, Any] | None:
        super().clean()
        user = person(self.request)
        if user.reads_everything:
            return self.cleaned_data
        own = set(user.staffed_beamlines.all())
        if self.instance.pk is None:
            self._check_new({beamline.name for beamline in own})
        elif not may_widen(user, self.instance):
            for name in WIDENING & set(self.changed_data):
                raise ValidationError({name: ALL_BEAMLINES})
        beamlines = set(self.cleaned_data.get("beamlines", ()))
        if "beamlines" in self.changed_data and not (beamlines and beamlines <= own):
            raise ValidationError({"beamlines": "Choose among the beamlines you are staff of."})
        return self.cleaned_data

    def _check_new(self, own: set[str]) -> None:
        """Refuses a proposal without beamlines, and one that runs of other beamlines name."""
        if not self.cleaned_data.get("beamlines"):
            raise ValidationError({"beamlines": "Choose among the beamlines you are staff of."})
        others = [catalog for catalog in settings.CATALOGS if catalog.beamline not in own]
        wanted = Wanted(proposal=self.cleaned_data.get("proposal_id", ""))
        index = fresh_index(others, settings.CATALOGS)
        indexed = IndexedRuns(index, Access(data_admin=True))
        if indexed.unavailable or indexed.incomplete or indexed.count(wanted):
            # One answer for all, as whether such runs exist is not for everybody to know.
            raise ValidationError({"proposal_id": "A data admin has to add this proposal."})


class ProposalAdmin(PreviewedAdmin):
    """For data admins, and for staff of a proposal's beamlines while it is not locked."""

    form = ProposalForm
    list_display = ("proposal_id", "title", "cycle", "on", "state", "people")
    list_filter = ("locked", "proprietary", "cycle", "beamlines")
    search_fields = ("proposal_id", "title", "members__username", "members__last_name")
    fieldsets = (
        (None, {"fields": ("proposal_id", "title", "cycle", "beamlines", "locked")}),
        (
            "Embargo",
            {
                "fields": ("public_from", "proprietary"),
                "description": "The actions of the list of proposals release early or extend it,"
                " with a reason.",
            },
        ),
    )
    filter_horizontal = ("beamlines",)
    inlines = (MembershipInline, EmbargoChangeInline)
    actions = ("end_memberships", "lock", "unlock", "release_early", "extend")

    @admin.display(description="beamlines")
    def on(self, proposal: Proposal) -> str:
        return ", ".join(beamline.name for beamline in proposal.beamlines.all())

    @admin.display(description="its runs are", ordering="public_from")
    def state(self, proposal: Proposal) -> str:
        return proposal_state(proposal)

    @admin.display(description="members")
    def people(self, proposal: Proposal) -> str:
        return members_state(proposal.memberships.all())

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("beamlines", "memberships")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """A new id would take over the runs of another proposal; an embargo needs a reason."""
        if obj is None:
            return () if person(request).reads_everything else ("public_from", "locked")
        return ("proposal_id", "public_from")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **options)
        return type(form.__name__, (form,), {"request": request})

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = super().has_change_permission(request, obj)
        return may and (obj is None or may_manage(person(request), obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and person(request).reads_everything

    def involved(self, obj: Any) -> Iterable[User]:
        staff = Q(staffed_beamlines__isnull=False)
        return list(User.objects.filter(staff | Q(memberships__proposal=obj)).distinct())

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """What a person sets, the sync leaves alone from then on."""
        for row in formset.forms if formset.model is Membership else ():
            if row.has_changed():
                row.instance.source = Membership.Source.MANUAL
        super().save_formset(request, form, formset, change)

    @admin.action(description="End all memberships", permissions=["change"])
    def end_memberships(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        me = person(request)

        def end(proposal: Proposal, given: dict[str, Any]) -> None:
            current = proposal.memberships.current()
            if not me.is_superuser and current.filter(user=me).exists():
                raise ValueError(f"{proposal.proposal_id}: {OWN_RIGHTS}")
            current.update(expires=timezone.now(), source=Membership.Source.MANUAL)

        return act(self, request, chosen, "End all memberships", end)

    @admin.action(description="Lock", permissions=["change"])
    def lock(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        return act(self, request, chosen, "Lock", lambda proposal, _: _set_locked(proposal, True))

    @admin.action(description="Unlock", permissions=["change"])
    def unlock(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        me = person(request)

        def unlock(proposal: Proposal, given: dict[str, Any]) -> None:
            _require_all_beamlines(me, proposal)
            _set_locked(proposal, False)

        return act(self, request, chosen, "Unlock", unlock)

    @admin.action(description="Release early", permissions=["change"])
    def release_early(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        me = person(request)

        def release(proposal: Proposal, given: dict[str, Any]) -> None:
            _require_all_beamlines(me, proposal)
            release_now(proposal, me, given["reason"])

        return act(self, request, chosen, "Release early", release)

    @admin.action(description="Set or extend the embargo", permissions=["change"])
    def extend(self, request: HttpRequest, chosen: QuerySet[Any]) -> HttpResponse | None:
        def apply(proposal: Proposal, given: dict[str, Any]) -> None:
            extend_embargo(proposal, given["until"], person(request), given["reason"])

        return act(self, request, chosen, "Set or extend the embargo", apply, ExtensionForm)


def _require_all_beamlines(user: User, proposal: Proposal) -> None:
    if not may_widen(user, proposal):
        raise ValueError(f"{proposal.proposal_id}: {ALL_BEAMLINES}")


def _set_locked(proposal: Proposal, locked: bool) -> None:
    if proposal.locked == locked:
        state = "locked" if locked else "not locked"
        raise ValueError(f"{proposal.proposal_id} is {state} already.")
    proposal.locked = locked
    proposal.save(update_fields=["locked"])


# -- Overrides, sessions, syncs --------------------------------------------------------------


class OverrideForm(OwnRightsForm):
    catalog = forms.ChoiceField(choices=[(c.name, c.title) for c in settings.CATALOGS])
    reason = forms.CharField(max_length=500, widget=forms.TextInput(attrs={"size": 60}))

    def clean(self) -> dict[str, Any] | None:
        """The run must be there; its whole uid is stored, whatever part of it was typed."""
        super().clean()
        catalogs = [c for c in settings.CATALOGS if c.name == self.cleaned_data.get("catalog")]
        typed = self.cleaned_data.get("run_uid")
        if not catalogs or not typed:
            return self.cleaned_data
        try:
            run = RunFinder(catalogs, access_of(person(self.request))).find(typed)
        except RunNotFound:
            raise ValidationError({"run_uid": "There is no such run in this catalog."}) from None
        except AmbiguousKey:
            raise ValidationError({"run_uid": "Several runs start with this."}) from None
        except CatalogsUnavailable:
            raise ValidationError("The catalog's database does not answer.") from None
        self.cleaned_data["run_uid"] = self.instance.run_uid = run.uid
        return self.cleaned_data


class RunOverrideAdmin(StrictAdmin):
    """For data admins: an override decides who may read a run."""

    form = OverrideForm
    list_display = ("run_uid", "catalog", "proposal", "reason", "created_by", "created")
    list_filter = ("catalog",)
    list_select_related = ("proposal", "created_by")
    search_fields = ("run_uid", "proposal__proposal_id", "reason")
    autocomplete_fields = ("proposal",)
    readonly_fields = ("created", "created_by")

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **options: Any
    ) -> Any:
        form = super().get_form(request, obj, change, **options)
        return type(form.__name__, (form,), {"request": request})

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.created_by = person(request)
        super().save_model(request, obj, form, change)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and person(request).reads_everything

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and person(request).reads_everything

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and person(request).reads_everything


class SessionAdmin(ReadOnlyAdmin):
    list_display = ("user", "created", "refreshed", "expires", "ended", "end_reason")
    list_filter = ("created", "end_reason")
    list_select_related = ("user",)
    search_fields = ("user__username",)
    fields = ("user", "created", "refreshed", "expires", "ended", "end_reason")
    actions = ("end",)

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("policies.change_session")

    @admin.action(description="End the selected sessions", permissions=["end"])
    def end(self, request: HttpRequest, chosen: QuerySet[Session]) -> None:
        running = chosen.filter(ended=None)
        for session in running:
            end_session(session, f"ended by {person(request).username}"[:50])
        self.message_user(request, "The sessions have ended.", messages.SUCCESS)


class ProposalSyncAdmin(ReadOnlyAdmin):
    list_display = ("made", "outcome", "added", "ended", "restored", "source")
    list_filter = ("outcome",)


admin.site.unregister(Group)
admin.site.register(Group, GroupAdmin)
admin.site.register(User, UserAdmin)
admin.site.register(Beamline, BeamlineAdmin)
admin.site.register(Proposal, ProposalAdmin)
admin.site.register(RunOverride, RunOverrideAdmin)
admin.site.register(Session, SessionAdmin)
admin.site.register(ProposalSync, ProposalSyncAdmin)
