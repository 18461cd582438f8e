"""Addresses of static files: with a digest of the content, so that they may be kept for ever."""

import hashlib
from functools import cache
from pathlib import Path

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage


class VersionedStaticFiles(StaticFilesStorage):
    """Adds `?v=…` to addresses. The names stay, so instances of two versions serve each other's."""

    def url(self, name: str | None) -> str:
        address = super().url(name)
        version = _digest(name) if name else None
        return f"{address}?v={version}" if version else address


@cache
def _digest(name: str) -> str | None:
    """None where there is no such file."""
    path = finders.find(name)
    if not isinstance(path, str) or not Path(path).is_file():
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
