"""One stream of a run: its descriptors merged, its fields, its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from broker_site.encoding import to_json
from events.columns.columns import Field
from headers.repositories import Run
from headers.streams import Doc, stream_name, uids_of

BETWEEN = "/data/"
MAX_NAMED = 50


class NoSuchName(LookupError):
    """The run has no stream, or the stream no field, of this name; the text names those it has."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        listed = ", ".join(sorted(known)[:MAX_NAMED]) or "none"
        super().__init__(f"There is no {kind} {name[:100]!r}. There are: {listed}.")


@dataclass(frozen=True)
class Stream:
    """The descriptors of a run that share a name, by time; at least one."""

    run: Run
    name: str
    descriptors: Sequence[Doc]

    @classmethod
    def of(cls, run: Run, name: str) -> "Stream":
        """The stream of this name.

        Raises
        ------
        NoSuchName
            The run has none.
        """
        found = [doc for doc in run.descriptors if stream_name(doc) == name]
        if not found:
            raise NoSuchName("stream", name, list({stream_name(doc) for doc in run.descriptors}))
        return cls(run, name, found)

    @classmethod
    def with_field(cls, run: Run, name: str, field: str) -> tuple["Stream", str]:
        """The stream and the field that an address `name/data/field` means.

        Either may itself hold `/data/`, and where one name ends only the run tells.

        Raises
        ------
        NoSuchName
            The run has no such stream, or the stream no such field.
        """
        parts = f"{name}{BETWEEN}{field}".split(BETWEEN)
        for at in range(1, len(parts)):
            stream, rest = BETWEEN.join(parts[:at]), BETWEEN.join(parts[at:])
            if any(stream_name(doc) == stream for doc in run.descriptors):
                found = cls.of(run, stream)
                if rest in found.data_keys:
                    return found, rest
        found = cls.of(run, name)
        found.field(field)
        return found, field

    @property
    def uids(self) -> list[str]:
        return uids_of(self.descriptors)

    @cached_property
    def data_keys(self) -> dict[str, Mapping[str, Any]]:
        """By field; of a field that several descriptors have, the last one tells."""
        keys: dict[str, Mapping[str, Any]] = {}
        for descriptor in self.descriptors:
            declared = descriptor.get("data_keys")
            for name, key in declared.items() if isinstance(declared, Mapping) else ():
                keys[name] = key if isinstance(key, Mapping) else {}
        return keys

    @cached_property
    def groups(self) -> dict[str, int]:
        """Of each descriptor, by uid, the number of those with equal data keys.

        A later one of them continues the sequence numbers of an earlier one. Others count anew.
        """
        numbers: dict[bytes, int] = {}
        found = {}
        for descriptor in self.descriptors:
            keys = to_json(sorted(_comparable(descriptor.get("data_keys"))))
            if type(uid := descriptor.get("uid")) is str:
                found[uid] = numbers.setdefault(keys, len(numbers))
        return found

    def field(self, name: str) -> Field:
        """One column of the stream.

        Raises
        ------
        NoSuchName
            No descriptor of the stream has such a data key.
        """
        if name not in self.data_keys:
            raise NoSuchName("field", name, list(self.data_keys))
        return Field.from_data_key(name, self.data_keys[name])

    def fields(self, names: Sequence[str] | None) -> list[Field]:
        """The columns of these names, in their order; None for all."""
        return [self.field(name) for name in (self.data_keys if names is None else names)]


def _comparable(data_keys: object) -> list[tuple[str, str]]:
    """What makes data keys equal: their names, and type, shape and place of their values."""
    items = data_keys.items() if isinstance(data_keys, Mapping) else ()
    return [
        (name, repr([key.get(part) for part in ("dtype", "shape", "external")]))
        for name, key in items
        if isinstance(key, Mapping)
    ]
