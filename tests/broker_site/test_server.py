"""The production server keeps no client waiting for those that only hold their connections."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import free_port, wait_for_port

ROOT = Path(__file__).resolve().parents[2]
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
    """One worker of 16 threads."""
    (tmp_path / "pause.py").write_text(APPLICATION)
    port = free_port()
    environment = os.environ | {
        "BROKER_BIND": f"127.0.0.1:{port}",
        "BROKER_WORKERS": "1",
        "BROKER_THREADS": str(THREADS),
    }
    serve = [sys.executable, "-m", "gunicorn", "--config", "deploy/gunicorn.conf.py"]
    serve += ["--pythonpath", str(tmp_path), "pause"]
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


def test_clients_that_keep_their_connections_wait_for_nobody(
    server: tuple[subprocess.Popen[bytes], int],
) -> None:
    """Many more of them than threads, each with pauses longer than an answer takes."""
    connections = [connected(server[1]) for _ in range(2 * THREADS)]
    for _ in range(3):
        for connection in connections:
            answered(connection)  # within the connection's timeout
        time.sleep(0.1)


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
