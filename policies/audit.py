"""The audit trail: who did what, when, from where, and what became of it.

`record` writes at once, in the transaction at hand: sign-ins, and changes to policies
and tokens with the values before and after. `record_soon` is for what happens all the
time, reads and refusals: events wait in a bounded queue for at most about a second, are
written in batches by a thread of this process, and the rest when it ends. When the
queue is full the caller writes its event itself, so that none is ever dropped.

A read is told of runs that not everybody may read. Whether a run is public is asked when
the batch is written, not while its reader waits.
"""

import atexit
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import structlog
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.db import DatabaseError, connection
from django.db.models import Model
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from policies.addresses import client_address, client_network
from policies.models import APIToken, AuditEvent, Proposal, Session, User
from policies.tracking import Tracked, differences, values_of

log = structlog.get_logger(__name__)
Kind = AuditEvent.Kind

CAPACITY = 10_000
BATCH = 500
SECONDS = 1.0
"""how long an event waits for others, so that they are written together"""
TRIES_AT_SHUTDOWN = 5
COMMAND = "command"
"""the credential of who runs a command on the server"""


@dataclass
class AtHand:
    """The request at hand, and what its views say for the trail."""

    request: HttpRequest
    runs: list["ReadRun"] = field(default_factory=list)
    """that its answer shows"""
    refusal: dict[str, str] = field(default_factory=dict)
    """why its credentials are refused; the caller is told no reason"""


_at_hand: ContextVar[AtHand | None] = ContextVar("at_hand", default=None)
_reason: ContextVar[str] = ContextVar("reason", default="")
_bulk: ContextVar[list[AuditEvent] | None] = ContextVar("bulk", default=None)


class ReadRun(Protocol):
    """What the trail needs to know of a run."""

    @property
    def uid(self) -> str | None: ...
    @property
    def proposal(self) -> str | None: ...
    @property
    def catalog(self) -> Any: ...


@dataclass
class ReadRecord:
    """What an event about runs says, and the runs that were read: (catalog, uid, proposal)."""

    fields: dict[str, Any]
    runs: list[tuple[str, str, str]] = field(default_factory=list)


# -- Recording -----------------------------------------------------------------------------


def record(kind: AuditEvent.Kind, **fields: Any) -> None:
    """Writes an event now, in the transaction at hand."""
    _record_at(None, kind, **fields)


def record_soon(kind: AuditEvent.Kind, request: HttpRequest, **fields: Any) -> None:
    """Writes an event within a few seconds, whatever becomes of this process short of a kill."""
    trail.put(ReadRecord(_event_fields(kind, request, **fields)))


def record_read(request: HttpRequest, runs: Iterable[ReadRun], **fields: Any) -> None:
    """Somebody read these runs. Only those that not everybody may read are told of."""
    if not _user(request).pk:
        return  # Nobody in particular reads what is public, and nothing else.
    read = [(run.catalog.name, str(run.uid), run.proposal or "") for run in runs]
    trail.put(ReadRecord(_event_fields(Kind.READ, request, **fields), read))


def note_runs(runs: Iterable[ReadRun]) -> None:
    """The answer to the request at hand shows these runs. For the view that shows them."""
    if at_hand := _at_hand.get():
        at_hand.runs.extend(runs)


def note_refusal(**details: str) -> None:
    """Why the credentials of the request at hand are refused."""
    if at_hand := _at_hand.get():
        at_hand.refusal = details


def take_over() -> None:
    """The caller will record what this request reads, once it knows how much it was."""
    if at_hand := _at_hand.get():
        at_hand.runs.clear()


@contextmanager
def with_reason(reason: str) -> Iterator[None]:
    """Changes to policies within are recorded with this reason."""
    token = _reason.set(reason)
    try:
        yield
    finally:
        _reason.reset(token)


@contextmanager
def in_bulk() -> Iterator[None]:
    """Events recorded within are written together at its end, if it ends well."""
    events: list[AuditEvent] = []
    token = _bulk.set(events)
    try:
        yield
    finally:
        _bulk.reset(token)
    AuditEvent.objects.bulk_create(events, batch_size=BATCH)


def record_links(through: type[Model], instance: Model, added: Iterable[str]) -> None:
    """Links were stored past the manager of a many-to-many relation, whose signal tells of them."""
    _record_change(instance, "changed", {"of": through.__name__, "added": sorted(added)})


