"""A callback for a RunEngine that loses nothing: on disk first, then to the service, in order.

>>> RE.subscribe(db.writer("csx"))

The RunEngine waits for the disk only. A thread sends what is there, again and again until it is
stored; what an earlier process left is sent first. What the service refuses is kept, and told of
at the next start of a run, never in the middle of one.
"""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
import uuid
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import msgpack

from dbservice.errors import BrokerError, ConnectionLost, SignInNeeded
from dbservice.session import Session
from dbservice.spool import (
    FAILED,
    OPEN,
    SpoolError,
    SpoolFile,
    contents,
    files_in,
    plain,
    spool_folder,
)
from dbservice.wire import MSGPACK, PASSING, Request, backoff, exchange

log = logging.getLogger("dbservice")

BATCH_SECONDS = 0.1
BATCH_BYTES = 2**20
BATCH_ITEMS = 2_000
SYNC_SECONDS = 1.0
LONGEST_WAIT = 30.0
LATE_SECONDS = 600.0
"""after the stop of a run in which its detectors may still tell where their data are"""
AT_EXIT_SECONDS = 5.0
FROM_THE_START = frozenset({"start-missing", "unknown-descriptor", "unknown-resource"})
"""reasons upon which the service wants the whole run"""
LINKS = {
    "descriptor": "run_start",
    "stop": "run_start",
    "resource": "run_start",
    "stream_resource": "run_start",
    "event": "descriptor",
    "event_page": "descriptor",
    "datum": "resource",
    "datum_page": "resource",
    "bulk_datum": "resource",
    "stream_datum": "stream_resource",
}
"""what names the run of a document, or a document of it"""


class NotWritten(BrokerError):
    """A run that the service refused. path: where its documents are kept."""

    def __init__(self, detail: str, path: Path | None = None) -> None:
        super().__init__(detail)
        self.path = path


@dataclass(frozen=True)
class Health:
    """How a writer does. pending: runs that are not sent to the end."""

    connected: bool
    pending: int
    spooled_bytes: int
    last_error: str
    last_ack_at: float | None
    """epoch seconds"""


class _Sending:
    """A file on its way. sent: bytes that the service has stored."""

    def __init__(self, file: SpoolFile, *, adopted: bool = False) -> None:
        self.file = file
        self.sent = 0
        self.adopted = adopted
        self.items = BATCH_ITEMS
        self.fresh = True
        """was sent from its start, or is about to be"""
        self.failed = False
        self.over = False
        self.stopped = math.inf
        """when the run's stop was taken, by the monotonic clock"""

    @property
    def left(self) -> int:
        return 0 if self.failed or self.over else self.file.size - self.sent


