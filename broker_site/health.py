"""Is the service alive, and can it answer?"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from broker_site.database import complaint
from headers.repositories import ping
from policies.sync import last_sync_age


@require_safe
def livez(request: HttpRequest) -> JsonResponse:
    """The process answers. Asks nothing of others, so that their failure restarts nobody."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when people and policies, and at least one catalog, can be read; else 503.

    Staff also see which of them cannot.
    """
    policies = _policies_answer()
    with ThreadPoolExecutor(max_workers=8) as threads:
        answers = threads.map(ping, settings.CATALOGS)
        catalogs = {
            catalog.name: answer for catalog, answer in zip(settings.CATALOGS, answers, strict=True)
        }
    ready = policies and any(catalogs.values())
    content: dict[str, Any] = {"status": "ok" if ready else "unavailable"}
    # Whether a user is staff is in the very database that may be away.
    if policies and request.user.is_authenticated and request.user.is_staff:
        content |= {"policies": policies, "catalogs": catalogs}
        content["proposal_sync_seconds"] = last_sync_age()
    return JsonResponse(content, status=200 if ready else 503)


def _policies_answer() -> bool:
    try:
        connection.ensure_connection()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return _is_migrated()
    except DatabaseError:
        return False


_migrated = False


def _is_migrated() -> bool:
    """Looked at until it is: a process does not outlive its own migrations."""
    global _migrated
    _migrated = _migrated or complaint() is None
    return _migrated
