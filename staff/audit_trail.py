"""The audit trail and everybody's API tokens in the admin: to read, search, export, revoke."""

import csv
from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html

from broker_site.encoding import to_json
from policies.models import APIToken, AuditEvent
from policies.tokens import revoke_token
from staff.guards import ReadOnlyAdmin

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""what makes a spreadsheet compute a cell"""


class _Echo:
    """A file for the csv module that hands back each line."""

    def write(self, line: str) -> str:
        return line


class AuditEventAdmin(ReadOnlyAdmin):
    list_display = ("when", "kind", "who", "where", "of", "outcome")
    list_filter = ("kind", "status", "catalog", "time")
    search_fields = ("=actor", "=address", "credential", "^run_uid", "=proposal", "=request_id")
    search_help_text = "User name, address, token, run, proposal or request id."
    date_hierarchy = "time"
    actions = ("export",)

    @admin.display(description="time (UTC)", ordering="time")
    def when(self, event: AuditEvent) -> str:
        return f"{event.time:%Y-%m-%d %H:%M:%S}"

    @admin.display(ordering="actor")
    def who(self, event: AuditEvent) -> str:
        return _two_lines(event.actor or "nobody", f"{event.credential} {event.address or ''}")

    @admin.display(description="route")
    def where(self, event: AuditEvent) -> str:
        return event.route or "-"

    @admin.display(description="about")
    def of(self, event: AuditEvent) -> str:
        """The run and its proposal, or what of the policies was changed."""
        about = event.run_uid or str(event.details.get("name", ""))
        return _two_lines(about[:40], f"{event.catalog} {event.proposal}")

    @admin.display(ordering="status")
    def outcome(self, event: AuditEvent) -> str:
        size = "" if event.bytes is None else filesizeformat(event.bytes)
        return _two_lines(f"{event.status or ''} {event.result}", size)

    @admin.action(description="Export the selected events as CSV", permissions=["view"])
    def export(self, request: HttpRequest, chosen: QuerySet[AuditEvent]) -> StreamingHttpResponse:
        response = StreamingHttpResponse(_lines(chosen), content_type="text/csv; charset=utf-8")
        response["Content-Disposition"] = 'attachment; filename="audit.csv"'
        return response


class APITokenAdmin(ReadOnlyAdmin):
    list_display = ("user", "name", "key", "created", "expires", "last_used", "revoked")
    list_filter = ("created", "expires", "revoked")
    list_select_related = ("user",)
    search_fields = ("=user__username", "=key", "name")
    fields = (
        "user", "name", "key", "scopes", "proposals", "catalogs", "allowed_ips", "created",
        "expires", "last_used", "revoked",
    )  # fmt: skip
    actions = ("revoke",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("policies.change_apitoken")

    @admin.action(description="Revoke the selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, chosen: QuerySet[APIToken]) -> None:
        for token in chosen.filter(revoked=None):
            revoke_token(token)
        self.message_user(request, "The tokens are revoked.", messages.SUCCESS)


def _two_lines(first: str, second: str) -> str:
    return format_html("{} <small>{}</small>", first.strip() or "-", second.strip())


def _lines(events: QuerySet[AuditEvent]) -> Iterator[str]:
    names = [field.name for field in AuditEvent._meta.concrete_fields]
    writer = csv.writer(_Echo())
    yield writer.writerow(names)
    for event in events.iterator(chunk_size=1000):
        yield writer.writerow([_cell(getattr(event, name)) for name in names])


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return to_json(value).decode()
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


admin.site.register(AuditEvent, AuditEventAdmin)
admin.site.register(APIToken, APITokenAdmin)
