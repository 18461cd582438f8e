"""What the admin's pages of people and policies have in common: strictness and previews."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from policies import audit
from policies.models import User
from policies.principals import access_of
from policies.rule.access import Access
from staff.simulator import Report, accesses, what_changes

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin  # generic in the stubs only

People = Callable[[], Iterable[User]]
INTERNAL = ("csrfmiddlewaretoken", "_preview", "_save", "_continue", "_addanother")


def person(request: HttpRequest) -> User:
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user


class StrictAdmin(ModelAdmin):
    """Filters by what it lists as filters only; a hash is not to be guessed letter by letter."""

    show_full_result_count = False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        filters = [item for item in self.list_filter if isinstance(item, str)]
        return any(lookup == name or lookup.startswith(f"{name}__") for name in filters)


class ReadOnlyAdmin(StrictAdmin):
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@dataclass(frozen=True)
class Rehearsal:
    """What people, by name, may read before a change and after it."""

    done: bool
    """False: the change failed"""
    before: dict[str, Access]
    after: dict[str, Access]


def rehearsal(change: Callable[[], bool], people: People) -> Rehearsal:
    """The rights of the people whom a change touches; the change is undone."""
    with transaction.atomic():
        involved = {user.pk: user for user in people()}
        done = change()
        involved |= {user.pk: user for user in people()}
        after = accesses(User.objects.filter(pk__in=involved))
        transaction.set_rollback(True)
    before = accesses(User.objects.filter(pk__in=involved))
    after |= {name: before[name] for name in before.keys() - after.keys()}
    return Rehearsal(done, before, after)


def rehearse(change: Callable[[], bool], people: People, viewer: User) -> Report | None:
    """Who would gain and lose which runs by a change, which is undone. None if it fails."""
    access = access_of(viewer)
    tried = rehearsal(change, people)
    if not tried.done:
        return None
    return what_changes(tried.before, tried.after, access, settings.CATALOGS)


@dataclass
class Preview:
    """A change that is tried and undone, and what it saves."""

    saved: Model | None = None


_preview: ContextVar[Preview | None] = ContextVar("preview", default=None)


class PreviewedAdmin(StrictAdmin):
    """Its change form has a button that tells who would gain and lose runs, before saving."""

    change_form_template = "admin/policies/previewed_change_form.html"

    def involved(self, obj: Any) -> Iterable[User]:
        """The people whose rights a change of this object may touch."""
        raise NotImplementedError

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        if request.method != "POST" or "_preview" not in request.POST:
            return super().changeform_view(request, object_id, form_url, extra_context)
        answers: list[Any] = []
        preview = Preview()

        def save() -> bool:
            token = _preview.set(preview)
            try:
                answers.append(
                    super(PreviewedAdmin, self).changeform_view(
                        request, object_id, form_url, extra_context
                    )
                )
            finally:
                _preview.reset(token)
            return bool(answers[-1].status_code == 302)

        def people() -> Iterable[User]:
            obj = preview.saved or (self.get_object(request, object_id) if object_id else None)
            return self.involved(obj) if obj else ()

        report = rehearse(save, people, person(request))
        return answers[-1] if report is None else self._previewed(request, report)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if preview := _preview.get():
            preview.saved = form.instance

    def message_user(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        if _preview.get() is None:
            super().message_user(request, *args, **options)

    def _previewed(self, request: HttpRequest, report: Report) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "What would change",
            "opts": self.opts,
            "report": report,
            "values": [
                (name, value)
                for name, values in request.POST.lists()
                if name not in INTERNAL
                for value in values
            ],
        }
        return TemplateResponse(request, "admin/policies/preview.html", context)


class ReasonForm(forms.Form):
    reason = forms.CharField(max_length=500, widget=forms.TextInput(attrs={"size": 60}))


def act(
    model_admin: PreviewedAdmin,
    request: HttpRequest,
    chosen: QuerySet[Any],
    title: str,
    apply: Callable[[Any, dict[str, Any]], None],
    form_class: type[ReasonForm] = ReasonForm,
) -> HttpResponse | None:
    """A bulk action: asks for its reason, tells its effect, and does it with `apply`.

    `apply` raises ValueError for an object that it cannot be done to.
    """
    allowed = [obj for obj in chosen if model_admin.has_change_permission(request, obj)]
    form = form_class(request.POST if "reason" in request.POST else None)
    across = request.POST.get("select_across", "0")
    report = None
    if form.is_valid():
        if "apply" in request.POST:
            _apply(model_admin, request, allowed, title, lambda obj: apply(obj, form.cleaned_data))
            return None
        report = _rehearsed(model_admin, request, allowed, lambda o: apply(o, form.cleaned_data))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "opts": model_admin.opts,
        "form": form,
        "report": report,
        "allowed": allowed,
        "refused": [obj for obj in chosen if obj not in allowed],
        "action": request.POST["action"],
        "across": across,
        # All of what is filtered is selected again by the filter, not by thousands of keys.
        "selected": [obj.pk for obj in chosen][: 1 if across == "1" else None],
        "action_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/policies/action.html", context)


def _apply(
    model_admin: PreviewedAdmin,
    request: HttpRequest,
    objects: Iterable[Model],
    title: str,
    apply: Callable[[Any], None],
) -> None:
    done = 0
    with audit.with_reason(request.POST["reason"]):
        for obj in objects:
            try:
                with transaction.atomic():
                    apply(obj)
                    model_admin.log_change(request, obj, f"{title}: {request.POST['reason']}")
            except ValueError as error:
                model_admin.message_user(request, str(error), messages.ERROR)
            else:
                done += 1
    model_admin.message_user(request, f"{title}: done for {done}.", messages.SUCCESS)


def _rehearsed(
    model_admin: PreviewedAdmin,
    request: HttpRequest,
    objects: list[Any],
    apply: Callable[[Any], None],
) -> Report | None:
    def change() -> bool:
        for obj in objects:
            try:
                with transaction.atomic():
                    apply(model_admin.model._default_manager.get(pk=obj.pk))
            except ValueError as error:
                messages.warning(request, str(error))
        return True

    def people() -> Iterable[User]:
        return [user for obj in objects for user in model_admin.involved(obj)]

    return rehearse(change, people, person(request))
