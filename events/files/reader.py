"""Read external files through a small pool of reader processes, in blocks of bounded size.

A web worker (gunicorn gthread: one process, several threads) keeps `PROCESSES` readers, started at
first use with a plain exec, never a fork of the threaded parent. A reader is held for one block at
a time, never for a whole download, so slow clients hold none; each download has at most two blocks
read ahead. A reader that hangs, crashes or eats memory is replaced, and the request answered.
"""

import json
import logging
import math
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, product
from multiprocessing.connection import Pipe
from operator import attrgetter
from threading import Lock
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from broker_site.long_answers import stand_aside
from events.files.assets import (
    AssetError,
    AssetRefused,
    AssetTooLarge,
    AssetUnreadable,
    Datum,
    Kwargs,
    Layout,
    ProposalNeeded,
    Resource,
    Roots,
)
from events.files.slices import Axis, Item, Selection, span

BLOCK_BYTES = 4 * 2**20
MAX_BLOCK_BYTES = 512 * 2**20
KEPT_BYTES = 16 * 2**20
PROCESSES = min(4, max(2, os.cpu_count() or 2))
SECONDS = 20.0
GRACE_SECONDS = 5.0
DATA_BYTES = 2 * 2**30
WAIT_SECONDS = 10.0
PROMPT_SECONDS = 0.1
"""an answer of a reader that takes longer is waited for beside the other requests"""
AHEAD = 1
MAX_PROPOSALS = 16
"""that the files of one request may belong to"""
ERRORS = {error.__name__: error for error in AssetError.__subclasses__()}

log = logging.getLogger(__name__)

Array = NDArray[Any]
Reply = tuple[dict[str, Any], bytes]


class ReaderBusy(Exception):
    """All readers are taken, for longer than a request should wait."""

    status: ClassVar[int] = 503
    retry_after: ClassVar[int] = 5


class ReaderLost(Exception):
    """A reader process ended while it was reading; the text says how.

    at_fault: what it read may have ended it; else it was killed from outside.
    """

    def __init__(self, text: str, *, at_fault: bool = True) -> None:
        super().__init__(text)
        self.at_fault = at_fault


@dataclass(frozen=True)
class Describe:
    """Which shape and dtype have these events? Refused if they differ.

    Events come as the runs of datums that share a resource, in their order.
    """

    datums: Sequence[tuple[Resource, Sequence[Kwargs]]]
    roots: Roots
    handlers: frozenset[str]


@dataclass(frozen=True)
class ReadTask(Describe):
    """Put `inner` of each event, which are all `expected`, into shared memory."""

    inner: tuple[Axis, ...]
    expected: Layout


@dataclass(frozen=True)
class Glance(Describe):
    """The same of a single event; if what a slice takes of it is little, put that there as well.

    items: the slice, over axes of the lengths `before` and then those of the event.
    """

    items: Sequence[Item]
    before: tuple[int, ...]