def _event_fields(
    kind: AuditEvent.Kind, request: HttpRequest | None, **fields: Any
) -> dict[str, Any]:
    """The fields of an event, with what the request says about its circumstances.

    `user` names the actor.
    """
    user = fields.pop("user", None)
    known: dict[str, Any] = {"kind": kind, "time": timezone.now(), "credential": COMMAND}
    if request is not None:
        user = user or _user(request)
        known |= {
            "credential": _credential(request),
            "address": client_address(request),
            "route": f"{request.method} {request.path}",
            "request_id": structlog.contextvars.get_contextvars().get("request_id", ""),
        }
    if user is not None and user.pk:
        known |= {"actor": user.get_username(), "actor_pk": user.pk}
    return known | fields


def _event(fields: dict[str, Any]) -> AuditEvent:
    """The row, with texts that the database takes and that fit."""
    cleaned = {name: value if name == "time" else storable(value) for name, value in fields.items()}
    for name, longest in _longest().items():
        if isinstance(value := cleaned.get(name), str):
            cleaned[name] = value[:longest]
    return AuditEvent(**cleaned)


@cache
def _longest() -> dict[str, int]:
    """How many characters fit into the texts of an event."""
    fields = AuditEvent._meta.concrete_fields
    return {field.name: field.max_length for field in fields if field.max_length}


def _user(request: HttpRequest) -> Any:
    return getattr(request, "user", None) or User()


def _credential(request: HttpRequest) -> str:
    auth = getattr(request, "auth", None)
    if isinstance(auth, APIToken):
        return f"token {auth.key}"
    if isinstance(auth, Session):
        return f"session {auth.pk}"
    return "browser" if _user(request).pk else ""


def storable(value: Any) -> Any:
    """The same as JSON that PostgreSQL stores: no NUL, no half of a surrogate pair."""
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else str(value)


# -- Changes of policies and tokens ----------------------------------------------------------


def on_row_changed(
    sender: type[Model], instance: Model, before: Any, after: Any, **kwargs: Any
) -> None:
    hidden = sender.hidden if issubclass(sender, Tracked) else frozenset()
    changes = differences(before, after, hidden)
    _record_change(instance, _word(before, after), {"changes": changes})


def on_row_deleted(sender: type[Model], instance: Model, **kwargs: Any) -> None:
    if issubclass(sender, Tracked):
        on_row_changed(sender, instance, values_of(instance), {})


def on_links_changed(
    sender: type[Model],
    instance: Model,
    action: str,
    model: type[Model],
    pk_set: set[Any] | None,
    **kwargs: Any,
) -> None:
    """Somebody was made staff of a beamline, say, or given a permission."""
    word = {"post_add": "added", "post_remove": "removed", "pre_clear": "cleared"}.get(action)
    if word is None or not (pk_set or action == "pre_clear"):
        return
    if action == "pre_clear":
        names = _linked(sender, instance, model)
    else:
        names = [str(row) for row in model._default_manager.filter(pk__in=pk_set or ())]
    if names:
        _record_change(instance, "changed", {"of": sender.__name__, word: sorted(names)})


def _linked(through: type[Model], instance: Model, model: type[Model]) -> list[str]:
    """What a many-to-many relation links to the instance."""
    ends = {f.related_model: f.name for f in through._meta.fields if f.related_model}
    links = through._default_manager.filter(**{ends[type(instance)]: instance})
    return [str(getattr(link, ends[model])) for link in links]


def _record_change(instance: Model, word: str, details: dict[str, Any]) -> None:
    kind = Kind.TOKEN if isinstance(instance, APIToken) else Kind.POLICY
    details = {"what": instance._meta.label, "pk": instance.pk, "name": str(instance)} | details
    if reason := _reason.get():
        details["reason"] = reason
    record(kind, result=word, details=details)


def _word(before: Any, after: Any) -> str:
    if not before:
        return "created"
    return "changed" if after else "deleted"


# -- Sign-ins --------------------------------------------------------------------------------


