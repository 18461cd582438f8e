"""What is known of a run and its streams without asking: shared by the sync and async clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from dbservice.errors import BrokerError, NotFound
from dbservice.listing import Header, path


class RunFacts:
    """A run whose header is in hand. Nothing here makes a request."""

    def __init__(self, header: Header, server: str) -> None:
        self._known = header
        self._server = server

    @property
    def _header(self) -> Header:
        return self._known

    @property
    def uid(self) -> str:
        return str(self._known["uid"])

    @property
    def catalog(self) -> str:
        return str(self._header.get("catalog"))

    @property
    def proposal(self) -> str | None:
        return self._header.get("proposal")

    @property
    def start(self) -> dict[str, Any]:
        """The start document."""
        return dict(self._header["start"])

    @property
    def stop(self) -> dict[str, Any] | None:
        """The stop document; None while the run is open."""
        stop = self._header.get("stop")
        return None if stop is None else dict(stop)

    @property
    def metadata(self) -> dict[str, Any]:
        return {"start": self.start, "stop": self.stop}

    @property
    def scan_id(self) -> int | None:
        number: int | None = self._header["start"].get("scan_id")
        return number

    @property
    def url(self) -> str:
        """Its page, for people."""
        return f"{self._server}/runs/{self.uid}/"

    @property
    def exit_status(self) -> str:
        """`success`, `fail` or `abort`; `open` while there is no stop document."""
        stop = self._header.get("stop")
        return "open" if stop is None else str(stop.get("exit_status", "unknown"))

    @property
    def is_loaded(self) -> bool:
        """Whether descriptors and streams are in hand."""
        return "streams" in self._known

    @property
    def _began(self) -> str:
        seconds = self._header["start"].get("time")
        try:
            moment = datetime.fromtimestamp(seconds, timezone.utc).astimezone()
        except (TypeError, ValueError, OverflowError, OSError):
            return ""
        return f"{moment:%Y-%m-%d %H:%M}"

    def __repr__(self) -> str:
        plan = self._header["start"].get("plan_name") or "run"
        number = "" if self.scan_id is None else f" #{self.scan_id}"
        parts = [f"{plan}{number}", self.uid[:8], self._began, self.exit_status]
        return f"<Run {' '.join(part for part in parts if part)}>".replace("\n", " ")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunFacts):
            return NotImplemented
        return (self._server, self.uid) == (other._server, other.uid)

    def __hash__(self) -> int:
        return hash((self._server, self.uid))

    def _path(self, *parts: str) -> str:
        return path("headers", self.uid, *parts)


class StreamFacts:
    """A stream of a run: `about` as the service describes it, with the run's descriptors."""

    def __init__(self, run: RunFacts, about: Mapping[str, Any], descriptors: list[Any]) -> None:
        self._run = run
        self._about = about
        self.descriptors = [d for d in descriptors if d.get("uid") in about["descriptors"]]
        """the descriptor documents, oldest first"""

    @property
    def name(self) -> str:
        return str(self._about["name"])

    @property
    def event_count(self) -> int:
        return int(self._about["event_count"])

    def __len__(self) -> int:
        return self.event_count

    def __bool__(self) -> bool:
        return True

    @property
    def data_keys(self) -> dict[str, Any]:
        """By field, as the last descriptor that has it says."""
        return {
            name: key
            for descriptor in self.descriptors
            for name, key in mapping(descriptor.get("data_keys")).items()
            if isinstance(key, Mapping)
        }

    def fields(self) -> list[str]:
        return list(self._about["fields"])

    def devices(self) -> list[str]:
        """The devices that were read, by their names in bluesky."""
        names = (n for doc in self.descriptors for n in mapping(doc.get("object_keys")))
        return list(dict.fromkeys(names))

    def config(self, device: str) -> dict[str, Any]:
        """The configuration of a device, as last recorded."""
        found = self.configurations(device)
        if not found:
            raise NotFound(f"{self.name} has no configuration of {device}.")
        return found[-1]

    def configurations(self, device: str) -> list[dict[str, Any]]:
        """The same of each descriptor that has one."""
        recorded = [mapping(doc.get("configuration")) for doc in self.descriptors]
        return [dict(mapping(mapping(r[device]).get("data"))) for r in recorded if device in r]

    def hinted(self) -> list[str]:
        """The fields that are worth a plot, as the devices say."""
        hints = (h for doc in self.descriptors for h in mapping(doc.get("hints")).values())
        fields = (mapping(hint).get("fields") for hint in hints)
        return [n for names in fields if isinstance(names, list) for n in names]

    @property
    def url(self) -> str:
        """Its table, for programs."""
        return f"{self._run._server}/api/v1/{self._path('table')}"

    def is_external(self, field: str) -> bool:
        """Whether the values are kept in files."""
        return bool(self._field(field).get("external"))

    def is_text(self, field: str) -> bool:
        about = self._field(field)
        return about.get("dtype") == "string" and not about.get("external")

    def inline(self) -> list[str]:
        """The fields whose values stand in the events."""
        return [name for name in self.fields() if not self.is_external(name)]

    def chosen(self, fields: Sequence[str] | None) -> list[str]:
        """Checked names of fields; all of them for None."""
        if fields is None:
            return self.fields()
        if isinstance(fields, str):
            raise ValueError(f"fields: takes a list of names: [{fields!r}]")
        for name in fields:
            self._field(name)
        return list(dict.fromkeys(fields))

    def _field(self, name: str) -> Mapping[str, Any]:
        found = self._about["fields"].get(name)
        if found is None:
            known = ", ".join(self.fields())
            raise NotFound(f"{self.name} has no field {name}; there are {known or 'none'}.")
        return found  # type: ignore[no-any-return]

    def _path(self, *parts: str) -> str:
        return self._run._path("streams", self.name, *parts)

    def __repr__(self) -> str:
        return f"<Stream {self.name}: {self.event_count} events, fields {', '.join(self.fields())}>"


def mapping(value: Any) -> Mapping[str, Any]:
    """What documents hold where they should have a document."""
    return value if isinstance(value, Mapping) else {}


def stream_with(streams: Mapping[str, Any], field: str) -> str:
    """The stream that has a field: primary before others."""
    names = sorted(streams, key=lambda name: name != "primary")
    for name in names:
        if field in streams[name].fields():
            return name
    known = sorted({f for name in names for f in streams[name].fields()})
    raise NotFound(f"No stream has a field {field}; there are {', '.join(known) or 'none'}.")


def unavailable(error: BrokerError) -> bool:
    """Whether an error says that a field cannot be had at all."""
    return error.status in (410, 501)
