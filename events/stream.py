"""One stream of a run: its descriptors merged, its fields, its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from events.columns import Field
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