def on_signed_in(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    # A program's sign-in is told of where its session begins.
    if SESSION_KEY in getattr(request, "session", ()):
        _record_at(request, Kind.SIGN_IN, user=user, result="browser")


def on_signed_out(sender: Any, request: HttpRequest, user: User | None, **kwargs: Any) -> None:
    if user is not None:
        _record_at(request, Kind.SESSION_ENDED, user=user, result="browser signed out")


def on_sign_in_failed(
    sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    if getattr(request, "axes_locked_out", False) and not _begins_lockout(request):
        return  # Told of when it began; an attacker shall not fill the trail.
    name = credentials.get("username") or credentials.get("login") or ""
    _record_at(request, Kind.SIGN_IN_FAILED, actor=str(name), result="failed")


def on_locked_out(
    sender: Any, request: HttpRequest, username: str | None = None, **kwargs: Any
) -> None:
    if _begins_lockout(request):
        _record_at(request, Kind.LOCKED_OUT, actor=username or "", result="locked out")


def _begins_lockout(request: HttpRequest | None) -> bool:
    """axes counts a failure only of who was not locked out yet."""
    return getattr(request, "axes_failures_since_start", None) is not None


def _admits_failure_of(request: HttpRequest) -> bool:
    admitted = failed_sign_ins.admit(client_network(request))
    if not admitted:
        trail.watch()
    return admitted


BOUNDED = {Kind.SIGN_IN_FAILED, Kind.LOCKED_OUT}
"""that anybody can cause who has never been here"""


def _record_at(request: HttpRequest | None, kind: AuditEvent.Kind, **fields: Any) -> None:
    at_hand = _at_hand.get()
    if request is None and at_hand is not None:
        request = at_hand.request
    if request is not None and kind in BOUNDED and not _admits_failure_of(request):
        return
    event = _event(_event_fields(kind, request, **fields))
    waiting = _bulk.get()
    if waiting is None:
        event.save()
    else:
        waiting.append(event)


# -- What became of a request ----------------------------------------------------------------


class AuditMiddleware:
    """Tells of refusals, and of answers about runs that no stream tells of itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        at_hand = AtHand(request)
        token = _at_hand.set(at_hand)
        try:
            response = self.get_response(request)
            _describe(at_hand, response)
        finally:
            _at_hand.reset(token)
        return response


def _describe(at_hand: AtHand, response: HttpResponseBase) -> None:
    request, status = at_hand.request, response.status_code
    if status in (401, 403) or (status == 404 and _names_a_run(request)):
        if _admit(request):
            details = at_hand.refusal
            record_soon(Kind.REFUSED, request, status=status, result="refused", details=details)
    elif status < 300 and at_hand.runs:
        size = _sent(request, response)
        record_read(request, at_hand.runs, status=status, bytes=size, result="complete")


def _admit(request: HttpRequest) -> bool:
    """False if a refusal is one too many, of nobody in particular.

    Whoever signs in can be found and is limited otherwise. Anybody else could fill the disk.
    """
    return bool(_user(request).pk) or anonymous_refusals.admit(client_network(request))


class Bound:
    """At most so many of a kind in a window of time from one network, and from all together."""

    def __init__(self, each: int, together: int, seconds: float) -> None:
        self._each, self._together, self._seconds = each, together, seconds
        self._lock = threading.Lock()
        self._begin, self._counts = 0.0, Counter[str]()
        self._left_out, self._ended = Counter[str](), Counter[str]()

    def admit(self, network: str) -> bool:
        """False: one too many, which is counted."""
        with self._lock:
            if time.monotonic() - self._begin >= self._seconds:
                self._end()
            within = self._counts[network] < self._each
            if within and self._counts.total() < self._together:
                self._counts[network] += 1
                return True
            _add(self._left_out, network, 1)
            return False

    def left_out(self, *, at_once: bool = False) -> Counter[str]:
        """How many of each network the windows that have ended left out; told once.

        `at_once` ends the one at hand, as when the process ends.
        """
        with self._lock:
            if at_once or time.monotonic() - self._begin >= self._seconds:
                self._end()
            ended, self._ended = self._ended, Counter()
        return ended

    def _end(self) -> None:
        for network, count in self._left_out.items():
            _add(self._ended, network, count)
        self._begin = time.monotonic()
        self._counts, self._left_out = Counter(), Counter()


def _add(counts: Counter[str], network: str, count: int) -> None:
    """Counts a network by its name, or with others when many have one already."""
    known = network in counts or len(counts) < NETWORKS
    counts[network if known else OTHERS] += count


NETWORKS = 100
"""that are named when events of theirs are left out; more are counted together"""
OTHERS = "others"

anonymous_refusals = Bound(each=20, together=500, seconds=60)
"""In each process."""
failed_sign_ins = Bound(each=100, together=500, seconds=60)
"""In each process. The lockout bounds those of one network, but somebody may have thousands."""


def left_out(at_once: bool = False) -> list[ReadRecord]:
    """Events that tell how many were left out, of the windows that have ended."""
    kinds = {Kind.REFUSED: anonymous_refusals, Kind.SIGN_IN_FAILED: failed_sign_ins}
    counted = ((kind, bound.left_out(at_once=at_once)) for kind, bound in kinds.items())
    return [_left_out(kind, counts) for kind, counts in counted if counts]


def _left_out(kind: AuditEvent.Kind, counts: Counter[str]) -> ReadRecord:
    details = {"left out": counts.total(), "networks": dict(counts.most_common())}
    only = next(iter(counts)) if len(counts) == 1 else OTHERS
    address = {} if only == OTHERS else {"address": only}
    fields = {"kind": kind, "time": timezone.now(), "result": "left out", "details": details}
    return ReadRecord(fields | address)


def _sent(request: HttpRequest, response: HttpResponseBase) -> int | None:
    """The bytes of an answer; None for a stream that nobody counts."""
    if request.method == "HEAD":
        return 0
    return None if response.streaming else len(getattr(response, "content", b""))


def _names_a_run(request: HttpRequest) -> bool:
    """Somebody who has signed in asked for a run that is not there for them."""
    return request.path_info.startswith(("/api/v1/", "/runs/")) and bool(_user(request).pk)


# -- Writing ---------------------------------------------------------------------------------


def write(reads: Sequence[ReadRecord]) -> None:
    """Stores events; those about public runs alone are left out."""
    proposals = {proposal for read in reads for _, _, proposal in read.runs}
    public = _public(proposals)
    events = [event for read in reads if (event := _restricted(read, public)) is not None]
    if events:
        AuditEvent.objects.bulk_create(events)


def _public(proposals: set[str]) -> set[str]:
    proposals = proposals - {""}
    if not proposals:
        return set()
    rows = Proposal.objects.public().filter(proposal_id__in=proposals)
    return set(rows.values_list("proposal_id", flat=True))


def _restricted(read: ReadRecord, public: set[str]) -> AuditEvent | None:
    runs = [run for run in read.runs if run[2] not in public]
    if read.runs and not runs:
        return None
    event = _event(read.fields)
    if len(read.runs) == 1:
        event.catalog, event.run_uid, event.proposal = (text[:100] for text in runs[0])
    elif runs:
        event.details = event.details | {"runs": [storable(run[:2]) for run in runs]}
    return event


class Trail:
    """A bounded queue of events and the thread that writes them.

    `more` gives further events that are due; it is asked about once a second, and with True for
    those that are due at the end.
    """

    def __init__(
        self,
        write: Callable[[Sequence[ReadRecord]], None],
        capacity: int = CAPACITY,
        seconds: float = SECONDS,
        more: Callable[[bool], list[ReadRecord]] = lambda _: [],
    ) -> None:
        self._write = write
        self._more = more
        self._seconds = seconds
        self._waiting: queue.Queue[ReadRecord] = queue.Queue(capacity)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, read: ReadRecord) -> None:
        if not settings.AUDIT_IN_BACKGROUND or self._closing.is_set():
            self._write([*self._more(False), read])
            return
        self._begin()
        try:
            self._waiting.put_nowait(read)
        except queue.Full:
            self._write([read])

    def watch(self) -> None:
        """Sees to it that `more` is asked."""
        if settings.AUDIT_IN_BACKGROUND and not self._closing.is_set():
            self._begin()

    def close(self) -> None:
        """Writes what waits; called when the process ends."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=20)
            self._deliver(self._more(True))
        self._write_waiting()

    def _begin(self) -> None:
        # Also begins anew in a forked process, where the thread is not alive.
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        # It sleeps in between: woken by each event, it would take turns with its readers.
        while not self._closing.wait(self._seconds):
            self._deliver(self._more(False))
            self._write_waiting()
        self._write_waiting()
        connection.close()

    def _write_waiting(self) -> None:
        while batch := self._next_batch():
            self._deliver(batch)

    def _next_batch(self) -> list[ReadRecord]:
        batch: list[ReadRecord] = []
        with suppress(queue.Empty):
            while len(batch) < BATCH:
                batch.append(self._waiting.get_nowait())
        return batch

    def _deliver(self, batch: list[ReadRecord]) -> None:
        """Writes a batch, if there is one, again and again while the database is away."""
        tries = 0
        while batch:
            try:
                self._write(batch)
                return
            except DatabaseError as error:
                tries += 1
                log.warning("audit waits for the database", events=len(batch), error=str(error))
                connection.close()
                if self._closing.is_set() and tries >= TRIES_AT_SHUTDOWN:
                    self._give_to_the_log(batch)
                    return
                time.sleep(1)
            except Exception:
                log.exception("audit events are defective")
                self._give_to_the_log(batch)
                return

    def _give_to_the_log(self, batch: list[ReadRecord]) -> None:
        for read in batch:
            event = {name: str(value) for name, value in read.fields.items()}
            log.error("audit event not stored", audit_event=event, runs=read.runs)


trail = Trail(write, more=left_out)
atexit.register(trail.close)
