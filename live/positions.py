"""How far the documents of a run have been sent, as an id that its reader gives back to go on.

What was sent is known by the documents' own order, so that it does not matter over how many
connections, by which process or in which pages it went out.
"""

import hashlib
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
    references: tuple[bytes, ...] = ()
    """the resources and datums that were sent or used last: those that the next events name"""
    stopped: bool = False
    ended: bool = False
    whole: bool = True
    """False where the reader began in the middle, so that events cannot be counted"""

    def mark(self, descriptor: Any) -> Mark:
        return self.marks.get(key_of(descriptor), Mark())

    def includes(self, name: str, document: Doc) -> bool:
        """Was this document sent?"""
        match name:
            case "start":
                return self.started
            case "descriptor":
                return self.mark(document["uid"]).described
            case "event":
                return self.mark(document["descriptor"]).includes(Place.of(document))
            case "stop":
                return self.stopped
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
        return self._with_reference(name, document)

    def with_mark(self, descriptor: Any, mark: Mark) -> "Position":
        return replace(self, marks={**self.marks, key_of(descriptor): mark})

    def _with_reference(self, name: str, document: Doc) -> "Position":
        keys = [reference_key(name, document)]
        if name == "datum":  # whose resource is in use still, and not to be forgotten
            keys.insert(0, _resource_key(document.get("resource")))
        others = tuple(key for key in self.references if key not in keys)
        return replace(self, references=(*others, *keys)[-REFERENCES:])

    # -- as text ---------------------------------------------------------------------------

    def id(self, run: Run) -> str:
        """The position as an opaque, signed text that is of use for this run only."""
        content = {
            "f": [self.started, self.stopped, self.ended, self.whole],
            "m": [[key, *_written(mark)] for key, mark in self.marks.items()],
            "r": list(self.references),
        }
        text = write_cursor(content, _salt(run))
        if len(text) > LONGEST:
            raise Problem(
                400, "This run has too many descriptors to be followed; read its documents instead."
            )
        return text

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
        return cls(started, marks, tuple(content["r"]), stopped, ended, whole)


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


def _written(mark: Mark) -> list[Any]:
    floor = None if mark.floor is None else [mark.floor.time, mark.floor.id]
    return [mark.described, mark.count, floor, [[place.time, place.id] for place in mark.recent]]


def _read(described: bool, count: int, floor: Any, recent: Any) -> Mark:
    places = tuple(Place(*place) for place in recent)
    return Mark(described, count, None if floor is None else Place(*floor), places)


def _salt(run: Run) -> str:
    return purpose("follow", run.catalog.name, run.uid)
