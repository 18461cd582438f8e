"""Entry point of the production server. Refuses to start when a system check fails."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import structlog
from django.core.checks import ERROR, run_checks
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.db import connection

from broker_site.database import complaint
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
    if reason := _complaint():
        # The database may come later; until then /readyz says so.
        structlog.get_logger(__name__).error("not ready", reason=reason)
    return handler


def _complaint() -> str | None:
    """Asked in a thread: uvicorn imports this in its event loop, where Django asks no database."""

    def ask() -> str | None:
        try:
            return complaint()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(ask).result()


application = _application()
