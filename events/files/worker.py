"""The reader process: opens files that may be broken or hostile, so that the web worker never does.

``python -m events.files.worker CONNECTION_FD MEMORY_FD MEMORY_SIZE SECONDS DATA_BYTES FOLDER…``

It is asked over one connection, one request at a time. Requests are pickled by the web worker,
which is trusted; answers are JSON, because a process that has read a hostile file is not. Values
go through shared memory. A request that takes too long ends the process by its alarm signal, even
inside a C library; one that wants too much memory fails by the process's resource limit.
"""

import json
import math
import mmap
import os
import resource as limits
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from events.files.assets import (
    AssetError,
    AssetMissing,
    AssetRefused,
    AssetTooLarge,
    AssetUnreadable,
    HandlerMissing,
    Layout,
    NeedsProposal,
    OutsideRoots,
    ProposalNeeded,
    Resource,
    Roots,
    allowed,
    load_handler,
)
from events.files.confinement import confine, open_files
from events.files.formats import (
    ResourceEvents,
    audit_opens,
    close_leaked,
    expect,
    guarded,
)
from events.files.opening import is_native, open_events
from events.files.reader import BLOCK_BYTES, Describe, Glance, ReadTask
from events.files.slices import Selection, SliceError, resolve, span

MAX_OPEN = 32
IDLE_SECONDS = 0.5

Answer = dict[str, Any]


class Reader:
    """Answers requests; files stay open between those of one download, which come quickly."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._open: dict[tuple[Resource, str, object], ResourceEvents] = {}
        self._roots: Roots | None = None
        self.exhausted = False

    def answer(self, request: Describe) -> Answer:
        """The answer to one request; a file that cannot be served is an answer, too."""
        try:
            _load_handlers(request)
            self._keep_only_opened_under(request.roots)
            before = set(open_files())
            with guarded(request.roots):
                answer = self._answer(request)
            with _blamed(request.datums[0][0]):
                for path in set(open_files()) - before:
                    request.roots.inside(path)
        except AssetError as error:
            self.close()
            self.exhausted = isinstance(error.__cause__, MemoryError)
            return {
                "error": type(error).__name__,
                "about": (error.uid, error.spec, error.reason),
                "cause": repr(error.__cause__)[:500],
                "last": self.exhausted,
                "proposal": getattr(error, "proposal", ""),
            }
        if any(events.leads_elsewhere for events in self._open.values()):
            self.close()  # what it leads to may be another file, or another's, by the next time
        return answer

    def _answer(self, request: Describe) -> Answer:
        match request:
            case ReadTask():
                return self._read(request)
            case Glance():
                return self._glance(request)
        return _as_answer(self._describe(request))

    def _keep_only_opened_under(self, roots: Roots) -> None:
        # A file that others may read is not to be found open by those who may not: HDF5 would share
        # it with whatever link leads to it, and the look at newly opened files would miss it.
        if roots != self._roots:
            self.close()
            self._roots = roots

    def close(self) -> None:
        """Close every file."""
        opened, self._open = self._open, {}
        for events in opened.values():
            events.close()
        close_leaked()

    def _describe(self, request: Describe) -> Layout:
        (resource, datums), *_ = request.datums
        with _blamed(resource):
            layout = self._events(resource, request).layout(datums[0])
        for resource, datums in request.datums:
            with _blamed(resource):
                events = self._events(resource, request)
                for datum in datums:
                    events.verify(datum, layout)
        with _blamed(resource):
            last = events.layout(datums[-1])
            expect(resource, last.shape, last.dtype, layout)
        return layout

    def _glance(self, request: Glance) -> Answer:
        layout = self._describe(request)
        answer = _as_answer(layout)
        with suppress(SliceError):  # the web worker will say so
            axes = resolve(request.items, (*request.before, *layout.shape)).axes
            inner = Selection(axes[len(request.before) :])
            # What is stepped over is read, too.
            if math.prod(map(span, inner.axes)) * layout.dtype.itemsize <= BLOCK_BYTES:
                read = ReadTask(request.datums, request.roots, request.handlers, inner.axes, layout)
                answer |= self._read(read) | {"taken": inner.shape}
        return answer

    def _read(self, request: ReadTask) -> Answer:
        count = sum(len(datums) for _, datums in request.datums)
        shape = (count, *Selection(request.inner).shape)
        out = np.ndarray(shape, request.expected.dtype, buffer=self._memory)
        done = 0
        for resource, datums in request.datums:
            part = out[done : done + len(datums)]
            with _blamed(resource):
                events = self._events(resource, request)
                events.read(datums, request.inner, request.expected, part)
            done += len(datums)
        return {"nbytes": out.nbytes}

    def _events(self, resource: Resource, request: Describe) -> ResourceEvents:
        path = request.roots.locate(resource)
        key = (resource, path, _state_of(path))
        if key not in self._open:
            # HDF5 would give what it knows of a file that is open still, and not what it is now.
            is_stale = any(place == path and state != key[2] for _, place, state in self._open)
            if len(self._open) >= MAX_OPEN or is_stale:
                self.close()
            self._open[key] = open_events(resource, request.roots)
        return self._open[key]


def _as_answer(layout: Layout) -> Answer:
    return {"shape": layout.shape, "dtype": layout.dtype.str, "chunks": layout.chunks}


def _state_of(path: str) -> tuple[int, ...] | None:
    """What changes when a file is replaced or grows; None for a prefix of names."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


