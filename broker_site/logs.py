"""Structured logs: one JSON object a line in production, readable text in debug mode."""

import logging
import logging.config
import sys
from contextlib import suppress
from typing import Any

import structlog
from structlog.typing import Processor

from broker_site.encoding import to_json

SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


class _Logger(structlog.WriteLogger):
    """Writes lines. One that cannot be written stops nothing: there is nowhere to say so."""

    def msg(self, message: str) -> None:
        with suppress(OSError, ValueError):
            super().msg(message)

    debug = info = warning = error = critical = msg


def configure_logging(json_lines: bool) -> None:
    """Writes lines of structlog at once, and those of the standard library in the same form."""
    written: list[Processor] = [structlog.dev.ConsoleRenderer(colors=False)]
    if json_lines:
        written = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    structlog.configure(
        processors=[*SHARED, *written],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *names: _Logger(sys.stderr),
        cache_logger_on_first_use=True,
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": [*SHARED, structlog.stdlib.add_logger_name],
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *written],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": formatter},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": "INFO"},
            # Our own line per request says it; Django's would add the query string.
            "loggers": {"django.request": {"level": "ERROR"}, "django.server": {"level": "ERROR"}},
        }
    )


def _json(event: Any, **options: Any) -> str:
    return to_json(event).decode()
