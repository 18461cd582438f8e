"""The tree that Tiled's clients walk: catalog, run, stream, and below it values and configuration.

Every node below a catalog is made from a Run, which only `Runs(catalog, access)` gives.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from events.stream import NoSuchName
from events.streaming import etag_of
from headers.catalogs import Catalog
from headers.descriptors import as_mapping
from headers.repositories import Run
from headers.streams import recorded_counts, stream_name
from tiled import sources
from tiled.snapshots import Snapshot
from tiled.tables import ROW, TIME, Array, HeldTable, Table, Values

Path = tuple[str, ...]
Spec = tuple[str, str | None]
Columns = tuple[int, dict[str, np.dtype[Any]]]
"""how many rows, and the type of each column"""
CHUNK_BYTES = 2**24
MAX_TIMES, MAX_ROWS = 8, 250_000
_times: dict[str, Array] = {}
"""Of some of these streams, the times of all events: 2 MB each at most."""
MAX_REMEMBERED = 1000
_remembered: dict[str | None, Columns] = {}
"""Of streams of complete runs that have as many events as their stop documents count."""


class NoNode(LookupError):
    """There is nothing at this path."""


@dataclass(frozen=True)
class Node:
    """A place in the tree. `path`: its segments from the root."""

    path: Path
    family: ClassVar[str] = "container"
    specs: ClassVar[Sequence[Spec]] = ()
    sorting: ClassVar[str] = "_"
    listed: ClassVar[bool] = True
    """may a client take the children from the resource of a complete run?"""

    @property
    def metadata(self) -> dict[str, Any]:
        return {}

    @property
    def linked(self) -> Path:
        """The path that links to its values have."""
        return self.path

    @property
    def names(self) -> list[str]:
        """Of the children, in order."""
        return []

    def frozen(self) -> "Node":
        """As it is now, where it grows."""
        return self

    def child(self, name: str) -> "Node":
        raise NoNode(name)

    def children(self) -> Iterator["Node"]:
        return (self.child(name) for name in self.names)


@dataclass(frozen=True)
class Folder(Node):
    """Holds nodes that are found by the configuration alone."""

    below: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return list(self.below)


@dataclass(frozen=True)
class CatalogNode(Node):
    """The runs of some catalogs."""

    catalogs: tuple[Catalog, ...] = ()
    specs: ClassVar[Sequence[Spec]] = [("CatalogOfBlueskyRuns", "1")]
    sorting: ClassVar[str] = "time"

    def run_node(self, path: Path, run: Run) -> "RunNode":
        return RunNode(path, run)


@dataclass(frozen=True)
class RunNode(Node):
    run: Run
    specs: ClassVar[Sequence[Spec]] = [("BlueskyRun", "1")]

    @property
    def names(self) -> list[str]:
        return sorted({stream_name(descriptor) for descriptor in self.run.descriptors})

    @property
    def metadata(self) -> dict[str, Any]:
        return {"start": self.run.start, "stop": self.run.stop, "summary": self._summary()}

    def child(self, name: str) -> Node:
        if name == "_stream_names":
            # What `run.descriptors` of the clients asks for; it looks at the names only.
            return _StreamNames((*self.path, name), self.run)
        try:
            return StreamNode.of(self.path, Snapshot.named(self.run, name))
        except NoSuchName:
            raise NoNode(name) from None

    def _summary(self) -> dict[str, Any]:
        start, stop = self.run.start, self.run.stop or {}
        began, ended = start.get("time"), stop.get("time")
        return {
            "uid": self.run.uid,
            "scan_id": start.get("scan_id"),
            "timestamp": began,
            "datetime": _moment(began),
            "plan_name": start.get("plan_name"),
            "stream_names": self.names,
            "duration": _duration(began, ended),
        }


@dataclass(frozen=True)
class _StreamNames(RunNode):
    specs: ClassVar[Sequence[Spec]] = ()

    @property
    def metadata(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class StreamNode(Node):
    stream: Snapshot
    specs: ClassVar[Sequence[Spec]] = [("BlueskyEventStream", "1")]

    @classmethod
    def of(cls, path: Path, stream: Snapshot) -> Self:
        """path: of the run."""
        return cls((*path, stream.name), stream)

    def frozen(self) -> Self:
        return replace(self, stream=self.stream.frozen())

    @property
    def names(self) -> list[str]:
        return ["data", "timestamps", "config", "config_timestamps"]

    @property
    def metadata(self) -> dict[str, Any]:
        return {"descriptors": self.stream.descriptors, "stream_name": self.stream.name}

    def child(self, name: str) -> Node:
        path = (*self.path, name)
        match name:
            case "data" | "timestamps":
                return ValuesNode(path, self.stream)
            case "config" | "config_timestamps":
                return ConfigurationNode(path, self.stream)
        raise NoNode(name)


@dataclass(frozen=True)
class ArrayNode(Node):
    """An array whose shape and type are those that reading it gives."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("<f8"))
    dims: tuple[str, ...] = (TIME,)
    attributes: dict[str, Any] = field(default_factory=dict)
    spec: str = "xarray_data_var"
    values: Array | Values | None = None
    """None: they are not at hand, or are read from files or from lists in the events"""
    stream: Snapshot | None = None
    """that it is a field of"""
    family: ClassVar[str] = "array"

    @property
    def linked(self) -> Path:
        return self.path if self.stream is None else self.stream.linked(self.path)

    @property
    def metadata(self) -> dict[str, Any]:
        return {"attrs": self.attributes}

    @property
    def specs(self) -> Sequence[Spec]:  # type: ignore[override]
        return [(self.spec, None)] if self.spec else []

    @property
    def chunks(self) -> list[list[int]]:
        """Along the first axis, pieces of some megabytes; along the others, all of it."""
        if not self.shape:
            return []
        count, *inner = self.shape
        row = max(1, int(np.prod(inner, dtype=np.int64)) * self.dtype.itemsize)
        step = max(1, CHUNK_BYTES // row)
        first = [min(step, count - at) for at in range(0, count, step)] or [0]
        return [first, *([size] for size in inner)]


@dataclass(frozen=True)
class ValuesNode(Node):
    """`data` or `timestamps` of a stream."""

    stream: Snapshot
    specs: ClassVar[Sequence[Spec]] = [("xarray_dataset", None)]

    @property
    def linked(self) -> Path:
        return self.stream.linked(self.path)

    @property
    def of_times(self) -> bool:
        return self.path[-1] == "timestamps"

    @property
    def names(self) -> list[str]:
        fields = (name for name in self.stream.data_keys if "/" not in name and name != TIME)
        return [TIME, *fields]

    @property
    def metadata(self) -> dict[str, Any]:
        inherited = StreamNode(self.path[:-1], self.stream).metadata
        return inherited | {"attrs": {"stream_name": self.stream.name}}

    def children(self) -> Iterator[Node]:
        rows, dtypes = self._columns()
        for name in self.names:
            if name in dtypes:
                yield self._column(name, rows, dtypes[name])
            elif node := self.array(name, (*self.path, name)):
                yield node

    def child(self, name: str) -> Node:
        with self.table([name]) as table:
            if name in table.schema.names:
                dtype, values = table.dtype(name), table.values(name)
                return self._column(name, table.num_rows, dtype, values)
        found = self.array(name, (*self.path, name))
        if found is None:
            raise NoNode(name)
        return found

    def table(self, names: Sequence[str]) -> Table:
        """Of these, those that have one value an event; to be closed."""
        known = set(self.names)
        if unknown := [name for name in names if name not in known]:
            raise NoNode(unknown[0])
        kept = [n for n in names if n == TIME or self.of_times or sources.is_column(self.stream, n)]
        return Table.of(self.stream, kept, timestamps=self.of_times)

    def _columns(self) -> Columns:
        """Of those that are columns. They are read for it, of complete runs once."""
        recorded = recorded_counts(self.stream.run.stop, [self.stream.name])
        key = etag_of([self.stream.run], self.stream.segment, self.of_times)
        if key in _remembered:
            return _remembered[key]
        with self.table(self.names) as table:
            found = table.num_rows, {name: table.dtype(name) for name in table.schema.names}
            if key and recorded == {self.stream.name: found[0]}:
                self._remember(key, found, table)
        return found

    def _remember(self, key: str, found: Columns, table: Table) -> None:
        if len(_remembered) >= MAX_REMEMBERED:
            _remembered.clear()
        _remembered[key] = found
        if found[0] <= MAX_ROWS:
            if len(_times) >= MAX_TIMES:
                _times.pop(next(iter(_times)), None)
            _times[key] = np.asarray(table.values(TIME)[:])

    def held(self, names: Sequence[str]) -> HeldTable | None:
        """The table of these, if it need not be read: the clients ask for the times alone."""
        key = etag_of([self.stream.run], self.stream.segment, self.of_times)
        times = _times.get(key) if key and list(names) == [TIME] else None
        return None if times is None else HeldTable({TIME: times})

    def _column(
        self, name: str, rows: int, dtype: np.dtype[Any], values: Values | None = None
    ) -> Node:
        is_time = name == TIME
        return ArrayNode(
            (*self.path, name),
            (rows,),
            dtype,
            attributes={} if is_time else self._attributes(name),
            spec="xarray_coord" if is_time else "xarray_data_var",
            values=values,
            stream=self.stream,
        )

    def array(self, name: str, path: Path, spec: str = "xarray_data_var") -> Node | None:
        """A field whose values are arrays; None if they are none."""
        known = sources.shape_and_dtype(self.stream, name)
        if known is None:
            return None
        shape, dtype = known
        # A stream may have rows of files and no events, and so no times.
        first = TIME if sources.has_events(self.stream, name) else ROW
        dims = (first, *self._dims(name, len(shape) - 1))
        about = self._attributes(name)
        return ArrayNode(path, shape, dtype, dims, about, spec=spec, stream=self.stream)

    def _dims(self, name: str, axes: int) -> list[str]:
        declared = self.stream.data_keys[name].get("dims")
        if isinstance(declared, list) and len(set(map(str, declared)) - {TIME}) == axes:
            return [str(dim) for dim in declared]
        return [f"dim_{axis}" for axis in range(axes)]

    def _attributes(self, name: str) -> dict[str, Any]:
        key = self.stream.data_keys[name]
        found = {"object": key.get("object_name") or self.object_of(name)}
        units = key.get("units")
        return found | ({"units_string": units} if isinstance(units, str) else {})

    def object_of(self, name: str) -> str | None:
        for descriptor in self.stream.described:
            for device, fields in descriptor.object_keys.items():
                if name in fields:
                    return device
        return None


@dataclass(frozen=True)
class ConfigurationNode(Node):
    """`config` or `config_timestamps` of a stream: one dataset a device."""

    stream: Snapshot

    @property
    def names(self) -> list[str]:
        found: dict[str, None] = {}
        for descriptor in self.stream.described:
            found |= dict.fromkeys(descriptor.configuration)
        return [name for name in found if "/" not in name]

    def child(self, name: str) -> Node:
        if name not in self.names:
            raise NoNode(name)
        return DeviceNode((*self.path, name), self.stream)


@dataclass(frozen=True)
class DeviceNode(Node):
    """The configuration of one device; the first axis is the descriptor."""

    stream: Snapshot
    specs: ClassVar[Sequence[Spec]] = [("xarray_dataset", None)]

    @property
    def metadata(self) -> dict[str, Any]:
        return {"attrs": {}}

    @cached_property
    def _recorded(self) -> list[Mapping[str, Any]]:
        device = self.path[-1]
        part = "timestamps" if self.path[-2] == "config_timestamps" else "data"
        devices = (doc.configuration.get(device, {}) for doc in self.stream.described)
        return [as_mapping(values.get(part)) for values in devices]

    @property
    def names(self) -> list[str]:
        found = {name: None for recorded in self._recorded for name in recorded}
        return [name for name in found if "/" not in name]

    def table(self, names: Sequence[str]) -> HeldTable:
        """Of these, those that have one value a descriptor."""
        arrays = {name: self._values(name) for name in names}
        return HeldTable({name: a for name, a in arrays.items() if a.ndim == 1})

    def child(self, name: str) -> Node:
        values = self._values(name)
        dims = (TIME, *(f"{name}_dim_{axis}" for axis in range(values.ndim - 1)))
        return ArrayNode((*self.path, name), values.shape, values.dtype, dims, values=values)

    def _values(self, name: str) -> Array:
        if name not in self.names:
            raise NoNode(name)
        return sources.configured([recorded.get(name) for recorded in self._recorded])


def _moment(time: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(time, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _duration(began: Any, ended: Any) -> float | None:
    if isinstance(began, int | float) and isinstance(ended, int | float):
        return ended - began
    return None
