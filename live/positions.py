"""How far the documents of a run have been sent, as an id that its reader gives back to go on.

What was sent is known by the documents' own order, so that it does not matter over how many
connections, by which process or in which pages it went out.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from broker_site.cursors import purpose, read_cursor, write_cursor
from broker_site.problems import Problem
from events.repositories import Place
from headers.repositories import Run

Doc = dict[str, Any]

LONGEST = 7500
"""characters of an id, which has to fit into a header or an address"""
RECENT = 8
LATE_SECONDS = 5.0
"""an event that is stored this much later than others of its stream is still sent: clocks differ"""
REFERENCES = 32
MOST_RECENT = 40
"""of the events of the last seconds, in an id that tells of very many descriptors"""


@dataclass(frozen=True)
class Mark:
    """How far the events of one descriptor have been sent."""

    described: bool = False
    """the descriptor itself was sent"""
    count: int = 0
    floor: Place | None = None
    """every event up to here is done with"""
    recent: tuple[Place, ...] = ()
    """events behind it that were sent, in order: others may still be stored between them"""

    def includes(self, place: Place) -> bool:
        below = self.floor is not None and place.order <= self.floor.order
        return below or place in self.recent

    def and_event(self, place: Place) -> "Mark":
        recent = sorted([*self.recent, place], key=lambda each: each.order)
        return replace(self, count=self.count + 1, recent=tuple(recent))._settled(recent[-1])

    def shortened(self) -> "Mark":
        """Without those that others may be stored between."""
        return replace(self, floor=self.recent[-1], recent=()) if self.recent else self

    def _settled(self, newest: Place) -> "Mark":
        kept = tuple(place for place in self.recent[-RECENT:] if _together(place, newest))
        if len(kept) == len(self.recent):
            return self
        return replace(self, floor=self.recent[-len(kept) - 1], recent=kept)


@dataclass(frozen=True)
class Position:
    """What of a run has been sent."""

    started: bool = False
    marks: Mapping[bytes, Mark] = field(default_factory=dict)
    """by descriptor, see `key_of`"""
    base: Place | None = None
    """up to where all events of every other descriptor are done with"""
    described_before: float | None = None
    """all descriptors that were made before that were sent"""
    streamed: Mapping[bytes, Mark] = field(default_factory=dict)
    """the same of stream_datums, by stream_resource"""
    references: tuple[bytes, ...] = ()
    """the resources and datums that were sent or used last: those that the next events name"""
    stopped: bool = False
    ended: bool = False
    whole: bool = True
    """False where the reader began in the middle, so that events cannot be counted"""

    def mark(self, descriptor: Any) -> Mark:
        return self.marks.get(key_of(descriptor), Mark(floor=self.base))

    def streamed_mark(self, resource: Any) -> Mark:
        return self.streamed.get(key_of(resource), Mark())

    def includes(self, name: str, document: Doc) -> bool:
        """Was this document sent?"""
        match name:
            case "start":
                return self.started
            case "descriptor":
                return self._is_described(document)
            case "event":
                return self.mark(document["descriptor"]).includes(Place.of(document))
            case "stop":
                return self.stopped
            case "stream_resource":
                return self.streamed_mark(document["uid"]).described
            case "stream_datum":
                mark = self.streamed_mark(document["stream_resource"])
                return mark.includes(place_of_stream_datum(document))
        return reference_key(name, document) in self.references

    def and_then(self, name: str, document: Doc) -> "Position":
        """The position behind this document, which was not sent before."""
        match name:
            case "start":
                return replace(self, started=True)
            case "descriptor":
                mark = replace(self.mark(document["uid"]), described=True)
                return self.with_mark(document["uid"], mark)
            case "event":
                mark = self.mark(document["descriptor"]).and_event(Place.of(document))
                return self.with_mark(document["descriptor"], mark)
            case "stop":
                return replace(self, stopped=True)
            case "stream_resource":
                mark = replace(self.streamed_mark(document["uid"]), described=True)
                return self.with_streamed(document["uid"], mark)
            case "stream_datum":
                mark = self.streamed_mark(document["stream_resource"])
                mark = mark.and_event(place_of_stream_datum(document))
                return self.with_streamed(document["stream_resource"], mark)
        return self._with_reference(name, document)

    def with_mark(self, descriptor: Any, mark: Mark) -> "Position":
        return replace(self, marks={**self.marks, key_of(descriptor): mark})

    def with_streamed(self, resource: Any, mark: Mark) -> "Position":
        return replace(self, streamed={**self.streamed, key_of(resource): mark})

    def _is_described(self, descriptor: Doc) -> bool:
        made, before = descriptor.get("time"), self.described_before
        is_old = before is not None and isinstance(made, int | float) and made < before
        return is_old or self.mark(descriptor["uid"]).described

    def _with_reference(self, name: str, document: Doc) -> "Position":
        keys = [reference_key(name, document)]
        if name == "datum":  # whose resource is in use still, and not to be forgotten
            keys.insert(0, _resource_key(document.get("resource")))
        others = tuple(key for key in self.references if key not in keys)
        return replace(self, references=(*others, *keys)[-REFERENCES:])

    # -- as text ---------------------------------------------------------------------------

    def id(self, run: Run) -> str:
        """The position as an opaque, signed text that is of use for this run only."""
        return self.with_id(run)[1]

    def with_id(self, run: Run) -> tuple["Position", str]:
        """The position, summed up where that is needed for its id, and the id."""
        text = self._as_text(run)
        if len(text) <= LONGEST:
            return self, text
        shorter = self.summed_up(run)
        if len(text := shorter._as_text(run)) > LONGEST:  # who comes again gets these again
            shorter = replace(shorter, streamed={})
            text = shorter._as_text(run)
        return shorter, text

    def _as_text(self, run: Run) -> str:
        content = {
            "f": [self.started, self.stopped, self.ended, self.whole],
            "m": [[key, *_written(mark)] for key, mark in self.marks.items()],
            "r": list(self.references),
            "b": _place(self.base),
            "d": self.described_before,
            "s": [[key, *_written(mark)] for key, mark in self.streamed.items()],
        }
        return write_cursor(content, _salt(run))

    def summed_up(self, run: Run) -> "Position":
        """The same in few words, for a run of very many descriptors.

        What was sent is then known by one time for all of them, behind which there are the
        few events of the last seconds. One that is stored later than others of *other* streams by
        more than these seconds is not found any more, and events are not counted.
        """
        marks = self.marks.values()
        floors = [mark.floor for mark in marks if mark.floor is not None]
        recent = sorted((p for mark in marks for p in mark.recent), key=lambda place: place.order)
        kept = [place for place in recent[-MOST_RECENT:] if _together(place, recent[-1])]
        done = [*floors, *recent[: len(recent) - len(kept)], *([self.base] if self.base else [])]
        base = max(done, key=lambda place: place.order, default=None)
        before = self._all_described_before(run)
        since, found = _made_since(run, before), {}
        for key, mark in self.marks.items():
            own = tuple(place for place in mark.recent if place in kept)
            is_described = mark.described and key in since
            if own or is_described:
                found[key] = Mark(is_described, 0, base, own)
        streamed = {key: mark.shortened() for key, mark in self.streamed.items()}
        return replace(
            self, marks=found, base=base, described_before=before, streamed=streamed, whole=False
        )

    def _all_described_before(self, run: Run) -> float | None:
        """The latest time before which all descriptors that were made were sent."""
        made = {True: list[float](), False: list[float]()}
        for descriptor in run.descriptors:
            moment, uid = descriptor.get("time"), descriptor.get("uid")
            if type(uid) is str and isinstance(moment, int | float) and moment == moment:
                made[self._is_described(descriptor)].append(moment)
        # Others may have been made at the very time of the last, and be stored later.
        return min([max(made[True], default=-math.inf), *made[False]])

    @classmethod
    def read(cls, text: str, run: Run) -> "Position":
        """The position of an id. Problem 400 where it is none of this run."""
        try:
            content = read_cursor(text, _salt(run), longest=LONGEST)
        except Problem:
            raise Problem(
                400, "Last-Event-ID or after: is none of this run; begin anew without it."
            ) from None
        started, stopped, ended, whole = content["f"]
        marks = {key: _read(*written) for key, *written in content["m"]}
        return cls(
            started,
            marks,
            references=tuple(content["r"]),
            stopped=stopped,
            ended=ended,
            whole=whole,
            base=None if content["b"] is None else Place(*content["b"]),
            described_before=content["d"],
            streamed={key: _read(*written) for key, *written in content["s"]},
        )


def place_of_stream_datum(document: Doc) -> Place:
    """In the order of first sequence numbers."""
    return Place(float(document["seq_nums"]["start"]), str(document["uid"]))


def key_of(descriptor: Any) -> bytes:
    """A descriptor's uid, shorter."""
    return _digest(str(descriptor))


