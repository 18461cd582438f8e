"""Keeps the index of runs up with the catalogs all the time, until it is stopped."""

import signal
import threading
import time
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, close_old_connections

from headers.index.catch_up import catch_up, current_index, take_turn

log = structlog.get_logger(__name__)
FILL_SECONDS = 60.0


class Command(BaseCommand):
    help = "Adds runs to the index as they come, so that no list has to do it first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--seconds", type=float, default=1.0, help="between two looks")

    def handle(self, *args: Any, seconds: float, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        while not stopped.is_set():
            self._once()
            stopped.wait(seconds)

    def _once(self) -> None:
        close_old_connections()
        try:
            take_turn(time.time())
            catch_up(current_index(settings.CATALOGS), FILL_SECONDS)
        except DatabaseError as error:
            # It comes back; what came meanwhile is found behind what was seen last.
            log.warning("index not written", reason=str(error))
