"""If-None-Match: does the caller have this version of an answer already?"""

from django.utils.http import parse_etags
from rest_framework.request import Request


def is_known(request: Request, etag: str) -> bool:
    """Compared weakly, as the standard wants it: the ETag of a compressed answer is weak."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return etag in {tag.removeprefix("W/") for tag in known}
