"""Entry point of the production server. Refuses to start when a system check fails."""

import os
import sys

import structlog
from django.core.checks import ERROR, run_checks
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

from broker_site.database import complaint_at_start
from broker_site.environment import ConfigurationError

os.umask(0o077)  # what is written is for this account only
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_site.settings")


def _application() -> WSGIHandler:
    try:
        handler = get_wsgi_application()
    except ConfigurationError as error:
        sys.exit(f"Configuration error: {error}")
    if serious := [message for message in run_checks() if message.level >= ERROR]:
        sys.exit("Refusing to start:\n" + "\n".join(str(message) for message in serious))
    if reason := complaint_at_start():
        # The database may come later; until then /readyz says so.
        structlog.get_logger(__name__).error("not ready", reason=reason)
    return handler


application = _application()
