"""Files that stream_resources name, by media type: HDF5, sequences of files, and texts of numbers.

A datum of them says which event is wanted, counted from the file's first (`index`), and which
`shape` and `dtype` its field declares. Where a file has several frames an event, as areaDetector
with `NumImages`, the first axis of that shape counts them; so does `multiplier`. Runs in the reader
process only.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin  # noqa: F401  imported before its reading is confined

from broker_site import media_types
from events.files.assets import (
    AssetUnreadable,
    Kwargs,
    Layout,
    Resource,
    Roots,
    served_dtype,
)
from events.files.formats import Hdf5Events, Hdf5Files, expect, npy_header, select_each
from events.files.slices import Axis, Selection, resolve

Array = NDArray[Any]
Shape = tuple[int, ...]

HDF5 = media_types.HDF5
TIFF = "multipart/related;type=image/tiff"
JPEG = "multipart/related;type=image/jpeg"
NPY = "multipart/related;type=application/x-npy"
CSV = "text/csv;header=absent"

MAX_FILES = 10_000
"""of one event"""
LONGEST_NUMBER = 32
"""digits of a number in a file's name"""
_NUMBER = re.compile(r"%(0?)(\d*)(?:\.(\d+))?d|\{:?(0?)(\d*)d?\}")
WITHOUT_MEANING = ("slice", "squeeze")
"""parameters that would change what is read, and are not known here"""


def declared_shape(resource: Resource, datum: Kwargs) -> Shape:
    """Of an event's value, its frames included where `multiplier` alone counts them."""
    shape = tuple(int(length) for length in datum.get("shape", ()))
    frames = int(resource.kwargs.get("multiplier") or 0)
    if frames < 2 or shape[:1] == (frames,):
        return shape
    return (frames, *(shape[1:] if shape[:1] == (1,) else shape))


def _index(datum: Kwargs) -> int:
    index = int(datum["index"])
    if index < 0:
        raise ValueError("negative index")
    return index


def _check_parameters(resource: Resource) -> None:
    for name in WITHOUT_MEANING:
        if resource.kwargs.get(name):
            reason = f"its parameter {name!r} is not understood here."
            raise AssetUnreadable(resource.uid, resource.spec, reason)


# -- HDF5 -----------------------------------------------------------------------------------------


class Hdf5Stream(Hdf5Events):
    """A dataset with one row an event, or with all its frames one after the other."""

    def __init__(self, resource: Resource, path: str, roots: Roots) -> None:
        _check_parameters(resource)
        super().__init__(resource, path, roots)

    def _point(self, datum: Kwargs) -> tuple[h5py.Dataset, Layout, tuple[Axis, ...]]:
        kwargs = self._resource.kwargs
        dataset, whole = self._dataset(str(kwargs.get("dataset") or kwargs.get("path") or ""))
        shape, index = declared_shape(self._resource, datum), _index(datum)
        if not whole.shape:
            raise ValueError("a dataset of one value")
        frames = shape[0] if len(whole.shape) <= len(shape) else 0
        rows = range(index * frames, (index + 1) * frames) if frames else range(index, index + 1)
        if rows.start >= whole.shape[0]:
            raise self._beyond(dataset)
        first = slice(rows.start, rows.stop) if frames else index
        return dataset, whole, resolve((first,), whole.shape).axes


# -- One file, or some files, an event ------------------------------------------------------------


@dataclass(frozen=True)
class FileKind:
    """How a file that is one array is read: its shape and type, and its values."""

    header: Callable[[str], tuple[Shape, np.dtype[Any]]]
    values: Callable[[str], Array]


def _tiff_header(path: str) -> tuple[Shape, np.dtype[Any]]:
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        if series.dtype is None:
            raise ValueError("a TIFF of unknown type")
        return series.shape, series.dtype


def _tiff_values(path: str) -> Array:
    with tifffile.TiffFile(path) as tiff:
        return np.asarray(tiff.asarray())


