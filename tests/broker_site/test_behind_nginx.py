"""Two instances behind nginx with deploy/nginx.conf."""

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.behind_nginx import nginx
from tests.documents import Recorder
from tests.load import SIGN_IN, Load
from tests.running import Installation

STALL_SECONDS = 5.0
"""more than any request takes on a busy machine that loads an instance; a reload once took ten"""


def test_instances_restarted_in_turn_fail_and_stall_no_request(
    recorder: Recorder, tmp_path: Path
) -> None:
    uid = recorder.run("312000")
    installation = Installation.make(tmp_path, BROKER_NUM_PROXIES="1", BROKER_WORKERS="1")
    with ExitStack() as stack:
        instances = [stack.enter_context(installation.instance()) for _ in range(2)]
        port = stack.enter_context(nginx(tmp_path, [instance.port for instance in instances]))
        paths = (f"/api/v1/headers/{uid}/", "/api/v1/headers/", SIGN_IN)
        with Load(port, paths) as undisturbed:
            time.sleep(5)
        with Load(port, paths) as load:
            time.sleep(1)
            for instance in instances:
                instance.restart()
                time.sleep(1)
    assert load.statuses.total() > 50
    assert set(load.statuses) == {200}
    assert load.longest < undisturbed.longest + STALL_SECONDS


class Upstream(BaseHTTPRequestHandler):
    """Says which server it is and how much of a body came, and goes on after a while."""

    more = threading.Event()

    def do_GET(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        self.rfile.read(size)
        self.send_response(200)
        if "follow" in self.path or "/live/" in self.path:
            self.send_header("X-Accel-Buffering", "no")
        self.end_headers()
        self.wfile.write(f"{self.server.server_name} {size}".encode())  # type: ignore[attr-defined]
        self.wfile.flush()
        if "wait" in self.path:
            self.more.wait(20)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def upstream(name: str) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        server.server_name = name
        threading.Thread(target=server.serve_forever).start()
        yield int(server.server_address[1])
        Upstream.more.set()
        server.shutdown()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Port and folder of an nginx in front of servers that say which one they are."""
    folder = tmp_path_factory.mktemp("front")
    (folder / "static").mkdir()
    (folder / "static" / "site.js").write_text("collected")
    with (
        upstream("instance") as instance,
        upstream("live") as live,
        nginx(folder, [instance, instance], live) as port,
    ):
        yield port, folder


def asked(port: int, path: str, body: bytes | None = None) -> tuple[int, str, str | None]:
    """Status, beginning of the content and Cache-Control."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET" if body is None else "POST", path, body)
        response = connection.getresponse()
        return (
            response.status,
            response.read(100).decode(),
            response.headers["Cache-Control"],
        )


@pytest.mark.parametrize(
    ("path", "server"),
    [
        ("/api/v1/headers/", "instance"),
        ("/api/v1/headers/?follow=true", "instance"),
        ("/api/v1/headers/live/", "live"),
        ("/api/v1/headers/live/?proposal=310000", "live"),
        ("/api/v1/headers/ab12/documents/", "instance"),
        ("/api/v1/headers/ab12/documents/?after=x", "instance"),
        ("/api/v1/headers/ab12/documents/?follow=false", "instance"),
        ("/api/v1/headers/ab12/documents/?follow=", "instance"),
        ("/api/v1/headers/ab12/documents/?follow=true", "live"),
        ("/api/v1/headers/ab12/documents/?from=now&follow=1&fields=a", "live"),
        ("/api/v1/headers/live/documents/?follow=no", "instance"),
        ("/", "instance"),
    ],
)
def test_live_streams_go_to_their_own_process(
    path: str, server: str, front: tuple[int, Path]
) -> None:
    assert asked(front[0], path)[:2] == (200, f"{server} 0")


def test_an_answer_that_goes_on_reaches_its_reader_at_once(front: tuple[int, Path]) -> None:
    """The server does not end before the reader has what it sent so far."""
    with closing(http.client.HTTPConnection("127.0.0.1", front[0], timeout=10)) as connection:
        connection.request("GET", "/api/v1/headers/ab12/documents/?follow=true&wait")
        assert connection.getresponse().read(6) == b"live 0"
        assert not Upstream.more.is_set()


def test_bodies_have_a_limit_and_that_of_documents_is_smaller(front: tuple[int, Path]) -> None:
    documents, posted = "/api/v1/catalogs/csx/documents/", "/api/v1/headers/"
    size = 8 * 2**20
    assert asked(front[0], documents, b"x" * size)[:2] == (200, f"instance {size}")
    assert asked(front[0], documents, b"x" * (size + 1))[0] == 413
    assert asked(front[0], posted, b"x" * (size + 1))[:2] == (200, f"instance {size + 1}")
    assert asked(front[0], posted, b"x" * (16 * 2**20 + 1))[0] == 413


def test_static_files_are_served_and_kept(front: tuple[int, Path]) -> None:
    status, content, kept = asked(front[0], "/static/site.js?v=0123456789ab")
    assert (status, content) == (200, "collected")
    assert kept == "public, max-age=31536000, immutable"
    assert asked(front[0], "/static/site.js")[2] == "public, max-age=60"
    # Not collected: the service has it.
    assert asked(front[0], "/static/new.js?v=1")[:2] == (200, "instance 0")
    assert asked(front[0], "/static/../nginx.conf")[1] != (front[1] / "nginx.conf").read_text()


def test_metrics_are_not_served(front: tuple[int, Path]) -> None:
    assert asked(front[0], "/metrics")[0] == 404


def test_an_address_of_a_static_file_names_its_content(client: object) -> None:
    from django.templatetags.static import static

    assert re.fullmatch(r"/static/broker/icon\.svg\?v=[0-9a-f]{12}", static("broker/icon.svg"))
    assert static("broker/none.svg") == "/static/broker/none.svg"
