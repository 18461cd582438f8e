"""What nginx, with deploy/nginx.conf, does with a request that an instance did not answer."""

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.behind_nginx import nginx
from tests.programs import free_port

DOCUMENTS = "/api/v1/catalogs/csx/documents/"


class Instance(BaseHTTPRequestHandler):
    """`?lost=2`: the first two requests of a server end unanswered, as when a worker is killed."""

    asked: Counter[tuple[str, str]]
    """how often which server was sent which path"""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = self.server.server_name  # type: ignore[attr-defined]
        self.asked[name, self.path] += 1
        if self.asked[name, self.path] <= int(self.path.partition("lost=")[2] or 0):
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(name.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def instance(name: str) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Instance) as server:
        server.server_name = name
        threading.Thread(target=server.serve_forever).start()
        yield int(server.server_address[1])
        server.shutdown()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[int]:
    """The port of an nginx in front of two instances; there is no process for live streams."""
    Instance.asked = Counter()
    with ExitStack() as stack:
        instances = [stack.enter_context(instance(name)) for name in ("one", "two")]
        yield stack.enter_context(nginx(tmp_path, instances, free_port()))


def answer(port: int, method: str, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, b"{}" if method == "POST" else None)
        response = connection.getresponse()
        response.read()
        return response.status


@pytest.mark.parametrize("path", ["/api/v1/headers/", "/runs/", DOCUMENTS])
def test_a_read_that_met_the_end_of_a_worker_of_each_instance_is_answered(
    front: int, path: str
) -> None:
    assert answer(front, "GET", f"{path}?lost=1") == 200
    assert Instance.asked.total() == 3


def test_instances_whose_workers_ended_are_asked_at_once_again(front: int) -> None:
    """Their ports are open all the time."""
    assert answer(front, "GET", "/api/v1/headers/?lost=9") == 502
    assert Instance.asked.total() == 4
    assert {answer(front, "GET", "/api/v1/headers/") for _ in range(8)} == {200}


@pytest.mark.parametrize(
    "path", ["/api/v1/auth/token/", "/api/v1/auth/api-tokens/", "/api/v1/headers/", "/login/"]
)
def test_a_post_that_was_sent_is_not_sent_again(front: int, path: str) -> None:
    assert answer(front, "POST", f"{path}?lost=1") == 502
    assert Instance.asked.total() == 1


@pytest.mark.parametrize("path", [DOCUMENTS, "/api/v1/documents/csx/raw"])
def test_documents_that_are_written_may_be_sent_again(front: int, path: str) -> None:
    assert answer(front, "POST", f"{path}?lost=1") == 200


def test_a_post_that_was_not_sent_goes_to_the_other_instance(tmp_path: Path) -> None:
    Instance.asked = Counter()
    with ExitStack() as stack:
        there = stack.enter_context(instance("there"))
        port = stack.enter_context(nginx(tmp_path, [free_port(), there]))
        for path in ("/api/v1/auth/token/", "/login/", DOCUMENTS):
            assert {answer(port, "POST", path) for _ in range(4)} == {200}
            assert Instance.asked["there", path] == 4


def test_followers_are_answered_by_an_instance_where_nobody_serves_live_streams(
    front: int,
) -> None:
    assert answer(front, "GET", "/api/v1/headers/ab12/documents/?follow=true") == 200
    assert answer(front, "GET", "/api/v1/headers/live/") == 200
