"""The start documents of followed runs as they are now, read once for all readers of a process.

A run may be removed, or be put into another proposal, while it is followed.
"""

import time
from dataclasses import replace
from typing import Any

from headers.mongo import CatalogUnavailable
from headers.repositories import Run, start_now

SECONDS = 1.0
"""for which a start document is taken for the one of now"""
MOST = 1000
Doc = dict[str, Any]
_known: dict[tuple[str, Any], tuple[float, Doc | None]] = {}
"""by catalog and uid: when it was read, and what it was"""


def as_it_is_now(run: Run) -> Run | None:
    """The run with its start document of now, as long as its catalog answers; None: it is gone."""
    key, now = (run.catalog.name, run.uid), time.monotonic()
    read, start = _known.get(key, (-SECONDS, None))
    if now - read >= SECONDS:
        try:
            start = start_now(run)
        except CatalogUnavailable:
            return run
        if len(_known) >= MOST:
            _known.clear()
        _known[key] = (now, start)
    return None if start is None else replace(run, start=start)