class ReaderProcess:
    """One reader process, used by one thread at a time.

    It inherits no secrets (a nearly empty environment) and two open files: the connection and the
    memory through which values come.
    """

    def __init__(self, seconds: float, data_bytes: int, folders: tuple[str, ...]) -> None:
        self._seconds = seconds
        memory = os.memfd_create("reader")
        os.ftruncate(memory, MAX_BLOCK_BYTES)  # sparse: only what is touched is held
        self._memory = mmap.mmap(memory, MAX_BLOCK_BYTES)
        self._connection, theirs = Pipe()
        numbers = (theirs.fileno(), memory, MAX_BLOCK_BYTES, seconds, data_bytes)
        self.process = subprocess.Popen(  # noqa: S603  our own module, no shell
            [sys.executable, "-P", "-m", "events.files.worker", *map(str, numbers), *folders],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=_environment(),
            cwd="/",
            pass_fds=(theirs.fileno(), memory),
        )
        theirs.close()
        os.close(memory)

    def ask(self, request: Describe) -> dict[str, Any]:
        """The answer of the process.

        Raises
        ------
        ReaderLost
            It died or was stopped; it cannot be used again.
        """
        try:
            self._connection.send(request)
            if not self._connection.poll(self._seconds + GRACE_SECONDS):
                raise ReaderLost("took too long to read")
            answer: dict[str, Any] = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._last_words() from error
        return answer

    def take(self, nbytes: int) -> bytes:
        """A copy of the values of the last answer; large memory is given back at once."""
        values = self._memory[:nbytes]
        if nbytes > KEPT_BYTES:
            self._memory.madvise(mmap.MADV_REMOVE, 0, MAX_BLOCK_BYTES)
        return values

    def stop(self) -> None:
        """End the process and give back its memory."""
        self._connection.close()
        self.process.kill()
        self.process.wait()
        self._memory.close()

    def _last_words(self) -> ReaderLost:
        status = None
        with suppress(subprocess.TimeoutExpired):
            status = self.process.wait(timeout=GRACE_SECONDS)
        if status == -signal.SIGALRM:
            return ReaderLost("took too long to read")
        # Nothing that is in a file sends these signals.
        killed = status in (-signal.SIGKILL, -signal.SIGTERM)
        return ReaderLost("brought its reader down", at_fault=not killed)


class ReaderPool:
    """A few reader processes, shared by the threads of one web worker.

    folders: below these, and nowhere else, they may read.
    """

    def __init__(
        self,
        folders: tuple[str, ...],
        processes: int = PROCESSES,
        seconds: float = SECONDS,
        data_bytes: int = DATA_BYTES,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._limits = (seconds, data_bytes, folders)
        self._wait_seconds = wait_seconds
        self._size = processes
        self._idle: list[ReaderProcess] = []
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="reader")
        self._warming = Lock()
        self._warmed = False

    def submit(self, request: Describe) -> Future[Reply]:
        """Have a request answered by the next free process."""
        self._warm()
        return self._threads.submit(self._answer, request)

    def result(self, future: Future[Reply]) -> Reply:
        """The answer, and the values it brought.

        Raises
        ------
        ReaderBusy
            No process was free within `wait_seconds`.
        AssetError
            The file cannot be served.
        """
        with suppress(TimeoutError):
            return future.result(PROMPT_SECONDS)
        stand_aside()
        try:
            return future.result(self._wait_seconds)
        except TimeoutError:
            if future.cancel():
                raise ReaderBusy("All file readers are busy. Try again in a few seconds.") from None
            return future.result()

    def close(self) -> None:
        """End all processes."""
        self._threads.shutdown(cancel_futures=True)
        while self._idle:
            self._idle.pop().stop()

    def _warm(self) -> None:
        """Start all processes together at first use: the second request will not wait for one."""
        with self._warming:
            if not self._warmed:
                self._idle = [ReaderProcess(*self._limits) for _ in range(self._size)]
                self._warmed = True

    def _answer(self, request: Describe) -> Reply:
        try:
            return self._answer_once(request)
        except AssetUnreadable as error:
            # A process may have been killed for no fault of this file: another one tries again.
            if not isinstance(error.__cause__, ReaderLost) or error.__cause__.at_fault:
                raise
            return self._answer_once(request)

    def _answer_once(self, request: Describe) -> Reply:
        # There are as many threads as processes, so one is idle unless it was lost.
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = ReaderProcess(*self._limits)
        try:
            answer = reader.ask(request)
            values = reader.take(answer.get("nbytes", 0))
        except Exception as error:
            reader.stop()  # whatever went wrong, it may be in the middle of something
            if not isinstance(error, ReaderLost):
                raise
            resource, _ = request.datums[0]
            raise AssetUnreadable(resource.uid, resource.spec, f"the file {error}.") from error
        if answer.get("last"):
            reader.stop()
        else:
            self._idle.append(reader)
        _raise_error(answer)
        return answer, values


