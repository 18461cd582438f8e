"""What is left out of filled documents and exports: named in a warning, not silently."""

from collections.abc import Iterable, Mapping

from events.files.assets import AssetError, OutsideDatabase
from headers.descriptors import Descriptor, Doc, as_mapping

MAX_NAMED = 10
MAX_TEXT = 200


class DatumMissing(Exception):
    """Events refer to a datum that their run does not have."""

    status = 410

    def __init__(self, field: str, what: object) -> None:
        super().__init__(
            f"What the field {field!r} refers to is not recorded with this run: {what}."
        )


Reason = AssetError | OutsideDatabase | DatumMissing


class LeftOut:
    """The fields of which something could not be served, each with the first reason why."""

    def __init__(self) -> None:
        self._reasons: dict[str, Reason] = {}
        self.served: set[str] = set()
        """the fields of which something could be"""
        self.streamed: set[str] = set()
        """the fields to whose files stream_resources refer, and that so are not outside"""

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def __contains__(self, field: str) -> bool:
        return field in self._reasons

    def add(self, field: str, reason: Reason) -> None:
        self._reasons.setdefault(field, reason)

    def replace(self, field: str, reason: Reason) -> None:
        self._reasons[field] = reason

    def refers_nowhere(self, field: str) -> bool:
        """Is the reason that there is no such datum?"""
        return isinstance(self._reasons.get(field), DatumMissing)

    def include(self, others: "LeftOut") -> None:
        self.served |= others.served
        self.streamed |= others.streamed
        for field, reason in others._reasons.items():
            self.add(field, reason)

    @property
    def first(self) -> Reason:
        """For an answer in which nothing is left."""
        return next(iter(self._reasons.values()))

    def warning(self) -> str:
        """Text of a ``Warning`` header; empty if nothing was left out."""
        texts = [f"{field}: {reason}" for field, reason in self._reasons.items()][:MAX_NAMED]
        if more := len(self._reasons) - len(texts):
            texts.append(f"and {more} more fields")
        return ", ".join(f'199 - "left out: {_in_header(text)}"' for text in texts)


def _in_header(text: str) -> str:
    """Names may hold anything; a header may not."""
    plain = text.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() and c not in '"\\' else "'" for c in plain)[:MAX_TEXT]


def note_outside(
    descriptors: Iterable[Doc],
    events: Mapping[str, Doc],
    left_out: LeftOut,
    fields: frozenset[str] | None = None,
) -> None:
    """Notes the fields that were recorded outside of this database: their data keys say
    ``STREAM:``, and an event (`events` has one of each descriptor, if there is one) has no value.
    """
    for descriptor in map(Descriptor, descriptors):
        data = as_mapping(events.get(str(descriptor.uid), {}).get("data"))
        for name in descriptor.outside:
            is_absent = data.get(name) is None or left_out.refers_nowhere(name)
            if is_absent and name not in left_out.streamed and (fields is None or name in fields):
                left_out.replace(name, OutsideDatabase(name))


def require_something(
    descriptors: Iterable[Doc], left_out: LeftOut, fields: frozenset[str] | None = None
) -> None:
    """Raises the first reason if nothing of any field (of `fields`; None: of all) is there."""
    names = {
        name
        for descriptor in descriptors
        for name in Descriptor(descriptor).data_keys
        if fields is None or name in fields
    }
    if left_out and all(name in left_out and name not in left_out.served for name in names):
        raise left_out.first
