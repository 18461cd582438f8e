"""Open external files and read exactly what a selection touches. Runs in the reader process only.

Each class below serves the events of one resource. Files whose layout is known (HDF5 with a fixed
dataset, TIFF sequences, npy sequences) are read directly, so that a slice costs only its frames and
chunks and a shape costs no data at all; every other spec goes through its installed handler.
"""

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress, count
from typing import Any, Protocol

import h5py
import hdf5plugin  # noqa: F401  registers the compression filters detectors use
import numpy as np
import tifffile
from h5py import h5f, h5s
from numpy.typing import NDArray

from events.files.assets import (
    AssetTooLarge,
    AssetUnreadable,
    Kwargs,
    Layout,
    OutsideRoots,
    RaggedEvents,
    Resource,
    Roots,
    load_handler,
    served_dtype,
)
from events.files.confinement import LIBRARIES
from events.files.slices import Axis, Item, Selection, compose, resolve, span

MAX_CHUNK_BYTES = 512 * 2**20
CHUNK_CACHE_BYTES = 32 * 2**20
MAX_HOPS = 16
SHORT_ROW = 256
Array = NDArray[Any]


class ResourceEvents(Protocol):
    """The events that one resource serves."""

    @property
    def leads_elsewhere(self) -> bool:
        """Does it read from further files, linked or as virtual sources? It is not kept then."""
        ...

    def layout(self, datum: Kwargs) -> Layout:
        """Shape and dtype of one event, read from the file's own description."""
        ...

    def verify(self, datum: Kwargs, expected: Layout) -> None:
        """Raise if the event cannot be `expected`, as far as that is known without its data."""
        ...

    def read(
        self, datums: Sequence[Kwargs], inner: Sequence[Axis], expected: Layout, out: Array
    ) -> None:
        """Fill `out`, shape (len(datums), *shape of `inner`), from events that are `expected`."""
        ...

    def close(self) -> None:
        """Close every file."""
        ...


# --- HDF5 files with a dataset of known name ---------------------------------------------------

Locator = Callable[[Kwargs, Kwargs], tuple[str, tuple[Item, ...]]]


def _frames_of(dataset: str) -> Locator:
    def locate(resource: Kwargs, datum: Kwargs) -> tuple[str, tuple[Item, ...]]:
        frames = int(resource.get("frame_per_point", 1))
        point = int(datum["point_number"])
        if point < 0 or frames < 1:
            raise ValueError("negative point number, or no frames per point")
        return dataset, (slice(point * frames, (point + 1) * frames),)

    return locate


def _spectrum(resource: Kwargs, datum: Kwargs) -> tuple[str, tuple[Item, ...]]:
    frame, channel = datum.get("frame"), int(datum["channel"]) - 1
    first = slice(None) if frame is None else int(frame)
    return str(resource.get("key", "entry/instrument/detector/data")), (first, channel)


def _whole_target(resource: Kwargs, datum: Kwargs) -> tuple[str, tuple[Item, ...]]:
    target = datum.get("target", "data")
    name = target if target == "data" else f"NDAttributes/{target}"
    return f"entry/instrument/detector/{name}", ()


HDF5_SPECS: Mapping[str, Locator] = {
    "AD_HDF5": _frames_of("/entry/data/data"),
    "AD_HDF5_SWMR": _frames_of("/entry/data/data"),
    "TPX_HDF5": _frames_of("/entry/instrument/detector/data"),
    "XSP3": _spectrum,
    **dict.fromkeys(
        ("XSP3_FLY", "XPS3_FLY", "DEXELA_FLY_V1", "MERLIN_FLY", "MERLIN_FLY_STREAM_V1"),
        _whole_target,
    ),
}