def _load_handlers(request: Describe) -> None:
    for resource, _ in request.datums:
        if not allowed(resource.spec, request.handlers):
            raise HandlerMissing(
                resource.uid, resource.spec, "this spec is not enabled for the catalog."
            )
        if not is_native(resource.spec) and load_handler(resource.spec) is None:
            raise HandlerMissing(
                resource.uid, resource.spec, "no handler is installed for this spec."
            )


@contextmanager
def _blamed(resource: Resource) -> Iterator[None]:
    """Turn whatever goes wrong with a file into an answer that names its resource, not its path.

    Handlers are other people's code and raise anything: hence the last clause.
    """
    about = (resource.uid, resource.spec)
    try:
        yield
    except AssetError:
        raise
    except NeedsProposal as error:
        needed = ProposalNeeded(*about, "the file is not served from where it lies.")
        needed.proposal = error.proposal
        raise needed from error
    except OutsideRoots as error:
        raise AssetRefused(*about, "the file is not served from where it lies.") from error
    except FileNotFoundError as error:
        raise AssetMissing(*about, "the file is missing.") from error
    except MemoryError as error:
        raise AssetTooLarge(*about, "reading it needs more memory than allowed.") from error
    except Exception as error:
        raise AssetUnreadable(*about, "the file cannot be read.") from error


def serve(connection: Connection, memory: mmap.mmap, seconds: float) -> None:
    """Answer until the web worker goes away, or memory ran out once (a leak would keep it so)."""
    reader = Reader(memory)
    while not reader.exhausted:
        if not connection.poll(IDLE_SECONDS):
            reader.close()
            connection.poll(None)
        try:
            request = connection.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)
        answer = reader.answer(request)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.send_bytes(json.dumps(answer).encode())


def main() -> None:
    """Start from the command line of the web worker."""
    descriptor, memory, size, data_bytes = (int(sys.argv[number]) for number in (1, 2, 3, 5))
    sys.addaudithook(audit_opens)
    if not confine(sys.argv[6:]):
        print("this kernel has no Landlock: readers are not confined", file=sys.stderr)
    limits.setrlimit(limits.RLIMIT_DATA, (data_bytes, data_bytes))
    limits.setrlimit(limits.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the web worker, which then leaves
    with Connection(descriptor) as connection:
        serve(connection, mmap.mmap(memory, size), float(sys.argv[4]))


if __name__ == "__main__":
    main()
