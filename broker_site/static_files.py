"""Static files: addresses with a digest of the content, answers that are small and kept for ever.

`collectstatic` compresses each file ahead of time. Files are served from where they are, so that
a checkout shows what it holds; of a file whose collected copy is the same, that copy is.
"""

import filecmp
import hashlib
import re
from functools import cache
from pathlib import Path

from django.contrib.staticfiles import finders
from django.http import HttpRequest, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]
from whitenoise.storage import CompressedStaticFilesStorage  # type: ignore[import-untyped]

FOR_EVER = "max-age=31536000, public, immutable"
NAMED_BY_CONTENT = re.compile(r"/bundled/[^/]+-[A-Z0-9]{8}\.(js|css)$")
"""parts of scripts, which the bundler names by a digest"""


class VersionedStaticFiles(CompressedStaticFilesStorage):  # type: ignore[misc]
    """Adds `?v=…` to addresses. The names stay, so instances of two versions serve each other's."""

    def url(self, name: str | None) -> str:
        address: str = super().url(name)
        version = _digest(name) if name else None
        return f"{address}?v={version}" if version else address


class StaticFilesMiddleware(WhiteNoiseMiddleware):  # type: ignore[misc]
    """Answers with static files. What an address names by its digest never changes."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = super().__call__(request)
        if self._names_its_content(request) and response.status_code in (200, 304):
            response["Cache-Control"] = FOR_EVER
        return response

    def _names_its_content(self, request: HttpRequest) -> bool:
        path, version = request.path_info, request.META.get("QUERY_STRING", "")
        if not version or not path.startswith(self.static_prefix):
            return False
        return bool(version == f"v={_digest(path.removeprefix(self.static_prefix))}")

    def add_files_from_finders(self) -> None:
        collected = dict(self.files)
        super().add_files_from_finders()
        for url, file in collected.items():
            name = url.removeprefix(self.static_prefix)
            found = finders.find(name)
            copy = Path(self.static_root) / name
            if isinstance(found, str) and filecmp.cmp(found, copy, shallow=False):
                self.files[url] = file

    def immutable_file_test(self, path: str, url: str) -> bool:
        return NAMED_BY_CONTENT.search(url) is not None


@cache
def _digest(name: str) -> str | None:
    """None where there is no such file."""
    path = finders.find(name)
    if not isinstance(path, str) or not Path(path).is_file():
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
