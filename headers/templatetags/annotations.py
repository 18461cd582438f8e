"""Notes, stars and tags of a run, in any page that shows one."""

from typing import Any

from django import template

from headers.annotations.marks import marks_of, may_write
from headers.repositories import Run
from policies.models import User
from policies.requests import access_for

register = template.Library()


@register.inclusion_tag("runs/annotations.html", takes_context=True)
def annotations(context: dict[str, Any], run: Run) -> dict[str, Any]:
    """What is known of a run that the reader of the page may read, with forms to add to it."""
    request = context["request"]
    access, person = access_for(request), request.user
    return {
        "request": request,
        "csrf_token": context.get("csrf_token"),
        "run": run,
        "marks": marks_of(run, person),
        "signed_in": isinstance(person, User),
        "may_write": may_write(run, person, access),
        "person_pk": person.pk,
        "data_admin": access.data_admin,
    }
