"""What becomes of the documents that came together: stored, known already, or refused.

The order within a run: its start first, a descriptor before its events, a resource before its
datums, then the stop. After the stop a run is closed. Sending the same again is always right.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.utils import timezone

from writing.documents import KINDS, LATE, Doc, DocumentKind, Item, Refused, canonical, difference
from writing.repositories import Store, StoredRun

LATE_FOR = timedelta(minutes=10)
LINKS = ("run_start", "descriptor", "resource")
"""by which a document belongs to a run"""

MayWrite = Callable[[Doc], bool]


@dataclass
class IntakeOutcome:
    """What became of a body. refused: why not all of it was taken."""

    run: str = ""
    start: Doc = field(default_factory=dict)
    accepted: int = 0
    """items of the body that are stored now"""
    known: int = 0
    """documents that were stored already"""
    stored: list[Item] = field(default_factory=list)
    late: int = 0
    """new documents that came after the stop"""
    closed: bool = False
    refused: Refused | None = None

    @property
    def began(self) -> bool:
        return any(item.kind.name == "start" for item in self.stored)

    @property
    def ended(self) -> bool:
        return any(item.kind.name == "stop" for item in self.stored)


def take(store: Store, items: Sequence[Item], may_write: MayWrite) -> IntakeOutcome:
    """Stores documents of one run, those before the first that is refused.

    may_write: whether runs with this start may be written by who sends them.
    """
    outcome = IntakeOutcome()
    try:
        outcome.run = _run_of(store, items[0])
        order = Order(outcome.run, store, items, may_write)
    except Refused as refused:
        refused.index = items[0].index
        return _ended(outcome, refused, items)
    out_of_order = order.judge(items)
    outcome.start = order.start
    first_refused = Filing(store, order, outcome).file(out_of_order)
    outcome.closed = order.was_closed or outcome.ended
    return _ended(outcome, first_refused, items)


def _ended(outcome: IntakeOutcome, refused: Refused | None, items: Sequence[Item]) -> IntakeOutcome:
    outcome.refused = refused
    outcome.accepted = refused.index if refused else items[-1].index + 1
    return outcome


def _run_of(store: Store, item: Item) -> str:
    """The uid of the run that a document belongs to."""
    direct = item.document.get("uid" if item.kind.name == "start" else "run_start")
    run = direct if isinstance(direct, str) else store.run_of(item)
    if run is None:
        raise _out_of_order(item, "start-missing")
    return run


def _out_of_order(item: Item, reason: str) -> Refused:
    text = {
        "start-missing": "nothing is stored of its run: send the run from its start",
        "unknown-descriptor": "nothing is stored of its descriptor: send the run from its start",
        "unknown-resource": "nothing is stored of its resource: send the run from its start",
        "closed": "its run has its stop, and is closed",
    }[reason]
    return Refused(409, f"{item.what}: {text}", reason, item.index)


class Order:
    """The documents of one body, judged one after the other by what stands before them."""

    def __init__(self, run: str, store: Store, items: Sequence[Item], may_write: MayWrite) -> None:
        self._run, self._may_write = run, may_write
        known = store.run(run)
        self.visible = known.start is None or may_write(known.start)
        if not self.visible:
            known = StoredRun()  # for this caller there is no such run
        self.start: Doc = known.start or {}
        self.stopped = known.stopped
        self.was_closed = known.stopped is not None
        self._known = {
            "descriptor": known.descriptors,
            **{
                kind: _referred(store, kind, run, items) for kind in ("resource", "stream_resource")
            },
        }
        self.fresh: list[Item] = []
        """to be stored"""
        self.late: list[Item] = []
        """to be stored, though the run is closed"""
        self.frozen: list[Item] = []
        """which must be stored already"""

    def judge(self, items: Iterable[Item]) -> Refused | None:
        """Why the first of them that is out of order is refused."""
        for item in items:
            try:
                self._judge(item)
            except Refused as refused:
                return refused
        return None

    def _judge(self, item: Item) -> None:
        self._check_place(item)
        if self.stopped is None:
            self.fresh.append(item)
        elif item.kind.name in LATE and timezone.now() - self.stopped <= LATE_FOR:
            self.late.append(item)
        else:
            self.frozen.append(item)
        if item.kind.name in self._known:
            self._known[item.kind.name].add(item.key)
        elif item.kind.name == "stop" and self.stopped is None:
            self.stopped = timezone.now()

    def _check_place(self, item: Item) -> None:
        document = item.document
        if item.kind.name == "start":
            self._check_start(item)
        elif not self.start:
            raise _out_of_order(item, "start-missing")
        if document.get("run_start", self._run) != self._run:
            raise _of_another_run(item)
        for reference in _references(item):
            if document.get(reference) not in self._known[reference]:
                reason = "unknown-descriptor" if reference == "descriptor" else "unknown-resource"
                raise _out_of_order(item, reason)

    def _check_start(self, item: Item) -> None:
        if item.key != self._run:
            raise _of_another_run(item)
        if not self._may_write(item.document):
            text = "this token may not write runs of its proposal"
            raise Refused(403, f"{item.what}: {text}", "forbidden", item.index)
        self.start = self.start or item.document


def _of_another_run(item: Item) -> Refused:
    return Refused(
        400, f"{item.what}: all documents of a body must be of one run", "invalid", item.index
    )


def _references(item: Item) -> tuple[str, ...]:
    return {
        "event": ("descriptor",),
        "datum": ("resource",),
        "stream_datum": ("descriptor", "stream_resource"),
    }.get(item.kind.name, ())


def _referred(store: Store, kind: str, run: str, items: Iterable[Item]) -> set[str]:
    """The resources of this run that are stored, of those that the documents refer to."""
    wanted = {str(item.document.get(kind)) for item in items if kind in _references(item)}
    own = {item.key for item in items if item.kind.name == kind}
    found = store.stored(KINDS[kind], sorted(wanted - own))
    return {key for key, document in found.items() if document.get("run_start") == run}


class Filing:
    """Stores what was judged to be in order, and finds what stands in its way."""

    def __init__(self, store: Store, order: Order, outcome: IntakeOutcome) -> None:
        self._store, self._order, self._outcome = store, order, outcome
        self._late = {id(item) for item in order.late}
        self._frozen = {id(item) for item in order.frozen}

    def file(self, refused: Refused | None) -> Refused | None:
        """Stores everything before the first that is refused; gives why that one is."""
        for kind, items in _by_kind(self._order.fresh + self._order.late):
            refused = _first(refused, self._insert(kind, _before(refused, items)))
        for kind, items in _by_kind(self._order.frozen):
            refused = _first(refused, self._compare(kind, _before(refused, items)))
        return refused

    def _insert(self, kind: DocumentKind, items: list[Item]) -> Refused | None:
        if kind.name == "resource":  # others may have stored it, with another `_id`
            there = self._store.stored(kind, (item.key for item in items))
            refused = self._compare(kind, [item for item in items if item.key in there])
            items = _before(refused, [item for item in items if item.key not in there])
        else:
            refused = None
        taken = self._store.insert(kind, items) if items else []
        places = {id(item) for item in taken}
        new = [item for item in items if id(item) not in places]
        self._outcome.stored += new
        self._outcome.late += sum(id(item) in self._late for item in new)
        return _first(refused, self._compare(kind, taken))

    def _compare(self, kind: DocumentKind, items: list[Item]) -> Refused | None:
        """Known documents are fine; those that differ, or are not there, are refused."""
        there = self._store.stored(kind, (item.key for item in items))
        for item in sorted(items, key=lambda item: item.index):
            refused = self._refusal(item, there.get(item.key))
            if refused is not None:
                return refused
            self._outcome.known += 1
        return None

    def _refusal(self, item: Item, there: Doc | None) -> Refused | None:
        if there is None and id(item) in self._frozen:
            return _out_of_order(item, "closed")
        if there is not None and canonical(there) == canonical(item.document):
            return None
        text = "another content is stored under this uid"
        if there is not None and self._may_be_read(item, there):
            text += f", {difference(item.document, there)} differs"
        return Refused(409, f"{item.what}: {text}", "conflict", item.index)

    def _may_be_read(self, item: Item, there: Doc) -> bool:
        """Of another run, or one that the caller may not write, nothing is told."""
        links = [name for name in LINKS if name in item.document]
        return self._order.visible and all(item.document[n] == there.get(n) for n in links)


def _by_kind(items: Iterable[Item]) -> list[tuple[DocumentKind, list[Item]]]:
    found = defaultdict[str, list[Item]](list)
    for item in items:
        found[item.kind.name].append(item)
    return [(kind, found[kind.name]) for kind in KINDS.values() if kind.name in found]


def _before(refused: Refused | None, items: list[Item]) -> list[Item]:
    return items if refused is None else [i for i in items if i.index < refused.index]


def _first(one: Refused | None, other: Refused | None) -> Refused | None:
    both = [refused for refused in (one, other) if refused is not None]
    return min(both, key=lambda refused: refused.index, default=None)