class Hdf5Files:
    """HDF5 files opened for one resource; links, virtual sources and raw storage are checked.

    HDF5 would follow them to any file of the server. So links are walked here, one by one, and
    every file they lead to must lie inside the roots.
    """

    def __init__(self, roots: Roots) -> None:
        self._roots = roots
        self._opened: dict[str, h5py.File] = {}

    @property
    def lead_elsewhere(self) -> bool:
        """Was more than the one file of the resource opened?"""
        return len(self._opened) > 1

    def open(self, path: str) -> h5py.File:
        """The file of this path, opened once. SWMR reading lets a file grow while we look."""
        real = self._roots.inside(path)
        if real not in self._opened:
            self._opened[real] = h5py.File(
                real, "r", locking=False, swmr=True, rdcc_nbytes=CHUNK_CACHE_BYTES
            )
        return self._opened[real]

    def dataset(self, file: h5py.File, path: str) -> h5py.Dataset:
        """The dataset at `path`, with everything it reads from checked to lie inside the roots.

        Raises
        ------
        OutsideRoots
            It does not. External raw storage is refused wherever it lies.
        KeyError
            There is no such dataset.
        """
        return self._dataset(file, path, count())

    def close(self) -> None:
        for file in self._opened.values():
            file.close()
        self._opened.clear()

    def _dataset(self, file: h5py.File, path: str, hops: Iterator[int]) -> h5py.Dataset:
        found: Any = file
        names = _names(path)
        while names:
            link = found.get(names[0], getlink=True)
            if isinstance(link, h5py.ExternalLink | h5py.SoftLink) and next(hops) >= MAX_HOPS:
                raise OutsideRoots(path)
            if isinstance(link, h5py.ExternalLink):
                found = file = self.open(_beside(file, link.filename))
                names = _names(link.path) + names[1:]
            elif isinstance(link, h5py.SoftLink):
                found = file if link.path.startswith("/") else found
                names = _names(link.path) + names[1:]
            else:
                found = found[names.pop(0)]
        if not isinstance(found, h5py.Dataset):
            raise KeyError(path)
        self._check_sources(file, found, hops)
        return found

    def _check_sources(self, file: h5py.File, dataset: h5py.Dataset, hops: Iterator[int]) -> None:
        sources = _sources(dataset)
        if sources and next(hops) >= MAX_HOPS:
            raise OutsideRoots(dataset.name)
        for file_name, name in sources:
            self._dataset(self.open(_beside(file, file_name)), name, hops)


class Hdf5Events:
    """Events that are rows of one dataset, such as an area detector's frames."""

    def __init__(self, resource: Resource, path: str, roots: Roots) -> None:
        self._resource = resource
        self._files = Hdf5Files(roots)
        self._file = self._files.open(path)
        self._datasets: dict[str, tuple[h5py.Dataset, Layout]] = {}

    @property
    def leads_elsewhere(self) -> bool:
        return self._files.lead_elsewhere

    def layout(self, datum: Kwargs) -> Layout:
        _, whole, axes = self._point(datum)
        kept = [isinstance(axis, range) for axis in axes]
        return Layout(Selection(axes).shape, whole.dtype, tuple(compress(whole.chunks, kept)))

    def verify(self, datum: Kwargs, expected: Layout) -> None:
        found = self.layout(datum)
        expect(self._resource, found.shape, found.dtype, expected)

    def read(
        self, datums: Sequence[Kwargs], inner: Sequence[Axis], expected: Layout, out: Array
    ) -> None:
        boxes = []
        for datum in datums:
            dataset, whole, axes = self._point(datum)
            expect(self._resource, Selection(axes).shape, whole.dtype, expected)
            boxes.append((dataset, _take(axes, inner)))
        for first, last in _runs(boxes):
            dataset, axes = boxes[first]
            if last - first > 1:
                axes = (_join([box[0] for _, box in boxes[first:last]]), *axes[1:])
            _read_box(dataset, axes, out[first:last])

    def close(self) -> None:
        self._datasets.clear()
        self._files.close()

    def _point(self, datum: Kwargs) -> tuple[h5py.Dataset, Layout, tuple[Axis, ...]]:
        name, items = HDF5_SPECS[self._resource.spec](self._resource.kwargs, datum)
        dataset, whole = self._dataset(name)
        axes = resolve(items, whole.shape).axes
        if items and axes[0] == range(0):
            raise self._beyond(dataset)
        return dataset, whole, axes

    def _beyond(self, dataset: h5py.Dataset) -> AssetUnreadable:
        reason = f"the event lies beyond the file's {len(dataset)} frames."
        return AssetUnreadable(self._resource.uid, self._resource.spec, reason)

    def _dataset(self, name: str) -> tuple[h5py.Dataset, Layout]:
        if name not in self._datasets:
            self._datasets[name] = self._checked(name)
        return self._datasets[name]

    def _checked(self, name: str) -> tuple[h5py.Dataset, Layout]:
        dataset = self._files.dataset(self._file, name)
        chunk = np.prod(dataset.chunks or (0,), dtype=float) * dataset.dtype.itemsize
        if chunk > MAX_CHUNK_BYTES:
            raise AssetTooLarge(
                self._resource.uid,
                self._resource.spec,
                f"one chunk of the file is {chunk:.0f} bytes; at most {MAX_CHUNK_BYTES} are read.",
            )
        dtype = served_dtype(self._resource, dataset.dtype)
        return dataset, Layout(dataset.shape, dtype, dataset.chunks or (1,) * dataset.ndim)


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _beside(file: h5py.File, name: str) -> str:
    """A file name as HDF5 understands it: relative ones start where the naming file lies."""
    return file.filename if name == "." else os.path.join(os.path.dirname(file.filename), name)


