"""Two instances behind nginx with deploy/nginx.conf."""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.behind_nginx import nginx
from tests.documents import Recorder
from tests.running import PASSWORD, Installation, Instance

STALL_SECONDS = 5.0
"""Nobody waits as long as it takes to restart an instance."""


@dataclass
class Cluster:
    port: int
    instances: list[Instance]

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection.request("GET" if body is None else "POST", path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture
def cluster(recorder: Recorder, tmp_path: Path) -> Iterator[Cluster]:
    installation = Installation.make(tmp_path, BROKER_NUM_PROXIES="1", BROKER_WORKERS="1")
    with ExitStack() as stack:
        instances = [stack.enter_context(installation.instance()) for _ in range(2)]
        port = stack.enter_context(nginx(tmp_path, [instance.port for instance in instances]))
        yield Cluster(port, instances)


@dataclass
class Load:
    """Clients that ask on and on, until the end of the `with` block."""

    cluster: Cluster
    paths: tuple[str, ...]
    statuses: list[int] = field(default_factory=list)
    longest: float = 0.0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._ask, args=(path,)) for path in self.paths]
        for thread in self._threads:
            thread.start()
        return self

    def _ask(self, path: str) -> None:
        body = json.dumps({"username": "alice", "password": PASSWORD}).encode()
        while not self._over.is_set():
            begin = time.monotonic()
            try:
                status, _ = self.cluster.ask(path, body if "/token/" in path else None)
            except OSError:
                status = 0
            self.statuses.append(status)
            self.longest = max(self.longest, time.monotonic() - begin)

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_instances_restarted_in_turn_fail_and_stall_no_request(
    cluster: Cluster, recorder: Recorder
) -> None:
    uid = recorder.run("312000")
    paths = (f"/api/v1/headers/{uid}/", "/api/v1/headers/", "/api/v1/auth/token/")
    with Load(cluster, paths) as load:
        time.sleep(1)
        for instance in cluster.instances:
            instance.restart()
            time.sleep(1)
    assert len(load.statuses) > 50
    assert set(load.statuses) == {200}
    assert load.longest < STALL_SECONDS
