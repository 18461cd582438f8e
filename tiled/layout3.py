"""The same runs in the layout of Tiled's own writer: a table and arrays in each stream."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from events.stream import NoSuchName
from headers.descriptors import as_mapping
from headers.repositories import Run
from tiled import sources
from tiled.nodes import (
    ArrayNode,
    CatalogNode,
    Node,
    NoNode,
    Path,
    RunNode,
    Spec,
    StreamNode,
    ValuesNode,
)
from tiled.snapshots import Snapshot
from tiled.tables import Table

INTERNAL = "internal"
OF_THE_RUN = ("_id", "name", "object_keys", "run_start", "hints")


@dataclass(frozen=True)
class CatalogV3(CatalogNode):
    specs: ClassVar[Sequence[Spec]] = [("CatalogOfBlueskyRuns", "3.0")]

    def run_node(self, path: Path, run: Run) -> RunNode:
        return RunV3(path, run)


@dataclass(frozen=True)
class RunV3(RunNode):
    specs: ClassVar[Sequence[Spec]] = [("BlueskyRun", "3.0")]

    def child(self, name: str) -> Node:
        try:
            return StreamV3.of(self.path, Snapshot.named(self.run, name))
        except NoSuchName:
            raise NoNode(name) from None


@dataclass(frozen=True)
class StreamV3(StreamNode):
    specs: ClassVar[Sequence[Spec]] = [("BlueskyEventStream", "3.0"), ("composite", None)]
    listed: ClassVar[bool] = False  # the shapes of arrays are only known when files are opened

    @property
    def linked(self) -> Path:
        """Of itself, too: the clients ask for its parts one after the other to make one dataset."""
        return self.stream.linked(self.path)

    @property
    def names(self) -> list[str]:
        return [INTERNAL, *self._arrays]

    @property
    def _arrays(self) -> list[str]:
        known = (name for name in self.stream.data_keys if "/" not in name)
        return [name for name in known if not sources.is_column(self.stream, name)]

    @property
    def metadata(self) -> dict[str, Any]:
        """The first descriptor; of the later ones, what they configure."""
        first, *later = self.stream.descriptors
        found = {name: value for name, value in first.items() if name not in OF_THE_RUN}
        found["hints"] = first.get("hints") or {}
        found["data_keys"] = {n: self._with_object(n) for n in self.stream.data_keys}
        updates = [{n: d.get(n) for n in ("uid", "time", "configuration")} for d in later]
        return found | ({"_config_updates": updates} if updates else {})

    def _with_object(self, name: str) -> dict[str, Any]:
        key = dict(as_mapping(self.stream.data_keys[name]))
        device = self._values.object_of(name)
        return key | ({"object_name": device} if device else {})

    @property
    def _values(self) -> ValuesNode:
        return ValuesNode((*self.path, "data"), self.stream)

    def children(self) -> Iterator[Node]:
        return (node for name in self.names if (node := self._child(name)) is not None)

    def child(self, name: str) -> Node:
        node = self._child(name) if name in self.names else None
        if node is None:
            raise NoNode(name)
        return node

    def _child(self, name: str) -> Node | None:
        path = (*self.path, name)
        if name == INTERNAL:
            return InternalNode(path, self.stream, tuple(self._arrays))
        return self._values.array(name, path, spec="")


@dataclass(frozen=True)
class InternalNode(Node):
    """The table of what stands in the events."""

    stream: Snapshot
    arrays: tuple[str, ...]
    family: ClassVar[str] = "table"

    @property
    def linked(self) -> Path:
        return self.stream.linked(self.path)

    def table(self, names: Sequence[str] = ()) -> Table:
        """These columns, or all; to be closed. NoNode for one that is not there."""
        known = [name for name in self.stream.data_keys if "/" not in name]
        scalars = [name for name in known if name not in self.arrays]
        table = Table.internal(self.stream, scalars, known)
        try:
            return table.narrowed(names) if names else table
        except KeyError as error:
            table.close()
            raise NoNode(str(error)) from None

    def child(self, name: str) -> Node:
        with self.table([name]) as table:
            values = table.values(name)
        path, shape = (*self.path, name), values.shape
        return ArrayNode(path, shape, values.dtype, spec="", values=values, stream=self.stream)