def _take(axes: tuple[Axis, ...], inner: Sequence[Axis]) -> tuple[Axis, ...]:
    """Slice the event (the ranges among a dataset's `axes`) by `inner`."""
    wanted = iter(inner)
    return tuple(axis if isinstance(axis, int) else compose(axis, next(wanted)) for axis in axes)


Box = tuple[h5py.Dataset, tuple[Axis, ...]]


def _runs(boxes: Sequence[Box]) -> Iterator[tuple[int, int]]:
    """Group events that one read can serve: evenly spaced rows, or blocks that touch."""
    first = 0
    while first < len(boxes):
        last, step = first + 1, 0
        while last < len(boxes):
            distance = _distance(boxes[last - 1], boxes[last])
            if not distance or (step and distance != step):
                break
            step, last = distance, last + 1
        yield first, last
        first = last


def _distance(one: Box, two: Box) -> int:
    """Rows from one event to the next, or 0 where a single read cannot serve both."""
    (dataset, axes), (other, others) = one, two
    if not axes or dataset is not other or axes[1:] != others[1:]:
        return 0
    a, b = _as_range(axes[0]), _as_range(others[0])
    if len(a) == len(b) == 1:
        return b[0] - a[0]
    touching = a.step == b.step == 1 and a.stop == b.start and len(a) == len(b)
    return len(a) if touching else 0


def _join(firsts: Sequence[Axis]) -> range:
    """The first axis of a whole run (two events or more) as one range."""
    first, second, last = (_as_range(firsts[number]) for number in (0, 1, -1))
    if len(first) > 1:
        return range(first.start, last.stop)
    step = second[0] - first[0]
    return range(first[0], last[0] + (1 if step > 0 else -1), step)


def _as_range(axis: Axis) -> range:
    return range(axis, axis + 1) if isinstance(axis, int) else axis


def _read_box(dataset: h5py.Dataset, axes: Sequence[Axis], out: Array) -> None:
    """Read a selection in one go, or row by row where rows are skipped.

    HDF5 picks single elements a hundred times slower than it copies boxes. So skipped rows of some
    length are read one by one, and inside a row the surrounding box is read and thinned out here:
    its chunks have to be decoded anyway.
    """
    if not out.size:
        return
    if not axes:
        out[...] = dataset[()]
        return
    first, rest = axes[0], axes[1:]
    if isinstance(first, range) and _step(first) > 1 and math.prod(map(span, rest)) > SHORT_ROW:
        parts = out.reshape(len(first), *Selection(tuple(rest)).shape)
        for row, part in zip(first, parts, strict=True):
            _read_box(dataset, (row, *rest), part)
        return
    start = tuple(axis if isinstance(axis, int) else min(axis[0], axis[-1]) for axis in axes)
    stride = (_step(first), *(1 for _ in rest))
    extent = (_length(first), *map(span, rest))
    thinned = tuple(_thin(axis, number) for number, axis in enumerate(axes))
    plain = all(index in (0, slice(None)) for index in thinned)
    box = out.reshape(extent) if plain else np.empty(extent, out.dtype)
    space = dataset.id.get_space()
    space.select_hyperslab(start, extent, stride)
    dataset.id.read(h5s.create_simple(extent), space, box)
    if not plain:
        out[...] = box[thinned].reshape(out.shape)


def _length(axis: Axis) -> int:
    return 1 if isinstance(axis, int) else len(axis)


def _step(axis: Axis) -> int:
    return 1 if isinstance(axis, int) else abs(axis.step)


def _thin(axis: Axis, number: int) -> int | slice:
    if isinstance(axis, int):
        return 0
    step = axis.step if number else (1 if axis.step > 0 else -1)
    return slice(None) if step == 1 or len(axis) == 1 else slice(None, None, step)


# --- one file per frame ------------------------------------------------------------------------


