"""A run as one HDF5 file in the layout of NeXus, which h5web, silx and NeXpy open.

    /entry                  NXentry: title, start_time, end_time, entry_identifier (the run's uid),
                            experiment_identifier (its proposal)
    /entry/user             NXuser
    /entry/sample           NXsample
    /entry/<stream>         NXdata: seq_num, time, and one dataset a field, first axis = event
    /entry/bluesky          NXcollection: start, stop and descriptors as JSON texts

Rows are those of the table route: by time, of a repeated seq_num the last one. Integers with gaps
become floats with NaN; lists of unequal length become JSON texts. Frames are stored as they are,
a chunk each; where events differ in shape, or lack the field, it becomes a group with one dataset
an event, named by its row. Nothing is padded.

The file is written to disk and then sent: what goes wrong is told before the first byte.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from broker_site import media_types
from broker_site.encoding import to_json
from events.arrays.datums import array_reader, recorded_datums
from events.arrays.frames import Allowance, frames_of, served_frames
from events.arrays.streamed import MAX_ROWS, Streamed, TooManyRows, streamed_numbers
from events.arrays.values import is_numeric, leaves, row_shape, stacked
from events.columns.columns import Columns, read_columns
from events.files.assets import AssetError, Datum, RaggedEvents
from events.files.reader import ArrayReader
from events.left_out import DatumMissing, LeftOut
from events.repositories import Events
from events.stream import Stream
from headers.descriptors import Descriptor, Doc, as_list, as_mapping, is_outside
from headers.repositories import Run

MEDIA_TYPE = media_types.HDF5
SEND_BYTES = 2**20
ROWS_A_CHUNK = 8192
FRAME_CHUNK_BYTES = 2**20
USER_KEYS = ("username", "user", "owner", "operator", "user_name")
TEXT = h5py.string_dtype()


def export_nexus(
    run: Run, allowance: Allowance, left_out: LeftOut, wanted: Callable[[], None]
) -> Generator[bytes, None, None]:
    """The file, piece by piece, written when the first piece is asked for.

    What cannot be served is noted in `left_out`. `wanted` is called again and again meanwhile, and
    raises if nobody waits for the file any more.
    """
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        path = os.path.join(folder, "run.h5")
        with h5py.File(path, "w") as file:
            write_nexus(run, file, allowance, left_out, wanted)
        with open(path, "rb") as written:
            while piece := written.read(SEND_BYTES):
                yield piece


def write_nexus(
    run: Run,
    file: h5py.File,
    allowance: Allowance,
    left_out: LeftOut,
    wanted: Callable[[], None],
) -> None:
    """The whole run into an empty file."""
    file.attrs.update({"NX_class": "NXroot", "default": "entry"})
    entry = _group(file, "entry", "NXentry")
    _describe(run, entry)
    for stream in _streams(run):
        group = _StreamWriter(stream, allowance, left_out, wanted).write(entry)
        if "default" not in entry.attrs or stream.name == "primary":
            entry.attrs["default"] = group.name.rsplit("/", 1)[-1]


def _describe(run: Run, entry: h5py.Group) -> None:
    entry["title"] = _title(run)
    entry["entry_identifier"] = str(run.uid)
    for name, document in (("start_time", run.start), ("end_time", run.stop or {})):
        if (moment := _iso(run, document.get("time"))) is not None:
            entry[name] = moment
    if run.proposal:
        entry["experiment_identifier"] = run.proposal
    user = _group(entry, "user", "NXuser")
    names = (run.start.get(key) for key in USER_KEYS)
    user["name"] = next((name for name in names if isinstance(name, str)), "unknown")
    _sample(run.start, _group(entry, "sample", "NXsample"))
    documents = _group(entry, "bluesky", "NXcollection")
    documents["start"] = _json(run.start)
    if run.stop is not None:
        documents["stop"] = _json(run.stop)
    documents["descriptors"] = _json(run.descriptors)


def _title(run: Run) -> str:
    title = run.start.get("title")
    if isinstance(title, str) and title:
        return _text(title)
    parts = (run.start.get("plan_name"), run.start.get("scan_id"))
    return _text(" ".join(str(part) for part in parts if part is not None) or str(run.uid))


def _iso(run: Run, time: Any) -> str | None:
    try:
        return datetime.fromtimestamp(time, run.catalog.timezone).isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _sample(start: Doc, group: h5py.Group) -> None:
    sample = start.get("sample", start.get("sample_name"))
    facts = sample if isinstance(sample, Mapping) else {"name": sample}
    name = facts.get("name")
    group["name"] = _text(str(name)) if name is not None else "unknown"
    for key, value in facts.items():
        if key != "name":
            group[_unique(group, key)] = _text(value) if isinstance(value, str) else _json(value)


def _streams(run: Run) -> list[Stream]:
    found: dict[str, list[Doc]] = {}
    for descriptor in map(Descriptor, run.descriptors):
        if descriptor.uid is not None:
            found.setdefault(descriptor.name, []).append(descriptor.document)
    return [Stream(run, name, documents) for name, documents in found.items()]


class _StreamWriter:
    """One stream of a run, as NXdata; how files are read for it, see `export_nexus`."""

    def __init__(
        self, stream: Stream, allowance: Allowance, left_out: LeftOut, wanted: Callable[[], None]
    ) -> None:
        self._stream = stream
        self._run = stream.run
        self._events = Events(stream.run)
        self._streamed = Streamed(self._events)
        self._keys = stream.data_keys
        self._hints = list(dict.fromkeys(chain(*(doc.hinted for doc in stream.described))))
        self._allowance, self._left_out, self._wanted = allowance, left_out, wanted

    def write(self, entry: h5py.Group) -> h5py.Group:
        group = _group(entry, _unique(entry, self._stream.name), "NXdata")
        batches = self._events.stream_batches(self._stream.uids)
        fields = self._stream.fields(None)
        with read_columns(batches, fields, groups=self._stream.groups) as columns:
            if not columns.num_rows and self._streamed.resources:
                self._write_streamed(group)
                return group
            names = dict(zip(columns.schema.names, ["seq_num", "time", *self._keys], strict=True))
            written = {}
            for column, field in names.items():
                self._wanted()
                if (found := self._column(group, columns, column, field)) is not None:
                    written[field] = found
        self._plot(group, {k: v for k, v in written.items() if isinstance(v, h5py.Dataset)})
        return group

    def _column(
        self, group: h5py.Group, columns: Columns, column: str, field: str
    ) -> h5py.Dataset | h5py.Group | None:
        """None for a field in files of which none can be served."""
        key = self._keys.get(field, {})
        place = _unique(group, column)
        if key.get("external"):
            found = self._frames(group, place, self._referred(columns, column, field), field)
            if found is None:
                return None
        else:
            found = _values(group, place, columns, column)
        units = "s" if column == "time" else key.get("units")
        if isinstance(units, str) and units:
            found.attrs["units"] = _text(units)
        if isinstance(key.get("source"), str):
            found.attrs["source"] = _text(key["source"])
        found.attrs["long_name"] = _text(field)
        if column == "time" and (moment := _iso(self._run, 0.0)):
            found.attrs["start"] = moment
        return found

    def _frames(
        self, group: h5py.Group, place: str, datums: Sequence[Datum | None], field: str
    ) -> h5py.Dataset | h5py.Group | None:
        reader = array_reader(self._run)
        held = [datum for datum in datums if datum is not None]
        if held and len(held) == len(datums):
            try:
                return self._stacked(group, place, reader, held)
            except AssetError:
                group.pop(place, None)  # one by one, as far as they can be served
        one_each = _group(group, place, "NXcollection")
        rows = [row for row, datum in enumerate(datums) if datum is not None]
        arrays = served_frames(reader, held, self._allowance, field, self._left_out)
        for row, array in zip(rows, arrays, strict=True):
            self._wanted()
            if array is not None:
                one_each.create_dataset(f"{row:06d}", data=array)
        if len(one_each) or field not in self._left_out:
            return one_each
        del group[place]
        return None

    def _stacked(
        self, group: h5py.Group, place: str, reader: ArrayReader, datums: Sequence[Datum]
    ) -> h5py.Dataset:
        """Frames of one shape as one dataset, a chunk each (a large frame in several rows of it).

        Raises AssetError if some cannot be served, or differ in shape.
        """
        layout = reader.describe(datums)
        chunks = _frame_chunks(layout.shape, layout.dtype.itemsize)
        shape = (len(datums), *layout.shape)
        dataset = group.create_dataset(place, shape, layout.dtype, chunks=chunks)
        taken = self._allowance.taken
        try:
            for row, array in enumerate(frames_of(reader, datums, self._allowance)):
                self._wanted()
                if array.shape != layout.shape:  # told by its handler only now
                    resource = datums[row].resource
                    raise RaggedEvents(resource.uid, resource.spec, "events differ in shape.")
                dataset[row] = array
        except AssetError:
            self._allowance.taken = taken  # they are read again
            raise
        return dataset

    def _referred(self, columns: Columns, column: str, field: str) -> Sequence[Datum | None]:
        """What each row has in files."""
        ids = list(chain.from_iterable(array.to_pylist() for array in columns.column(column)))
        if field in self._streamed.resources and not any(ids):
            numbers = chain.from_iterable(a.to_pylist() for a in columns.column("seq_num"))
            return self._placed(field, list(numbers))
        return self._datums(ids, field)

    def _placed(self, field: str, numbers: Sequence[int]) -> list[Datum | None]:
        """What stream_datums say of events with these sequence numbers."""
        uids, key = self._stream.uids, self._keys[field]
        found = self._streamed.datums(field, key, uids, numbers)
        for missing in (number for number in numbers if number not in found):
            number = f"no stream_datum is about seq_num {missing}"
            self._left_out.add(field, DatumMissing(field, number))
        return [found.get(number) for number in numbers]

    def _write_streamed(self, group: h5py.Group) -> None:
        """The rows of a stream without events: their numbers, and what files have for them."""
        spans = {
            name: numbers
            for name, key in self._keys.items()
            if is_outside(key) and (numbers := streamed_numbers(self._stream, name))
        }
        count = max((sum(map(len, numbers)) for numbers in spans.values()), default=0)
        if count > MAX_ROWS:
            raise TooManyRows(count)
        # Each is a beginning of the longest.
        longest = max(spans.values(), key=lambda numbers: sum(map(len, numbers)), default=[])
        every = [number for span in longest for number in span]
        group["seq_num"] = np.array(every, np.int64)
        written = {"seq_num": group["seq_num"]}
        for name, numbers in spans.items():
            self._wanted()
            datums = self._placed(name, list(chain.from_iterable(numbers)))
            found = self._frames(group, _unique(group, name), datums, name)
            if found is not None:
                found.attrs["long_name"] = _text(name)
                written[name] = found
        self._plot(group, {k: v for k, v in written.items() if isinstance(v, h5py.Dataset)})

    def _datums(self, ids: Sequence[str | None], field: str) -> list[Datum | None]:
        known = recorded_datums(self._events, (id for id in ids if isinstance(id, str)))
        for missing in (id for id in ids if id is not None and id not in known):
            self._left_out.add(field, DatumMissing(field, missing))
        return [None if id is None else known.get(id) for id in ids]

    def _plot(self, group: h5py.Group, datasets: Mapping[str, h5py.Dataset]) -> None:
        """What a viewer shows at first: the hinted detector over the scanned motors."""
        axes = [name for name in _dimensions(self._run, self._stream.name) if name in datasets]
        by_default = "time" if "time" in datasets else "seq_num"
        axes = [name for name in axes if datasets[name].ndim == 1] or [by_default]
        signal = _signal(datasets, [*self._hints, *self._keys], axes)
        if signal is None:
            signal, axes = by_default, ["seq_num"]
        plotted = datasets[signal]
        if plotted.ndim > 1 or len(axes) > 2:
            axes = axes[:1]
        others = [
            _name(datasets[name])
            for name in self._hints
            if name in datasets and name not in (signal, *axes)
            if datasets[name].shape == plotted.shape
        ]
        group.attrs["signal"] = _name(plotted)
        # Two axes of the one dimension: a scatter plot of what was measured on a plane.
        names = [_name(datasets[name]) for name in axes]
        group.attrs["axes"] = [*names, *["."] * (plotted.ndim - 1)]
        for name in names:
            group.attrs[f"{name}_indices"] = 0
        if others:
            group.attrs["auxiliary_signals"] = others


def _signal(
    datasets: Mapping[str, h5py.Dataset], names: Iterable[str], axes: Sequence[str]
) -> str | None:
    """The first of the names with numbers that is not an axis."""
    for name in names:
        if name in datasets and name not in axes and datasets[name].dtype.kind in "biuf":
            return name
    return None


def _dimensions(run: Run, stream: str) -> list[str]:
    """The fields that the plan's hints name as the stream's dimensions."""
    found: list[str] = []
    for dimension in as_list(as_mapping(run.start.get("hints")).get("dimensions")):
        match dimension:
            case [[*fields], name] if name == stream:
                found += [field for field in fields[:1] if isinstance(field, str)]
    return found


# -- datasets --------------------------------------------------------------------------------


def _values(group: h5py.Group, place: str, columns: Columns, column: str) -> h5py.Dataset:
    """A column that is in the database."""
    shape, kind = _layout(columns, column)
    rows = min(columns.num_rows, max(1, ROWS_A_CHUNK // max(1, math.prod(shape))))
    chunks = (rows, *shape) if rows and all(shape) else None
    dataset = group.create_dataset(place, (columns.num_rows, *shape), kind, chunks=chunks)
    row = 0
    for array in columns.column(column):
        dataset[row : row + len(array)] = _numpy(array, shape, kind)
        row += len(array)
    return dataset


def _layout(columns: Columns, column: str) -> tuple[tuple[int, ...], Any]:
    """Shape of one row and type of the dataset, from all rows."""
    declared = columns.schema.field(column).type
    leaf = leaves(pa.array([], declared)).type
    shapes = {row_shape(array) for array in columns.column(column)}
    if not is_numeric(leaf) or (leaf != declared and (len(shapes) != 1 or None in shapes)):
        return (), TEXT
    shape = next(iter(shapes), None) or ()
    gaps = any(leaves(array).null_count for array in columns.column(column))
    return shape, np.dtype("f8") if gaps else np.dtype(leaf.to_pandas_dtype())


def _numpy(array: pa.Array, shape: tuple[int, ...], kind: Any) -> Any:
    if kind is TEXT:
        return [_cell(value) for value in array.to_pylist()]
    return stacked(array, shape, kind)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _frame_chunks(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...] | None:
    if not all(shape):
        return None
    chunks = list(shape)
    for axis in range(len(shape)):
        rest = math.prod(chunks[axis + 1 :]) * itemsize
        chunks[axis] = max(1, min(shape[axis], FRAME_CHUNK_BYTES // rest))
        if rest <= FRAME_CHUNK_BYTES:
            break
    return (1, *chunks)


# -- names and texts -------------------------------------------------------------------------


def _group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def _unique(group: h5py.Group, name: str) -> str:
    """A name in a group that HDF5 takes as one, and that is still free."""
    clean = _text(name).replace("/", "_").strip(".") or "_"
    while clean in group:
        clean += "_"
    return clean


def _name(dataset: h5py.Dataset) -> str:
    return str(dataset.name).rsplit("/", 1)[-1]


def _text(text: str) -> str:
    """HDF5 takes neither NUL nor half of a surrogate pair."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def _json(value: Any) -> str:
    return to_json(value).decode()
