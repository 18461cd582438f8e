"""Compressed answers: for who accepts them, where it pays, never where there are secrets."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import zstandard
from django.http import HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st

from broker_site.compression import MIN_BYTES, CompressionMiddleware, accepted
from tests.conftest import PASSWORD, Actor, People
from tests.documents import Recorder

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "zstd": lambda content: zstandard.ZstdDecompressor().decompressobj().decompress(content),
}


def content_of(response: Any) -> bytes:
    return b"".join(response) if response.streaming else bytes(response.content)


@pytest.mark.parametrize("coding", list(DECODERS))
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("", {}),
        ("documents/", {"format": "ndjson"}),
        ("documents/", {"format": "bson"}),
        ("documents/", {"format": "msgpack"}),
        ("streams/primary/table/", {"format": "csv"}),
        ("streams/primary/table/", {"format": "json"}),
        ("streams/primary/table/", {"format": "msgpack"}),
        ("streams/primary/data/det/", {"format": "json"}),
    ],
)
def test_text_and_documents_are_compressed_while_they_are_streamed(
    path: str, query: dict[str, str], coding: str, acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run(events=500, notes="long " * 1000)
    client, url = acting_as("alice"), f"/api/v1/headers/{run}/{path}"
    plain = client.get(url, query)
    small = client.get(url, query, HTTP_ACCEPT_ENCODING=coding)
    assert small["Content-Encoding"] == coding
    assert "Content-Encoding" not in plain
    assert "Accept-Encoding" in plain["Vary"]
    assert "Accept-Encoding" in small["Vary"]
    content, whole = content_of(small), content_of(plain)
    assert DECODERS[coding](content) == whole
    assert len(content) < len(whole) / 2
    if "Content-Length" in small:
        assert int(small["Content-Length"]) == len(content)
    assert small["Content-Type"] == plain["Content-Type"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("streams/primary/table/", {"format": "parquet"}),
        ("streams/primary/table/", {"format": "arrow"}),
        ("streams/primary/data/det/", {"format": "octet-stream"}),
        ("streams/primary/data/det/", {"format": "msgpack"}),
        ("streams/primary/data/det/", {"format": "h5"}),
        ("streams/", {}),  # tiny
        ("streams/primary/table/", {"format": "csv", "fields": "no-such"}),  # an error
    ],
)
def test_what_does_not_pay_is_left_as_it_is(
    path: str, query: dict[str, str], acting_as: Actor, recorder: Recorder
) -> None:
    url = f"/api/v1/headers/{recorder.run(events=500)}/{path}"
    response = acting_as("alice").get(url, query, HTTP_ACCEPT_ENCODING="gzip, zstd")
    assert "Content-Encoding" not in response


def test_a_tiny_stream_is_whole(acting_as: Actor, recorder: Recorder) -> None:
    url = f"/api/v1/headers/{recorder.run(events=2)}/streams/primary/table/"
    response = acting_as("alice").get(url, HTTP_ACCEPT_ENCODING="gzip")
    assert "Content-Encoding" not in response
    assert json.loads(content_of(response))["seq_num"] == [1, 2]


def test_a_compressed_answer_is_known_again(acting_as: Actor, recorder: Recorder) -> None:
    client = acting_as("alice")
    url = f"/api/v1/headers/{recorder.run(events=500)}/streams/primary/table/"
    plain = client.get(url)["ETag"]
    weak = client.get(url, HTTP_ACCEPT_ENCODING="zstd")["ETag"]
    assert weak == f"W/{plain}"
    for known in (plain, weak, f'"other", {weak}'):
        for coding in ("", "zstd"):
            again = client.get(url, HTTP_IF_NONE_MATCH=known, HTTP_ACCEPT_ENCODING=coding)
            assert again.status_code == 304
    assert client.get(url, HTTP_IF_NONE_MATCH='W/"other"').status_code == 200


def test_answers_with_secrets_are_never_compressed(people: People, acting_as: Actor) -> None:
    client = acting_as("nobody")
    body = {"username": "alice", "password": PASSWORD}
    signed_in = client.post("/api/v1/auth/token/", body, "json", HTTP_ACCEPT_ENCODING="gzip")
    assert signed_in.status_code == 200
    assert "Content-Encoding" not in signed_in


def test_answers_that_set_cookies_are_never_compressed() -> None:
    def view(request: object) -> HttpResponse:
        response = HttpResponse(b"x" * 9999, content_type="application/json")
        response.set_cookie("session", "secret")
        return response

    request = RequestFactory().get("/api/v1/headers/", HTTP_ACCEPT_ENCODING="gzip")
    assert "Content-Encoding" not in CompressionMiddleware(view)(request)


@pytest.mark.django_db
def test_a_stream_is_closed_and_not_read_ahead() -> None:
    closed, made = [], []

    class Chunks:
        def __iter__(self) -> "Chunks":
            return self

        def __next__(self) -> bytes:
            made.append(1)
            return b"x" * MIN_BYTES

        def close(self) -> None:
            closed.append(True)

    def view(request: object) -> StreamingHttpResponse:
        return StreamingHttpResponse(Chunks(), content_type="text/csv")

    request = RequestFactory().get("/api/v1/headers/", HTTP_ACCEPT_ENCODING="zstd")
    response = CompressionMiddleware(view)(request)
    assert (len(made), closed) == (1, [])
    response.close()
    assert closed == [True]


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0, gzip", "gzip"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("identity", None),
        ("GZIP", "gzip"),
        ("gzip;q=0", None),
        ("", None),
        ("gzip;q=1.1.1", None),
    ],
)
def test_the_caller_chooses_the_coding(header: str, coding: str | None) -> None:
    assert accepted(RequestFactory().get("/", HTTP_ACCEPT_ENCODING=header)) == coding


@given(st.text(st.characters(codec="latin-1", exclude_characters="\r\n")))
def test_any_accept_encoding_is_understood(header: str) -> None:
    """Abuse case 14."""
    accepted(RequestFactory().get("/", HTTP_ACCEPT_ENCODING=header))


def test_msgpack_of_a_table_opens_after_decoding(acting_as: Actor, recorder: Recorder) -> None:
    url = f"/api/v1/headers/{recorder.run(events=500)}/streams/primary/table/?format=msgpack"
    response = acting_as("alice").get(url, HTTP_ACCEPT_ENCODING="gzip")
    table = msgpack.unpackb(gzip.decompress(content_of(response)))
    assert table["det"][-1] == 500.0**2
