"""A stored descriptor, read as if it were well formed.

Whoever wrote into a beamline's database may have put anything anywhere. Here that is looked after
once: what has not the type it should have is left out or empty. The stored document itself is what
callers are served; nothing here changes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Doc = Mapping[str, Any]

STREAM_REFERENCE = "STREAM:"
"""`external` of data that was recorded without any reference in MongoDB"""


@dataclass(frozen=True)
class Descriptor:
    """What the events of one descriptor hold.

    A `data_keys` of ``{"x": {"dtype": "number"}, "y": 5}`` reads ``{"x": {...}, "y": {}}``: the
    field `y` is there, nothing is known of it.
    """

    document: Doc

    @property
    def uid(self) -> str | None:
        """None for anything but a text: it cannot be asked for, and code not even be hashed."""
        uid = self.document.get("uid")
        return uid if type(uid) is str else None

    @property
    def name(self) -> str:
        """Of its stream. Old descriptors have none; they are of the only one there was, primary."""
        name = self.document.get("name")
        return name if type(name) is str and name else "primary"

    @cached_property
    def data_keys(self) -> Mapping[str, Doc]:
        """By field."""
        return {name: as_mapping(key) for name, key in self._part("data_keys").items()}

    @cached_property
    def external(self) -> frozenset[str]:
        """The fields whose values are kept in files."""
        return frozenset(name for name, key in self.data_keys.items() if key.get("external"))

    @property
    def outside(self) -> list[str]:
        """The fields that, as declared, were recorded without a reference in MongoDB."""
        return [name for name, key in self.data_keys.items() if is_outside(key)]

    @property
    def object_keys(self) -> dict[str, list[str]]:
        """By device, the fields that it reads."""
        return {device: _texts(fields) for device, fields in self._part("object_keys").items()}

    @property
    def hinted(self) -> list[str]:
        """The fields that the devices' hints want to be plotted, each once."""
        hints = map(as_mapping, self._part("hints").values())
        return list(dict.fromkeys(name for hint in hints for name in _texts(hint.get("fields"))))

    @property
    def configuration(self) -> dict[str, Doc]:
        """By device, ``{"data": {...}, "timestamps": {...}}``."""
        return {device: as_mapping(part) for device, part in self._part("configuration").items()}

    def _part(self, name: str) -> Doc:
        return as_mapping(self.document.get(name))


def is_outside(data_key: Doc) -> bool:
    """Does it say that the values were recorded without a reference in MongoDB?"""
    return str(data_key.get("external") or "").startswith(STREAM_REFERENCE)


def as_mapping(value: Any) -> Doc:
    """The value, or an empty mapping in the place of anything else."""
    return value if isinstance(value, Mapping) else {}


def as_list(value: Any) -> list[Any]:
    """The value as a list, or an empty one in the place of anything else."""
    return list(value) if isinstance(value, list | tuple) else []


def _texts(values: Any) -> list[str]:
    return [value for value in as_list(values) if isinstance(value, str)]
