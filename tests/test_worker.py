"""The production server's worker: it stays with a busy client, and keeps nobody waiting."""

import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.programs import free_port, wait_for_port

ROOT = Path(__file__).resolve().parent.parent
THREADS = 16
APPLICATION = """
import threading, time
def application(environ, start_response):
    time.sleep(0.02)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(threading.get_ident()).encode()]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """One worker, of whose threads half may stay with a client."""
    (tmp_path / "told.py").write_text(APPLICATION)
    port = free_port()
    environment = os.environ | {
        "BROKER_BIND": f"127.0.0.1:{port}",
        "BROKER_WORKERS": "1",
        "BROKER_THREADS": str(THREADS),
    }
    serve = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
    serve += ["--pythonpath", str(tmp_path), "told"]
    process = subprocess.Popen(serve, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield process, port
    finally:
        process.terminate()
        process.wait(20)


def connected(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=10)


def answered(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.status == 200
    return response.read().decode()


def test_a_client_that_asks_on_and_on_is_served_by_one_thread(
    server: tuple[subprocess.Popen[bytes], int],
) -> None:
    connection = connected(server[1])
    assert len({answered(connection) for _ in range(50)}) == 1


def test_clients_that_keep_their_connections_wait_for_nobody(
    server: tuple[subprocess.Popen[bytes], int],
) -> None:
    """Many more of them than threads, each with pauses longer than a thread stays."""
    connections = [connected(server[1]) for _ in range(2 * THREADS)]
    for _ in range(3):
        for connection in connections:
            answered(connection)  # within the connection's timeout
        time.sleep(0.1)


def test_busy_clients_leave_room_for_a_new_one(
    server: tuple[subprocess.Popen[bytes], int],
) -> None:
    """They ask without a pause until the new one has its answer."""
    done, all_busy = threading.Event(), threading.Barrier(THREADS + 1, timeout=10)

    def ask() -> None:
        connection = connected(server[1])
        for _ in range(5):
            answered(connection)
        all_busy.wait()
        while not done.is_set():
            answered(connection)

    with ThreadPoolExecutor(THREADS) as clients:
        asking = [clients.submit(ask) for _ in range(THREADS)]
        try:
            all_busy.wait()
            for _ in range(5):
                answered(connected(server[1]))
        finally:
            done.set()
        for client in asking:
            client.result()


def test_it_stops_while_a_client_keeps_its_connection(
    server: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, port = server
    connection = connected(port)
    answered(connection)
    process.terminate()
    assert process.wait(20) == 0
    with pytest.raises(ConnectionError):
        answered(connection)