@cache
def pool_for(folders: tuple[str, ...]) -> ReaderPool:
    """The pool of this process for the files below these folders."""
    return ReaderPool(folders)


os.register_at_fork(after_in_child=pool_for.cache_clear)


@dataclass(frozen=True)
class ArrayData:
    """An N-d array on its way: shape, little-endian dtype, and its values block by block.

    Each block continues the array in C order; it lacks leading axes of which it covers one index,
    so its first axis is axis ``len(shape) - block.ndim`` of the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Iterator[Array]


@dataclass(frozen=True)
class ArrayReader:
    """Reads the external arrays of one catalog."""

    roots: Roots
    handlers: frozenset[str]
    pool: ReaderPool
    admits: Callable[[str], bool] = lambda proposal: False
    """may the caller read this proposal? Asked where a file belongs to one"""

    def describe(self, datums: Sequence[Datum]) -> Layout:
        """Shape and dtype of one of these events, without reading values; at least one is given.

        The true ones, from the files. Area-detector HDF5, TIFF and npy files tell them by their
        headers; a file of another spec tells them only by being read by its handler.

        Raises
        ------
        RaggedEvents
            The events differ.
        AssetError, ReaderBusy
            The file cannot be served, or not now.
        """
        request = Describe(_by_resource(datums), self.roots, self.handlers)
        answer, _ = self._reply(request, self.pool.submit(request))
        return _layout(answer)

    def glance(
        self, datum: Datum, items: Sequence[Item], before: tuple[int, ...]
    ) -> tuple[Layout, Array | None]:
        """What `describe` tells of one event, and what a slice takes of it if that is little.

        One question to a reader instead of two. The slice is over axes of the lengths `before`
        and then those of the event; the values have the axes of the event alone. Raises as
        `describe` does.
        """
        request = Glance(_by_resource([datum]), self.roots, self.handlers, items, before)
        answer, values = self._reply(request, self.pool.submit(request))
        layout = _layout(answer)
        if not values:
            return layout, None
        return layout, np.ndarray(answer["taken"], layout.dtype, buffer=values)

    def read(
        self, datums: Sequence[Datum], inner: Selection, layout: Layout, *, stacked: bool = True
    ) -> ArrayData:
        """Read `inner` of every event, events first; without the event axis if not `stacked`.

        Takes the `layout` that `describe` gave for one of the events. What goes wrong with the
        first block is raised here, before anything is sent. Close the blocks to cancel.
        """
        if len(datums) > 1:
            layout = self.describe(datums)
        shape = (len(datums), *inner.shape) if stacked else inner.shape
        blocks = self._blocks(datums, inner, layout, stacked)
        return ArrayData(shape, layout.dtype, _started(blocks))

    def _blocks(
        self, datums: Sequence[Datum], inner: Selection, layout: Layout, stacked: bool
    ) -> Generator[Array, None, None]:
        pending: list[tuple[tuple[int, ...], Describe, Future[Reply]]] = []
        try:
            for part, axes in plan(len(datums), inner, layout):
                wanted = datums[part] if isinstance(part, slice) else [datums[part]]
                request = ReadTask(_by_resource(wanted), self.roots, self.handlers, axes, layout)
                shape = Selection(axes).shape
                if stacked and isinstance(part, slice):
                    shape = (len(wanted), *shape)
                _check_block(request, shape)
                pending.append((shape, request, self.pool.submit(request)))
                if len(pending) > AHEAD:
                    yield self._finished(*pending.pop(0), layout)
            while pending:
                yield self._finished(*pending.pop(0), layout)
        finally:
            for _, _, future in pending:
                future.cancel()

    def _finished(
        self,
        shape: tuple[int, ...],
        request: Describe,
        future: Future[Reply],
        layout: Layout,
    ) -> Array:
        _, values = self._reply(request, future)
        return np.ndarray(shape, layout.dtype, buffer=values)

    def _reply(self, request: Describe, future: Future[Reply]) -> Reply:
        """The answer; asked again with each proposal that a file is of and that is admitted."""
        for _ in range(MAX_PROPOSALS):
            try:
                return self.pool.result(future)
            except ProposalNeeded as error:
                if not self.admits(error.proposal):
                    raise AssetRefused(error.uid, error.spec, error.reason) from error
                admitted = request.roots.admitted | {error.proposal}
                request = replace(request, roots=replace(request.roots, admitted=admitted))
                future = self.pool.submit(request)
        return self.pool.result(future)


def _layout(answer: dict[str, Any]) -> Layout:
    return Layout(tuple(answer["shape"]), np.dtype(answer["dtype"]), tuple(answer["chunks"]))


def _by_resource(datums: Sequence[Datum]) -> list[tuple[Resource, list[Kwargs]]]:
    return [
        (resource, [datum.kwargs for datum in group])
        for resource, group in groupby(datums, attrgetter("resource"))
    ]


def plan(
    events: int, inner: Selection, layout: Layout
) -> Iterator[tuple[int | slice, tuple[Axis, ...]]]:
    """Cut a selection into blocks of about `BLOCK_BYTES`, in C order: (events, inner axes) each.

    Whole events where they are small, else pieces of one event, but never through a piece that the
    file can only read as a whole (a compressed chunk): that would decode it again for every block.
    """
    axes = [range(events), *inner.axes]
    grains = [1, *layout.chunks]
    level, pieces = _cut(axes, grains, layout.dtype.itemsize)
    choices: list[Sequence[Axis]] = [
        axis if isinstance(axis, range) else [axis] for axis in axes[:level]
    ]
    for place in product(*choices, pieces):
        event, *rest = (*place, *axes[level + 1 :])
        part = event if isinstance(event, int) else slice(event.start, event.stop)
        yield part, tuple(rest)


def _cut(axes: Sequence[Axis], grains: Sequence[int], itemsize: int) -> tuple[int, Sequence[range]]:
    """Along which axis to cut, and into which pieces."""
    level, pieces = 0, list[range]()
    for number, (axis, grain) in enumerate(zip(axes, grains, strict=True)):
        if isinstance(axis, int):
            continue
        one = math.prod(map(span, axes[number + 1 :])) * itemsize * abs(axis.step)
        least = -(-grain // abs(axis.step))
        fitting = BLOCK_BYTES // max(one, 1)
        length = max(least, fitting - fitting % least)
        level, pieces = number, [axis[at : at + length] for at in range(0, len(axis), length)]
        if fitting >= least or grain > 1:
            break
    return level, pieces


def _check_block(request: ReadTask, shape: tuple[int, ...]) -> None:
    nbytes = math.prod(shape) * request.expected.dtype.itemsize
    if nbytes > MAX_BLOCK_BYTES:
        resource, _ = request.datums[0]
        raise AssetTooLarge(
            resource.uid,
            resource.spec,
            f"a piece of {nbytes} bytes can only be read as a whole; ask for a smaller slice.",
        )


def _started(blocks: Generator[Array, None, None]) -> Generator[Array, None, None]:
    """The same blocks, the first one read already."""
    first = next(blocks, None)

    def resumed() -> Generator[Array, None, None]:
        with closing(blocks):
            if first is not None:
                yield first
                yield from blocks

    return resumed()


def _raise_error(answer: dict[str, Any]) -> None:
    if "error" not in answer:
        return
    error = ERRORS[answer["error"]](*answer["about"])
    if isinstance(error, ProposalNeeded):
        error.proposal = answer["proposal"]
    else:
        log.warning("%s: %s", error, answer["cause"])
    raise error


def _environment() -> dict[str, str]:
    """What a reader process needs to know: where code is, and no passwords."""
    kept = ("PATH", "LANG", "LC_ALL", "TZ", "HDF5_PLUGIN_PATH")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "OPENBLAS_NUM_THREADS": "1",
    }