def reference_key(name: str, document: Doc) -> bytes:
    """What identifies a resource or a datum. Old resources have their `_id` only."""
    if name == "resource":
        return _resource_key(document.get("uid") or document.get("_id"))
    return _digest(f"{name} {document.get('datum_id')}")


def _resource_key(uid: Any) -> bytes:
    return _digest(f"resource {uid}")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _together(place: Place, newest: Place) -> bool:
    if place.time is None or newest.time is None:
        return place.time is newest.time
    return newest.time - place.time <= LATE_SECONDS


def _made_since(run: Run, moment: float | None) -> set[bytes]:
    """The keys of the descriptors that `described_before` does not tell of."""
    found = set()
    for descriptor in run.descriptors:
        made = descriptor.get("time")
        if moment is None or not isinstance(made, int | float) or made >= moment:
            found.add(key_of(descriptor.get("uid")))
    return found


def _place(place: Place | None) -> list[Any] | None:
    return None if place is None else [place.time, place.id]


def _written(mark: Mark) -> list[Any]:
    recent = [_place(place) for place in mark.recent]
    return [mark.described, mark.count, _place(mark.floor), recent]


def _read(described: bool, count: int, floor: Any, recent: Any) -> Mark:
    places = tuple(Place(*place) for place in recent)
    return Mark(described, count, None if floor is None else Place(*floor), places)


def _salt(run: Run) -> str:
    return purpose("follow", run.catalog.name, run.uid)
