"""Answers compressed for who accepts it: zstd or gzip, while they are streamed.

It pays for text and documents, five to ten times smaller on the way. Parquet, pictures and HDF5
are compressed already; raw arrays and Arrow are asked for by who wants speed. Answers of sign-in
and tokens are left as they are, too, and those that set cookies: the size of a compressed answer
tells of the secrets in it (BREACH).
"""

import re
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain
from typing import Protocol

import zstandard
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils.cache import patch_vary_headers

from broker_site import media_types

MIN_BYTES = 2048
LEVEL = 1  # above it, either takes longer than it saves on a network of 1 Gbit/s
GZIP_WINDOW = 31  # 15, and 16 for a gzip header
PATH = re.compile(r"/api/v1/(headers|events|descriptors|schema|metadata|search|documents)/")
TEXTS = {
    *(media_types.JSON, media_types.NDJSON, media_types.CSV, media_types.JSON_SEQ),
    *("application/vnd.oai.openapi", "application/vnd.oai.openapi+json"),
}
DOCUMENTS = {media_types.MSGPACK, media_types.X_MSGPACK, media_types.BSON}
_CODING = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q\s*=\s*([\d.]+)\s*)?")


class Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "zstd": lambda: zstandard.ZstdCompressor(LEVEL).compressobj(),
    "gzip": lambda: zlib.compressobj(LEVEL, wbits=GZIP_WINDOW),
}
"""by content coding, the preferred one first"""


class CompressionMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not PATH.match(request.path_info):
            return self.get_response(request)
        response = self.get_response(request)
        if is_compressible(response):
            patch_vary_headers(response, ("Accept-Encoding",))
            if (coding := accepted(request)) and request.method != "HEAD":
                compress(response, coding)
        return response


def is_compressible(response: HttpResponseBase) -> bool:
    """Whether compressing an answer of this kind pays and is harmless."""
    media_type = response.get("Content-Type", "").partition(";")[0]
    is_array = response.has_header("X-Array-Shape")
    pays = media_type in TEXTS or (media_type in DOCUMENTS and not is_array)
    is_whole = response.status_code == 200 and not response.has_header("Content-Encoding")
    return pays and is_whole and not response.cookies


def accepted(request: HttpRequest) -> str | None:
    """The content coding that the caller likes best, None for none."""
    likes: dict[str, float] = {}
    for part in request.headers.get("Accept-Encoding", "").split(","):
        if match := _CODING.fullmatch(part):
            likes[match[1].lower()] = _quality(match[2])
    best = max(COMPRESSORS, key=lambda coding: likes.get(coding, likes.get("*", 0.0)))
    return best if likes.get(best, likes.get("*", 0.0)) > 0 else None


def _quality(text: str | None) -> float:
    try:
        return 1.0 if text is None else float(text)
    except ValueError:
        return 0.0


def compress(response: HttpResponseBase, coding: str) -> None:
    """Replace the content by the compressed one, unless it is tiny; its ETag is then a weak one."""
    compressor = COMPRESSORS[coding]()
    if isinstance(response, StreamingHttpResponse):
        chunks = iter(response)
        begin = _beginning(chunks)
        whole = chain(begin, chunks)
        if sum(map(len, begin)) < MIN_BYTES:
            response.streaming_content = whole
            return
        response.streaming_content = _compressed(whole, compressor)
        del response["Content-Length"]
    else:
        content = response.content  # type: ignore[attr-defined]
        if len(content) < MIN_BYTES:
            return
        small = compressor.compress(content) + compressor.flush()
        response.content = small  # type: ignore[attr-defined]
        response["Content-Length"] = str(len(small))
    response["Content-Encoding"] = coding
    if etag := response.get("ETag"):
        response["ETag"] = f"W/{etag}"


def _beginning(chunks: Iterator[bytes]) -> list[bytes]:
    """The first chunks, enough to know that the answer is not tiny."""
    taken: list[bytes] = []
    size = 0
    for chunk in chunks:
        taken.append(chunk)
        size += len(chunk)
        if size >= MIN_BYTES:
            break
    return taken


def _compressed(chunks: Iterable[bytes], compressor: Compressor) -> Generator[bytes, None, None]:
    for chunk in chunks:
        if small := compressor.compress(chunk):
            yield small
    yield compressor.flush()
