"""Short answers do not wait for long ones, and connections do not for the end of a worker."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from broker_site import long_answers
from broker_site.long_answers import (
    LONG_BYTES,
    TURNS,
    AnsweringThread,
    Threads,
    begin,
    in_turn,
    stand_aside,
)
from tests.documents import Recorder
from tests.frames import SIDE, record_frames
from tests.load import ask
from tests.running import Installation

THREADS = 4
FRAMES = 32
FRAMES_BYTES = FRAMES * SIDE * SIDE * 2


@contextmanager
def reading_slowly(port: int, path: str, count: int) -> Iterator[list[socket.socket]]:
    """Clients that asked for something long and have read its beginning."""
    with ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            clients.append(client)
        yield clients


def rest_of(client: socket.socket) -> bytes:
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.read()


def test_slow_downloads_keep_nobody_waiting(recorder: Recorder, tmp_path: Path) -> None:
    """Of many more clients than there are threads, without a proxy; each gets its answer whole."""
    run = f"/api/v1/headers/{record_frames(recorder, 'slow', FRAMES)}/"
    image = f"{run}streams/primary/data/image/?format=octet-stream"
    installation = Installation.make(
        tmp_path, BROKER_WORKERS="1", BROKER_THREADS=str(THREADS), BROKER_QUERY_SECONDS="60"
    )
    with installation.instance() as instance:
        right = ask(instance.port, image)[1]
        assert len(right) == FRAMES_BYTES > LONG_BYTES
        with reading_slowly(instance.port, image, 5 * THREADS) as clients:
            for client in clients[: 3 * THREADS]:
                assert client.recv(5) == b"HTTP/"
                assert ask(instance.port, run)[0] == 200
            assert ask(instance.port, f"{image}&slice=7")[0] == 200
            assert rest_of(clients[-1]) == right


def test_a_worker_that_stops_takes_no_connection_that_it_will_not_answer(
    recorder: Recorder, tmp_path: Path
) -> None:
    """While it ends a long answer, others find its port closed and ask another instance."""
    run = f"/api/v1/headers/{record_frames(recorder, 'stopping', FRAMES)}/"
    image = f"{run}streams/primary/data/image/?format=octet-stream"
    installation = Installation.make(tmp_path, BROKER_WORKERS="2")
    with installation.instance() as instance:
        with reading_slowly(instance.port, image, 1) as (client,):
            assert client.recv(1, socket.MSG_PEEK) == b"H"
            instance.process.terminate()
            wait_until_refused(instance.port)
            assert instance.process.poll() is None
            assert len(rest_of(client)) == FRAMES_BYTES
        assert instance.process.wait(20) == 0


def wait_until_refused(port: int) -> None:
    """Every connection until then is answered."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
            probe.settimeout(10)
            probe.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert probe.recv(12) == b"HTTP/1.1 200"
    pytest.fail("the port is open still")


@pytest.fixture
def threads() -> Iterator[Threads]:
    made = Threads(1, Mock())
    yield made
    made.shutdown()


def result(future: Future[int]) -> int:
    return future.result(10)


def test_who_stands_aside_lets_others_work(threads: Threads) -> None:
    go = threading.Event()

    def waits() -> int:
        stand_aside()
        return int(go.wait(10))

    waiting = threads.submit(waits)
    assert result(threads.submit(lambda: 7)) == 7
    assert not waiting.done()
    go.set()
    assert result(waiting) == 1
    assert result(threads.submit(lambda: 8)) == 8


def test_there_are_no_more_threads_than_before_when_long_answers_ended(threads: Threads) -> None:
    def own_thread() -> int:
        stand_aside()
        return threading.get_ident()

    before = [thread for thread in threading.enumerate() if thread.name == "web"]
    for _ in range(2 * long_answers.REPLACED):
        result(threads.submit(own_thread))
    after = [thread for thread in threading.enumerate() if thread.name == "web"]
    assert len(after) <= len(before) + 2  # the last ones may be ending


def test_an_error_is_that_of_the_work_alone(threads: Threads) -> None:
    with pytest.raises(ZeroDivisionError):
        result(threads.submit(lambda: 1 // 0))
    assert result(threads.submit(lambda: 1)) == 1


def test_who_waits_for_a_turn_has_it_when_another_answer_ends(threads: Threads) -> None:
    done: list[int] = []
    answers = [AnsweringThread(threads) for _ in range(TURNS)]
    for answer in answers:
        answer.go_on()

    def long(number: int) -> int:
        begin()
        done.append(number)
        return number

    waiting = [threads.submit(long, number) for number in range(5)]
    assert result(threads.submit(lambda: 7)) == 7
    assert done == []
    answers[0].end()
    assert [result(future) for future in waiting] == sorted(done) == list(range(5))
    answers[1].end()


def test_a_slow_client_loses_its_turn_to_who_waits(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_answers, "SLOW_SECONDS", 0.05)
    slow = [AnsweringThread(threads) for _ in range(TURNS)]
    for answer in slow:
        answer.go_on()
        next(iter(answer.send(b"x")))
    threads.submit(begin).result(10)
    assert any(not answer.has_turn and answer.replaced for answer in slow)


def test_chunks_are_the_same_in_turn(threads: Threads) -> None:
    chunks = [b"a" * LONG_BYTES, b"b", b"", b"c" * 3]
    assert list(in_turn(chunks)) == chunks
    assert threads.submit(lambda: list(in_turn(chunks))).result(10) == chunks