class TiffEvents:
    """AD_TIFF: an event is `frame_per_point` TIFF files, named by a template."""

    leads_elsewhere = False

    def __init__(self, resource: Resource, path: str, roots: Roots) -> None:
        self._resource, self._roots = resource, roots
        self._folder = os.path.join(path, "")
        self._frames = int(resource.kwargs.get("frame_per_point", 1))

    def layout(self, datum: Kwargs) -> Layout:
        with tifffile.TiffFile(self._existing(self._name(datum, 0))) as tiff:
            series = tiff.series[0]
            shape, dtype = series.shape, series.dtype
        if dtype is None:
            raise ValueError("a TIFF of unknown type")
        return Layout((self._frames, *shape), served_dtype(self._resource, dtype), (1, *shape))

    def verify(self, datum: Kwargs, expected: Layout) -> None:
        for frame in range(self._frames):
            self._existing(self._name(datum, frame))

    def read(
        self, datums: Sequence[Kwargs], inner: Sequence[Axis], expected: Layout, out: Array
    ) -> None:
        frames = [inner[0]] if isinstance(inner[0], int) else list(inner[0])
        names = [self._name(datum, frame) for datum in datums for frame in frames]
        pages = out.reshape(len(names), *Selection(tuple(inner[1:])).shape)
        for name, page in zip(names, pages, strict=True):
            with tifffile.TiffFile(self._existing(name)) as tiff:
                array = tiff.asarray()
            expect(self._resource, (self._frames, *array.shape), array.dtype, expected)
            page[...] = array[Selection(tuple(inner[1:])).index]

    def close(self) -> None:
        """Nothing stays open between frames."""

    def _name(self, datum: Kwargs, frame: int) -> str:
        kwargs = self._resource.kwargs
        number = int(datum["point_number"]) * self._frames + frame
        return str(kwargs["template"] % (self._folder, kwargs["filename"], number))

    def _existing(self, name: str) -> str:
        return _existing(self._roots, name)


class NpyEvents:
    """NPY_SEQ: an event is one ``<prefix>_<index>.npy``. Pickles are never loaded."""

    leads_elsewhere = False

    def __init__(self, resource: Resource, path: str, roots: Roots) -> None:
        self._resource, self._roots, self._prefix = resource, roots, path

    def layout(self, datum: Kwargs) -> Layout:
        shape, dtype = npy_header(self._name(datum))
        return Layout(shape, served_dtype(self._resource, dtype), (1,) * len(shape))

    def verify(self, datum: Kwargs, expected: Layout) -> None:
        self._name(datum)

    def read(
        self, datums: Sequence[Kwargs], inner: Sequence[Axis], expected: Layout, out: Array
    ) -> None:
        mapped = (np.load(self._name(datum), mmap_mode="r", allow_pickle=False) for datum in datums)
        select_each(self._resource, mapped, inner, expected, out)

    def close(self) -> None:
        """Nothing stays open between events."""

    def _name(self, datum: Kwargs) -> str:
        return _existing(self._roots, f"{self._prefix}_{datum['index']}.npy")


