"""One stream of a run: its descriptors merged, its fields, its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from broker_site.encoding import to_json
from events.columns.columns import Field
from headers.descriptors import Descriptor, Doc
from headers.repositories import Run
from headers.streams import stream_name, uids_of

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

    @cached_property
    def described(self) -> list[Descriptor]:
        """The descriptors as they are read."""
        return list(map(Descriptor, self.descriptors))

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
        return {name: key for doc in self.described for name, key in doc.data_keys.items()}

    @cached_property
    def groups(self) -> dict[str, int]:
        """Of each descriptor, by uid, the number of those with equal data keys.

        A later one of them continues the sequence numbers of an earlier one. Others count anew:
        descriptors a and c of field x, b of field y give ``{"a": 0, "b": 1, "c": 0}``. An event of
        c with `seq_num` 1 then repeats the first one of a, and not that of b.
        """
        numbers: dict[bytes, int] = {}
        found = {}
        for descriptor in self.described:
            keys = to_json(sorted(_comparable(descriptor.data_keys)))
            if descriptor.uid is not None:
                found[descriptor.uid] = numbers.setdefault(keys, len(numbers))
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


def _comparable(data_keys: Mapping[str, Doc]) -> list[tuple[str, str]]:
    """What makes data keys equal: their names, and type, shape and place of their values."""
    return [
        (name, repr([key.get(part) for part in ("dtype", "shape", "external")]))
        for name, key in data_keys.items()
    ]