class Writer:
    """Takes the documents of runs, as `RE.subscribe` gives them."""

    def __init__(
        self,
        session: Session,
        catalog: str,
        *,
        on_failure: Literal["raise", "log"] = "raise",
        folder: Path | None = None,
        adopt: bool = True,
    ) -> None:
        """folder: of the spool. adopt: send what earlier processes left, too."""
        self.folder = folder or spool_folder(session.options.server, catalog)
        self._session, self._catalog, self._on_failure = session, catalog, on_failure
        self._path = f"catalogs/{quote(catalog, safe='')}/documents/"
        self._runs: dict[str, _Sending] = {}
        """by the uid of a run, descriptor or resource, those that are taken, or were of late"""
        self._queue: list[_Sending] = []
        self._latched: NotWritten | None = None
        self._connected, self._last_error = False, ""
        self._last_ack: float | None = None
        self._lock = threading.Condition()
        self._ending = threading.Event()
        if adopt:
            self._adopt()
        self._thread = threading.Thread(target=self._work, name="dbservice-writer", daemon=True)
        self._thread.start()
        reference = weakref.ref(self)
        atexit.register(_close_at_exit, reference)

    # -- the RunEngine's side ----------------------------------------------------------------

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Keeps a document on disk.

        Raises
        ------
        SpoolError
            It cannot be kept; the run must end.
        NotWritten
            At a start: the service refused an earlier run.
        """
        if self._ending.is_set():
            raise SpoolError("This writer is closed.")
        if name == "start":
            self._raise_latched()
            self._begin(str(doc["uid"]))
        sending = self._sending_of(name, doc)
        if sending is None:
            self._latch(
                NotWritten(f"A {name} of a run that this writer has not seen the start of.")
            )
            return
        item = self._packed(sending, name, doc)
        with self._lock:
            if sending.over:
                sending = self._begin_late(sending)
            sending.file.append(name, item)
            if name == "stop":
                sending.stopped = time.monotonic()
            if sending.left >= BATCH_BYTES or name in ("start", "stop"):
                self._lock.notify_all()

    def _begin(self, run: str) -> None:
        sending = _Sending(SpoolFile.create(self.folder, run))
        with self._lock:
            oldest = time.monotonic() - LATE_SECONDS
            self._runs = {uid: s for uid, s in self._runs.items() if s.stopped > oldest}
            self._runs[run] = sending
            self._queue.append(sending)

    def _begin_late(self, sent: _Sending) -> _Sending:
        """Another file for what comes late of a run that is stored, stop and all."""
        late = _Sending(SpoolFile.create(self.folder, sent.file.run))
        late.file.ended, late.stopped = True, sent.stopped
        self._runs = {uid: late if s is sent else s for uid, s in self._runs.items()}
        self._queue.append(late)
        return late

    def _sending_of(self, name: str, doc: Mapping[str, Any]) -> _Sending | None:
        if name == "start":
            return self._runs[str(doc["uid"])]
        if name == "bulk_events":
            return self._runs.get(next(iter(doc), ""))
        sending = self._runs.get(str(doc.get(LINKS.get(name, ""))))
        if sending is not None and name in ("descriptor", "resource", "stream_resource"):
            self._runs[str(doc["uid"])] = sending
        return sending

    def _packed(self, sending: _Sending, name: str, doc: Mapping[str, Any]) -> bytes:
        try:
            packed: bytes = msgpack.packb([name, plain(doc)])
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            # Kept as a text, which the service refuses: the run gets no stop there.
            log.error("a %s cannot be written: %s", name, error)
            packed = msgpack.packb([f"unwritable {name}", {"error": str(error), "is": repr(doc)}])
        return packed

    def _raise_latched(self) -> None:
        latched, self._latched = self._latched, None
        if latched is not None and self._on_failure == "raise":
            raise latched

    def _latch(self, failure: NotWritten) -> None:
        log.error("%s", failure)
        self._last_error = str(failure)
        self._latched = self._latched or failure

    # -- what others ask -----------------------------------------------------------------------

    @property
    def health(self) -> Health:
        with self._lock:
            left = [sending.left for sending in self._queue if sending.left]
            return Health(self._connected, len(left), sum(left), self._last_error, self._last_ack)

    def flush(self, timeout: float | None = None) -> bool:
        """Waits until everything is stored or refused; False if that took too long."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            while any(sending.left for sending in self._queue):
                left = None if deadline is None else deadline - time.monotonic()
                if (left is not None and left <= 0) or not self._thread.is_alive():
                    return False
                self._lock.notify_all()
                self._lock.wait(min(left or 1.0, 1.0))
        return True

    def close(self, timeout: float = AT_EXIT_SECONDS) -> None:
        """Sends what it can in that time. The rest is sent by the next writer."""
        if self._ending.is_set():
            return
        self.flush(timeout)
        self._ending.set()
        with self._lock:
            self._lock.notify_all()
        self._thread.join(timeout)
        with self._lock:
            for sending in self._queue:
                if not sending.over:
                    sending.file.sync()
                    sending.file.release()
            self._queue.clear()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    # -- the thread's side ---------------------------------------------------------------------

    def _adopt(self) -> None:
        for path in files_in(self.folder):
            if (file := SpoolFile.adopt(path)) is not None:
                self._queue.append(_Sending(file, adopted=True))

    def _work(self) -> None:
        waits, synced = 0, time.monotonic()
        while not self._ending.is_set():
            sending = self._next()
            if time.monotonic() - synced >= SYNC_SECONDS:
                self._sync()
                synced = time.monotonic()
            if sending is None:
                continue
            wait = self._send(sending, waits)
            waits = waits + 1 if wait else 0
            if wait:
                self._ending.wait(wait)

    def _next(self) -> _Sending | None:
        """The oldest run of which something is to be sent, when there is enough of it."""
        with self._lock:
            if not any(sending.left for sending in self._queue):
                self._lock.wait(SYNC_SECONDS)
            elif all(s.left < BATCH_BYTES and not s.file.ended for s in self._queue if s.left):
                self._lock.wait(BATCH_SECONDS)
            return next((sending for sending in self._queue if sending.left), None)

    def _sync(self) -> None:
        with self._lock:
            files = [sending.file for sending in self._queue if not sending.over]
        for file in files:
            with suppress(OSError):
                file.sync()

    def _send(self, sending: _Sending, waits: int) -> float:
        """Sends a batch; gives how many seconds to wait before the next."""
        batch = sending.file.read(sending.sent, BATCH_BYTES, sending.items)
        headers = {"Content-Type": MSGPACK}
        request = Request("POST", self._path, body=b"".join(batch), headers=headers)
        try:
            self._session.do(exchange(request))
        except BrokerError as error:
            return self._refused(sending, error, len(batch), waits)
        self._stored(sending, sum(map(len, batch)))
        return 0.0

    def _stored(self, sending: _Sending, size: int) -> None:
        with self._lock:
            sending.sent += size
            sending.fresh = False
            self._connected, self._last_ack = True, time.time()
            done = sending.left == 0
            if done and sending.file.ended:
                sending.file.delete()
            elif done and sending.adopted:
                sending.file.move(OPEN)
            if done and (sending.file.ended or sending.adopted):
                self._finish(sending)
            self._lock.notify_all()

    def _finish(self, sending: _Sending) -> None:
        sending.over = True
        sending.file.release()
        self._queue.remove(sending)

    def _refused(self, sending: _Sending, error: BrokerError, items: int, waits: int) -> float:
        self._connected = not isinstance(error, ConnectionLost)
        self._last_error = str(error)
        if isinstance(error, ConnectionLost) or error.status in PASSING or error.status >= 500:
            log.warning("not stored yet: %s", error)
            return backoff(min(waits, 10) + 1, LONGEST_WAIT)
        if isinstance(error, SignInNeeded):
            self._latch(NotWritten(f"The token of the writer does not work: {error}"))
            return LONGEST_WAIT
        if error.status == 413 and items > 1:
            sending.items = max(1, items // 2)
            return 0.0
        if error.about.get("reason") in FROM_THE_START and not sending.fresh:
            sending.sent, sending.fresh = 0, True
            return 0.0
        self._fail(sending, error)
        return 0.0

    def _fail(self, sending: _Sending, error: BrokerError) -> None:
        with self._lock:
            sending.failed = True
            sending.file.move(
                FAILED, {"detail": error.detail, "status": error.status, **error.about}
            )
            path = sending.file.path
            self._lock.notify_all()
        text = f"Run {sending.file.run} was refused and is kept in {path}: {error}"
        self._latch(NotWritten(text, path))


def _close_at_exit(reference: weakref.ref[Writer]) -> None:
    writer = reference()
    if writer is not None:
        writer.close()


# -- What the command `dbservice spool` does -------------------------------------------------


@dataclass(frozen=True)
class Spooled:
    """A run in the spool. state: waiting, open, failed."""

    run: str
    state: str
    items: int
    size: int
    ended: bool
    path: Path


def spooled(folder: Path) -> list[Spooled]:
    """What is in a spool, the oldest first."""
    found = []
    for state, place in (("waiting", folder), (OPEN, folder / OPEN), (FAILED, folder / FAILED)):
        for path in files_in(place):
            with suppress(FileNotFoundError):
                inside = contents(path)
                run = path.name.removesuffix(path.suffix)
                found.append(Spooled(run, state, inside.items, inside.whole, inside.ended, path))
    return found


def closing_stop(run: str, path: Path) -> dict[str, Any]:
    """A stop for a run whose RunEngine is gone."""
    return {
        "uid": str(uuid.uuid4()),
        "run_start": run,
        "time": time.time(),
        "exit_status": "fail",
        "reason": "writer ended",
        "num_events": dict(contents(path).events),
    }


def close_run(folder: Path, run: str) -> None:
    """Ends a run in the spool that nobody writes any more; it is sent like any other then."""
    file = restored(folder, run)
    try:
        if file.ended:
            raise NotWritten(f"Run {run} has its stop already.")
        file.append("stop", msgpack.packb(["stop", closing_stop(run, file.path)]))
    finally:
        file.release()


def restored(folder: Path, run: str) -> SpoolFile:
    """The file of a run, back among those that are sent. NotWritten: there is none to be had."""
    for known in spooled(folder):
        if known.run == run:
            file = SpoolFile.adopt(known.path)
            if file is None:
                raise NotWritten(f"Run {run} is being written by another process.")
            file.restore()
            return file
    raise NotWritten(f"There is no run {run} in {folder}.")