def npy_header(path: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the array in an npy file."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read(file)
    return shape, dtype


def _existing(roots: Roots, name: str) -> str:
    real = roots.inside(name)
    if not os.path.exists(real):
        raise FileNotFoundError(name)
    return real


# --- everything else ---------------------------------------------------------------------------


class HandlerEvents:
    """Events read by an installed handler: sliced after it, or by it where it is lazy (dask)."""

    def __init__(self, resource: Resource, path: str, roots: Roots) -> None:
        self._resource, self._roots = resource, roots
        self.leads_elsewhere = False
        handler = load_handler(resource.spec)
        with self._guarded():
            self._handler = handler(path, **resource.kwargs)
        self._last: tuple[Kwargs, Any] | None = None

    def layout(self, datum: Kwargs) -> Layout:
        array = self._array(datum)
        dtype = served_dtype(self._resource, array.dtype)
        return Layout(tuple(array.shape), dtype, tuple(array.shape))

    def verify(self, datum: Kwargs, expected: Layout) -> None:
        """A handler tells only by reading; what differs is refused when it is read."""

    def read(
        self, datums: Sequence[Kwargs], inner: Sequence[Axis], expected: Layout, out: Array
    ) -> None:
        select_each(self._resource, map(self._array, datums), inner, expected, out)

    def close(self) -> None:
        self._last = None
        close = getattr(self._handler, "close", None)
        if close is not None:
            close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with guarded_hdf5(self._roots) as leading:
            yield
        self.leads_elsewhere = self.leads_elsewhere or bool(leading)

    def _array(self, datum: Kwargs) -> Any:
        if self._last is None or self._last[0] != datum:
            with self._guarded():
                result = self._handler(**datum)
            lazy = hasattr(result, "shape") and hasattr(result, "dtype")
            self._last = (datum, result if lazy else np.asarray(result))
        return self._last[1]


def close_leaked() -> None:
    """Close every HDF5 file: some handlers leave theirs to the garbage collector."""
    for file_id in h5f.get_obj_ids(types=h5f.OBJ_FILE):
        h5py.File(file_id).close()


@contextmanager
def guarded_hdf5(roots: Roots) -> Iterator[list[str]]:
    """Let h5py open files inside the roots only, and none with a way out of them.

    A handler opens files by itself, and which dataset it will read cannot be told: so every link of
    the file is checked, and of every file it leads to. Gives those opened that lead to others.
    """
    original = h5f.open
    leading: list[str] = []

    def checked_open(name: bytes, *args: Any, **kwargs: Any) -> Any:
        with patched(original):
            real = roots.inside(os.fsdecode(name))
            if _check_whole(real, roots) > 1:
                leading.append(real)
        return original(name, *args, **kwargs)

    @contextmanager
    def patched(function: Any) -> Iterator[None]:
        before, h5f.open = h5f.open, function
        try:
            yield
        finally:
            h5f.open = before

    with patched(checked_open):
        yield leading


def _check_whole(path: str, roots: Roots) -> int:
    """Checks a file and all that it leads to; how many there are."""
    todo, done = [path], set[str]()
    while todo:
        real = roots.inside(todo.pop())
        if real in done or not os.path.exists(real):
            continue
        done.add(real)
        with h5py.File(real, "r", locking=False) as file:
            todo += _ways_out(file)
    return len(done)


def _ways_out(file: h5py.File) -> list[str]:
    """The files that this one refers to."""
    links: list[tuple[str, Any]] = []
    # Checked afterwards: h5py loses what is raised while it visits.
    file.visititems_links(lambda name, link: links.append((name, link)))
    found: list[str] = []
    for name, link in links:
        if isinstance(link, h5py.ExternalLink):
            found.append(_beside(file, link.filename))
        elif isinstance(link, h5py.HardLink) and isinstance(dataset := file[name], h5py.Dataset):
            found += [_beside(file, source) for source, _ in _sources(dataset)]
    return found


def _sources(dataset: h5py.Dataset) -> set[tuple[str, str]]:
    """(file name, dataset name) of everything a virtual dataset is put together from.

    Raises
    ------
    OutsideRoots
        External raw storage, which makes any file's bytes an array; or a pattern of names: what it
        opens cannot be told.
    """
    if dataset.id.get_create_plist().get_external_count():
        raise OutsideRoots("external raw storage")
    if not dataset.is_virtual:
        return set()
    sources = {(source.file_name, source.dset_name) for source in dataset.virtual_sources()}
    if any("%" in file_name + name for file_name, name in sources):
        raise OutsideRoots("virtual dataset with a pattern of names")
    return sources


# --- shared ------------------------------------------------------------------------------------

_CODE = (".py", ".pyc", ".so")
_guard: list[Roots] = []


def audit_opens(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: while a file is being read, Python opens nothing outside the roots but code."""
    if event != "open" or not _guard or not isinstance(args[0], str | bytes):
        return
    real = os.path.realpath(os.fsdecode(args[0]))
    imported = real.endswith(_CODE) and real.startswith(tuple(sys.path))
    if not imported and not real.startswith(LIBRARIES):
        _guard[-1].inside(real)


@contextmanager
def guarded(roots: Roots) -> Iterator[None]:
    """Hold `audit_opens` to these roots."""
    _guard.append(roots)
    try:
        yield
    finally:
        _guard.pop()


def expect(resource: Resource, shape: Sequence[int], dtype: np.dtype[Any], layout: Layout) -> None:
    """Raise unless an event is like the others: nothing is padded and nothing converted."""
    found = (tuple(shape), served_dtype(resource, dtype))
    if found != (layout.shape, layout.dtype):
        raise RaggedEvents(
            resource.uid,
            resource.spec,
            f"one event has shape {list(shape)} ({dtype}), another {list(layout.shape)} "
            f"({layout.dtype}); ask for one event, or for a slice of events that are alike.",
        )


def select_each(
    resource: Resource, arrays: Iterable[Array], inner: Sequence[Axis], expected: Layout, out: Array
) -> None:
    """Puts the selected part of each event's array into `out`; all must be as expected."""
    for number, array in enumerate(arrays):
        expect(resource, array.shape, array.dtype, expected)
        out[number] = np.asarray(array[Selection(tuple(inner)).index])