def _jpeg_header(path: str) -> tuple[Shape, np.dtype[Any]]:
    with Image.open(path, formats=["JPEG"]) as picture:
        bands = len(picture.getbands())
        shape = (picture.height, picture.width)
        return (*shape, bands) if bands > 1 else shape, np.dtype(np.uint8)


def _jpeg_values(path: str) -> Array:
    with Image.open(path, formats=["JPEG"]) as picture:
        return np.asarray(picture)


def _npy_values(path: str) -> Array:
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


FILES: Mapping[str, FileKind] = {
    TIFF: FileKind(_tiff_header, _tiff_values),
    JPEG: FileKind(_jpeg_header, _jpeg_values),
    NPY: FileKind(npy_header, _npy_values),
}


def prefix_of(resource: Resource, path: str) -> str:
    """What the names of files begin with: a folder's address ends with a slash."""
    return path if resource.path else os.path.join(path, "")


class FileSequence:
    """An event is one file, or as many as its frames call for, named by a template."""

    leads_elsewhere = False

    def __init__(self, resource: Resource, path: str, roots: Roots) -> None:
        _check_parameters(resource)
        self._resource, self._roots = resource, roots
        self._kind = FILES[resource.spec]
        self._prefix = prefix_of(resource, path)

    def layout(self, datum: Kwargs) -> Layout:
        names = self._names(datum)
        shape, dtype = self._kind.header(self._existing(names[0]))
        whole = self._joined(datum, shape, len(names))
        grain = (whole[0], *shape[-(len(whole) - 1) :]) if len(whole) > 1 else whole
        return Layout(whole, served_dtype(self._resource, dtype), grain)

    def verify(self, datum: Kwargs, expected: Layout) -> None:
        for name in self._names(datum):
            self._existing(name)

    def read(
        self, datums: Sequence[Kwargs], inner: Sequence[Axis], expected: Layout, out: Array
    ) -> None:
        for number, datum in enumerate(datums):
            files = [self._kind.values(self._existing(name)) for name in self._names(datum)]
            shape = self._joined(datum, files[0].shape, len(files))
            expect(self._resource, shape, files[0].dtype, expected)
            value = np.stack(files).reshape(shape)
            out[number] = value[Selection(tuple(inner)).index]

    def close(self) -> None:
        """Nothing stays open between events."""

    def _joined(self, datum: Kwargs, shape: Shape, count: int) -> Shape:
        """The shape of an event, of `count` files of this shape."""
        declared = declared_shape(self._resource, datum)
        if len(shape) == len(declared):
            return (count * shape[0], *shape[1:]) if shape else ()
        return (count, *shape) if count > 1 or declared[:1] == (1,) else shape

    def _names(self, datum: Kwargs) -> list[str]:
        count, index = self._files_an_event(datum), _index(datum)
        if count > MAX_FILES:
            raise ValueError("too many files for one event")
        slash = "/" if self._prefix.endswith("/") else ""
        tails = (self._tail(n) for n in range(index * count, (index + 1) * count))
        return [self._prefix + tail.removeprefix(slash) for tail in tails]

    def _files_an_event(self, datum: Kwargs) -> int:
        """As Tiled's writer counts them, so that both read the same."""
        kwargs, shape = self._resource.kwargs, declared_shape(self._resource, datum)
        if own := int(kwargs.get("files_per_datum") or 0):
            return own
        if not shape:
            return 1
        chunks = tuple(int(length) for length in kwargs.get("chunk_shape") or ())
        of_frames = len(chunks) == len(shape) and chunks[1:] == shape[1:]
        if kwargs.get("multiplier"):
            frames = 1 if int(kwargs["multiplier"]) > 1 else shape[0]
        elif kwargs.get("join_method") == "concat" or (of_frames and not shape[0] % chunks[0]):
            frames = chunks[0] if chunks else 1
        else:
            frames = shape[0]
        return max(1, shape[0] // max(1, frames))

    def _tail(self, number: int) -> str:
        """What the template makes of a number: as areaDetector or as Python writes it."""
        kwargs = self._resource.kwargs
        template = "%s_%d.npy" if self._resource.spec == NPY else ""
        template = str(kwargs.get("template") or template)
        filename = str(kwargs.get("filename") or "")
        named = template.replace("%s", "\0", 1).replace("%s", "").replace("{filename}", "\0")
        # The name last: it may look like a template itself.
        return _NUMBER.sub(lambda found: _written(number, found), named).replace("\0", filename)

    def _existing(self, name: str) -> str:
        real = self._roots.inside(name)
        if not os.path.exists(real):
            raise FileNotFoundError(name)
        return real


def _written(number: int, found: re.Match[str]) -> str:
    zeros, width, precision, others, other_width = (group or "" for group in found.groups())
    digits = max(int(width or other_width or 0), int(precision or 0))
    if digits > LONGEST_NUMBER:
        raise ValueError("a template with a huge number")
    padded = zeros or others or precision
    return str(number).zfill(digits) if padded else str(number).rjust(digits)


# -- Files of HDF5, one an event ------------------------------------------------------------------


class Hdf5Sequence(FileSequence):
    """The same dataset of many files."""

    leads_elsewhere = True
    """links lead where they will; nothing of them is kept"""

    def __init__(self, resource: Resource, path: str, roots: Roots) -> None:
        _check_parameters(resource)
        self._resource, self._roots = resource, roots
        self._prefix = prefix_of(resource, path)

        self._kind = FileKind(self._header, self._values)

    def _header(self, path: str) -> tuple[Shape, np.dtype[Any]]:
        with self._dataset(path) as dataset:
            return dataset.shape, dataset.dtype

    def _values(self, path: str) -> Array:
        with self._dataset(path) as dataset:
            return np.asarray(dataset[()])

    @contextmanager
    def _dataset(self, path: str) -> Iterator[h5py.Dataset]:
        files = Hdf5Files(self._roots)
        try:
            yield files.dataset(files.open(path), str(self._resource.kwargs["dataset"]))
        finally:
            files.close()


# -- Texts of numbers -----------------------------------------------------------------------------


class CsvRows:
    """A text of numbers without a header: an event is as many of them as its shape has."""

    leads_elsewhere = False

    def __init__(self, resource: Resource, path: str, roots: Roots) -> None:
        _check_parameters(resource)
        self._resource = resource
        kwargs = resource.kwargs
        with open(path, encoding=str(kwargs.get("encoding") or "utf-8")) as file:
            values = np.loadtxt(
                file,
                delimiter=str(kwargs.get("sep") or kwargs.get("delimiter") or ","),
                comments=str(kwargs.get("comment") or "#"),
                skiprows=int(kwargs.get("skiprows") or 0),
                ndmin=2,
            )
        self._values = values.reshape(-1)

    def layout(self, datum: Kwargs) -> Layout:
        value = self._value(datum)
        return Layout(value.shape, served_dtype(self._resource, value.dtype), value.shape)

    def verify(self, datum: Kwargs, expected: Layout) -> None:
        self._value(datum)

    def read(
        self, datums: Sequence[Kwargs], inner: Sequence[Axis], expected: Layout, out: Array
    ) -> None:
        select_each(self._resource, map(self._value, datums), inner, expected, out)

    def close(self) -> None:
        """The file was read to its end."""

    def _value(self, datum: Kwargs) -> Array:
        shape, index = declared_shape(self._resource, datum), _index(datum)
        size = math.prod(shape)
        if (index + 1) * size > len(self._values):
            reason = f"the event lies beyond the file's {len(self._values)} numbers."
            raise AssetUnreadable(self._resource.uid, self._resource.spec, reason)
        values = self._values[index * size : (index + 1) * size].reshape(shape)
        dtype = np.dtype(str(datum.get("dtype", "<f8")))
        whole = dtype.kind in "iu" and bool(np.all(values == np.floor(values)))
        return values.astype(dtype) if whole else values
