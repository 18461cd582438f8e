"""Static files: kept for ever under the digest of their content, compressed ahead of time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.test import Client, RequestFactory

from broker_site.static_files import FOR_EVER, StaticFilesMiddleware

TEXT = "body { color: black; }\n" * 200


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content)


def test_an_address_with_the_digest_is_kept_for_ever(client: Client) -> None:
    assert client.get(static("broker/site.css"))["Cache-Control"] == FOR_EVER


@pytest.mark.parametrize("query", ["", "?v=000000000000", "?v=", "?v=1&v=2", "?w=1"])
def test_any_other_address_is_asked_for_again(query: str, client: Client) -> None:
    assert client.get(f"/static/broker/site.css{query}")["Cache-Control"] == "max-age=60, public"


def test_what_is_not_there_is_not_kept(client: Client) -> None:
    answer = client.get("/static/broker/none.css?v=None")
    assert answer.status_code == 404
    assert "immutable" not in answer.get("Cache-Control", "")


Serve = Callable[[str], HttpResponse]


@pytest.fixture
def collected(tmp_path: Path, settings: Any) -> tuple[Path, Callable[[], Serve]]:
    """A folder of sources, collected once, and a server of it as it is then."""
    source = tmp_path / "source"
    (source / "bundled").mkdir(parents=True)
    (source / "site.css").write_text(TEXT)
    (source / "bundled" / "chunk-ABCDEF12.js").write_text("export {};")
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATICFILES_DIRS = [source]
    settings.STATIC_ROOT = tmp_path / "root"
    settings.WHITENOISE_AUTOREFRESH = False
    call_command("collectstatic", interactive=False, verbosity=0)

    def begin() -> Serve:
        middleware = StaticFilesMiddleware(lambda request: HttpResponse(status=404))

        def serve(path: str) -> HttpResponse:
            request: HttpRequest = RequestFactory().get(path, HTTP_ACCEPT_ENCODING="gzip, br")
            return middleware(request)  # type: ignore[return-value]

        return serve

    return source, begin


def test_files_are_compressed_ahead_of_time(collected: tuple[Path, Callable[[], Serve]]) -> None:
    answer = collected[1]()("/static/site.css")
    assert answer["Content-Encoding"] == "br"
    assert len(body(answer)) < len(TEXT) / 10


def test_what_changed_since_is_served_as_it_is_now(
    collected: tuple[Path, Callable[[], Serve]],
) -> None:
    source, begin = collected
    (source / "site.css").write_text(TEXT + "/* new */")
    answer = begin()("/static/site.css")
    assert "Content-Encoding" not in answer
    assert body(answer).endswith(b"/* new */")


def test_parts_of_scripts_are_named_by_their_content(
    collected: tuple[Path, Callable[[], Serve]],
) -> None:
    serve = collected[1]()
    assert "immutable" in serve("/static/bundled/chunk-ABCDEF12.js")["Cache-Control"]
    assert "immutable" not in serve("/static/site.css")["Cache-Control"]
