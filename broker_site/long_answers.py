"""The threads of a web worker, of which long answers hold no more than a few.

A thread writes an answer from its first byte to its last, so as many long answers as there are
threads would keep all short ones waiting. A long answer goes on only when it has a turn, of which
there are `TURNS`. One that waits for its turn or for a reader of files, or whose client is slow,
has its place among the threads taken by a new one. Outside of these threads nothing here waits.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

LONG_BYTES = 8 * 2**20
"""more than this is long: a frame of 2048 × 2048 pixels of 16 bits is not"""
TURNS = 2
TURN_SECONDS = 1.0
"""then others have theirs"""
SLOW_SECONDS = 0.25
"""a client that takes longer over one chunk keeps no turn"""
WAIT_SECONDS = 60.0
"""for a turn; then an answer goes on without"""
REPLACED = 64
"""so many threads have another one in their place; each may hold some megabytes"""

Given = ParamSpec("Given")
Result = TypeVar("Result")


class AnsweringThread:
    """What one thread is about, and whether it has a turn."""

    def __init__(self, threads: "Threads") -> None:
        self._threads = threads
        self.has_turn = self.replaced = False
        self.since = 0.0
        """when it got its turn"""
        self.sending_since = 0.0
        """when it began to send what it made, 0 while it makes something"""

    def go_on(self) -> None:
        """Returns when it is this answer's turn."""
        now = time.monotonic()
        if self.has_turn and now - self.since < TURN_SECONDS:
            return
        self._threads.turns.pass_on(self)
        if not self._threads.turns.take(self, 0):
            self.stand_aside()
            self._threads.turns.take(self, WAIT_SECONDS)

    def stand_aside(self) -> None:
        """This thread waits for what others need not wait for."""
        self._threads.replace(self)

    def send(self, chunk: bytes) -> Iterator[bytes]:
        self.sending_since = time.monotonic()
        yield chunk
        self.sending_since = 0.0

    def is_slow(self) -> bool:
        return 0 < self.sending_since < time.monotonic() - SLOW_SECONDS

    def end(self) -> None:
        self._threads.turns.pass_on(self)


class Turns:
    """A few turns, for who waited longest. Who sends to a slow client loses his to who waits."""

    def __init__(self, count: int, on_loss: Callable[[AnsweringThread], None]) -> None:
        self._count, self._on_loss = count, on_loss
        self._lock = threading.Lock()
        self._having: list[AnsweringThread] = []
        self._waiting: deque[tuple[AnsweringThread, threading.Event]] = deque()

    def take(self, answer: AnsweringThread, seconds: float) -> bool:
        """Whether the answer got a turn within this time."""
        mine, end = threading.Event(), time.monotonic() + seconds
        with self._lock:
            self._waiting.append((answer, mine))
            self._hand_out()
        while not mine.wait(min(SLOW_SECONDS, max(0.0, end - time.monotonic()))):
            with self._lock:
                self._take_from_slow()
                if not mine.is_set() and time.monotonic() >= end:
                    self._waiting.remove((answer, mine))
                    return False
        return True

    def pass_on(self, answer: AnsweringThread) -> None:
        with self._lock:
            if answer.has_turn:
                self._end_turn(answer)
                self._hand_out()

    def _take_from_slow(self) -> None:
        for slow in [answer for answer in self._having if answer.is_slow()]:
            self._end_turn(slow)
            self._on_loss(slow)
        self._hand_out()

    def _end_turn(self, answer: AnsweringThread) -> None:
        answer.has_turn = False
        self._having.remove(answer)

    def _hand_out(self) -> None:
        while self._waiting and len(self._having) < self._count:
            answer, event = self._waiting.popleft()
            answer.has_turn, answer.since = True, time.monotonic()
            self._having.append(answer)
            event.set()


class Threads(Executor):
    """As many threads as said, and one more for each that a long answer holds."""

    def __init__(self, count: int, at_end: Callable[[], None]) -> None:
        """at_end: called by a thread that ends, to give back what it keeps"""
        self.turns = Turns(TURNS, self.replace)
        self._at_end = at_end
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._replaced = 0
        self._count = count
        for _ in range(count):
            self._start()

    def submit(
        self, work: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Result]:
        future: Future[Result] = Future()
        self._work.put(partial(_fulfil, future, partial(work, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """What was submitted is still done; nobody waits for it."""
        for _ in range(self._count):
            self._work.put(None)

    def replace(self, answer: AnsweringThread) -> None:
        """Another thread in the place of the one that this answer holds, if it is not too many."""
        with self._lock:
            if answer.replaced or self._replaced >= REPLACED:
                return
            answer.replaced = True
            self._replaced += 1
        self._start()

    def _start(self) -> None:
        threading.Thread(target=self._serve, name="web", daemon=True).start()

    def _serve(self) -> None:
        while work := self._work.get():
            answer = _here.answer = AnsweringThread(self)
            work()
            answer.end()
            if answer.replaced:
                self._at_end()
                with self._lock:
                    self._replaced -= 1
                return


def _fulfil(future: Future[Result], work: Callable[[], Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


class _Here(threading.local):
    answer: AnsweringThread | None = None


_here = _Here()


def begin() -> None:
    """Before a long answer is begun: returns when it is its turn."""
    if _here.answer is not None:
        _here.answer.go_on()


def stand_aside() -> None:
    """Before waiting for what other requests need not wait for."""
    if _here.answer is not None:
        _here.answer.stand_aside()


def in_turn(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same chunks. What is long goes on in turn with others."""
    answer, size = _here.answer, 0
    if answer is None:
        yield from chunks
        return
    for chunk in chunks:
        yield from answer.send(chunk)
        size += len(chunk)
        if size > LONG_BYTES:
            answer.go_on()
