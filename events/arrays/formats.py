"""Wire formats of N-d arrays, written block by block.

===============  ==========================================================================
octet-stream     the values: little-endian, C order; shape and dtype in the headers
npy              the same behind numpy's header: ``numpy.load(..., allow_pickle=False)``
msgpack          ``{"shape": [...], "dtype": "<u2", "data": <bin: the values>}``
arrow            an IPC tensor message: ``pyarrow.ipc.read_tensor(source).to_numpy()``
json             nested lists; NaN and infinities are null
h5               an HDF5 file with one dataset, ``data``
png, tiff        2-D only: 8-bit picture with contrast, or the values themselves
===============  ==========================================================================

Arrays hold booleans, integers or floats of at most 8 bytes (`assets.served_dtype`).
"""

import io
import math
import struct
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import h5py
import msgpack
import numpy as np
import orjson
import pyarrow as pa
import tifffile
from numpy.typing import NDArray
from PIL import Image

from broker_site import media_types
from events.files.assets import is_served
from events.files.reader import ArrayData

EMPTY_LISTS = 1_000_000  # that are written out of an array without values
IMAGE_PIXELS = 2**26
FILE_BLOCK = 2**20
CONTRAST_SAMPLE = 2**20
LOW_PERCENTILE, HIGH_PERCENTILE = 1.0, 99.5
MSGPACK_BIN_LIMIT = 2**32 - 1

Array = NDArray[Any]
Shape = tuple[int, ...]
Dtype = np.dtype[Any]

# Nine colours each, evenly spaced, between which the 256 of a map are interpolated.
COLOURS = {
    "gray": "000000 202020 404040 606060 808080 9f9f9f bfbfbf dfdfdf ffffff",
    "viridis": "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725",
    "inferno": "000004 210c4a 57106e 8a226a bc3754 e45a31 f98e09 f9cb35 fcffa4",
    "magma": "000004 1d1147 51127c 832681 b73779 e75263 fc8961 fec488 fcfdbf",
    "cividis": "00224e 1a386f 434e6c 61656f 7d7c78 9b9476 bcae6c dec958 fee838",
    "gray_r": "ffffff dfdfdf bfbfbf 9f9f9f 808080 606060 404040 202020 000000",
    "vik": "001261 034481 307da6 94bed2 ece5e0 dbaa8d c27041 912d06 590008",
    "berlin": "9eb0ff 519fd3 286886 14303e 190c09 411201 7d341e be6f63 ffadad",
}


class UnsupportedArray(ValueError):
    """This array has no representation in this format; the text names one that has."""

    status = 406


class PictureError(ValueError):
    """Picture options that make no sense."""

    status = 400


@dataclass(frozen=True)
class Picture:
    """How values become grey levels: limits (percentiles of the data by default), map, scale."""

    minimum: float | None = None
    maximum: float | None = None
    cmap: str = "gray"
    log: bool = False

    def __post_init__(self) -> None:
        if self.cmap not in COLOURS:
            raise PictureError(f"Unknown colour map; known are {', '.join(COLOURS)}.")
        limits = [limit for limit in (self.minimum, self.maximum) if limit is not None]
        if not all(map(math.isfinite, limits)):
            raise PictureError("min and max must be finite numbers.")
        if len(limits) == 2 and limits[0] >= limits[1]:
            raise PictureError("min must be smaller than max.")


@dataclass(frozen=True)
class ArrayFormat:
    """One wire format.

    Formats that are the plain values behind a `prefix` have a known length; the others `write`.
    """

    media_type: str
    extension: str
    prefix: Callable[[Shape, Dtype], bytes] | None = None
    write: Callable[[ArrayData, Picture], Generator[bytes, None, None]] | None = None
    picture: bool = False

    def check(self, shape: Shape, dtype: Dtype) -> None:
        """Tell before anything is read whether the format can hold the array.

        Raises
        ------
        UnsupportedArray
            It cannot.
        """
        if not is_served(dtype):
            raise UnsupportedArray(f"Values of type {dtype} cannot be served as an array.")
        if not math.prod(shape) and math.prod(filter(None, shape)) > EMPTY_LISTS:
            raise UnsupportedArray(f"There is nothing in {list(shape)}.")
        if self.picture and (len(shape) != 2 or not math.prod(shape)):
            raise UnsupportedArray(
                f"A picture has two axes; this is {list(shape)}. Slice it (slice=0,...) or ask npy."
            )
        if self.picture and math.prod(shape) > IMAGE_PIXELS:
            raise UnsupportedArray(
                f"A picture has at most {IMAGE_PIXELS} pixels; slice it, or ask for npy."
            )

    def length(self, shape: Shape, dtype: Dtype) -> int | None:
        """Bytes of the answer, if known beforehand."""
        if self.prefix is None:
            return None
        return len(self.prefix(shape, dtype)) + math.prod(shape) * dtype.itemsize

    def encode(
        self, data: ArrayData, picture: Picture | None = None
    ) -> Generator[bytes, None, None]:
        """The answer, piece by piece. Closing it cancels what is still being read."""
        if self.prefix is not None:
            return _framed(self.prefix(data.shape, data.dtype), data)
        if self.write is None:
            raise TypeError("a format has a prefix or a writer")
        return self.write(data, picture or Picture())


def array_headers(shape: Shape, dtype: Dtype) -> dict[str, str]:
    """The response headers that describe an array in any format."""
    return {
        "X-Array-Shape": ",".join(map(str, shape)),
        "X-Array-Dtype": dtype.newbyteorder("<").str,
    }


def gather(data: ArrayData) -> Array:
    """The whole array in memory."""
    out = np.empty(data.shape, data.dtype)
    flat, done = out.reshape(-1), 0
    for block in data.blocks:
        flat[done : done + block.size] = block.reshape(-1)
        done += block.size
    return out


def _framed(prefix: bytes, data: ArrayData) -> Generator[bytes, None, None]:
    if prefix:
        yield prefix
    for block in data.blocks:
        yield _bytes_of(block)


def _bytes_of(block: Array) -> bytes:
    """The block's values; a block that came from a reader process is made of bytes already."""
    base = block.base
    if isinstance(base, bytes) and len(base) == block.nbytes:
        return base
    return block.tobytes()


def _npy_prefix(shape: Shape, dtype: Dtype) -> bytes:
    header = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def _msgpack_prefix(shape: Shape, dtype: Dtype) -> bytes:
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes > MSGPACK_BIN_LIMIT:
        raise UnsupportedArray("msgpack holds at most 4 GiB; ask for octet-stream.")
    packed = [msgpack.packb(part) for part in ("shape", list(shape), "dtype", dtype.str, "data")]
    return b"\x83" + b"".join(packed) + struct.pack(">BI", 0xC6, nbytes)


def _arrow_prefix(shape: Shape, dtype: Dtype) -> bytes:
    """The tensor message up to its values.

    pyarrow writes whole tensors only. So it is given one of the same shape that nobody touches
    (fresh zeros take no memory) and a sink too small for more than the message's head.
    """
    tensor = pa.Tensor.from_numpy(np.zeros(shape, dtype))
    nbytes = math.prod(shape) * dtype.itemsize
    length = pa.ipc.get_tensor_size(tensor) - nbytes
    head = bytearray(length)
    with suppress(OSError):  # out of room at the first value, as intended
        pa.ipc.write_tensor(tensor, pa.FixedSizeBufferWriter(pa.py_buffer(head)))
    return bytes(head)


def _write_json(data: ArrayData, picture: Picture) -> Generator[bytes, None, None]:
    if not math.prod(data.shape):
        yield _empty_json(data.shape)
        return
    done = 0
    for block in data.blocks:
        if not data.shape:
            yield orjson.dumps(block[()], option=orjson.OPT_SERIALIZE_NUMPY)
            return
        outer = [math.prod(data.shape[axis:]) for axis in range(len(data.shape) - block.ndim + 1)]
        opened = sum(done % size == 0 for size in outer)
        comma = b"," if done else b""
        done += block.size
        closed = sum(done % size == 0 for size in outer)
        values = orjson.dumps(np.ascontiguousarray(block), option=orjson.OPT_SERIALIZE_NUMPY)
        yield comma + b"[" * opened + values[1:-1] + b"]" * closed


def _empty_json(shape: Shape) -> bytes:
    """Lists in lists without a number: those of shape (3, 0) are ``[[],[],[]]``."""
    if not shape[0]:
        return b"[]"
    return b"[" + b",".join([_empty_json(shape[1:])] * shape[0]) + b"]"


def _write_h5(data: ArrayData, picture: Picture) -> Generator[bytes, None, None]:
    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        with h5py.File(file.name, "w") as h5:
            _fill(h5.create_dataset("data", data.shape, data.dtype), data)
        while piece := file.read(FILE_BLOCK):
            yield piece


def _fill(dataset: h5py.Dataset, data: ArrayData) -> None:
    done = 0
    for block in data.blocks:
        if not block.size:
            continue
        axis = len(data.shape) - block.ndim
        place = np.unravel_index(done, data.shape)[: axis + 1]
        where: list[int | slice] = [int(index) for index in place[:axis]]
        if place[axis:]:
            start = int(place[axis])
            where.append(slice(start, start + len(block)))
        dataset[tuple(where)] = block
        done += block.size


def _write_png(data: ArrayData, picture: Picture) -> Generator[bytes, None, None]:
    image = Image.fromarray(grey_levels(gather(data), picture))
    if picture.cmap != "gray":
        image.putpalette(colour_table(picture.cmap).tobytes())
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    yield out.getvalue()


def _write_tiff(data: ArrayData, picture: Picture) -> Generator[bytes, None, None]:
    values = gather(data)
    out = io.BytesIO()
    pixels = values.astype(np.uint8) if values.dtype == bool else values
    tifffile.imwrite(out, pixels, photometric="minisblack", metadata=None)
    yield out.getvalue()


def grey_levels(values: Array, picture: Picture) -> NDArray[np.uint8]:
    """Values of shape (Y, X) as levels 0 to 255; what is not a number is black."""
    levels = values.astype(np.float64 if values.dtype.itemsize == 8 else np.float32)
    low, high = _limits(levels, picture)
    levels = np.nan_to_num(levels, nan=low, posinf=high, neginf=low)
    np.clip(levels, low, high, out=levels)
    levels -= low
    if picture.log:
        np.log1p(levels, out=levels)
    top = math.log1p(high - low) if picture.log else high - low
    levels *= 255 / top if top else 0
    grey: NDArray[np.uint8] = levels.round().astype(np.uint8)
    return grey


def _limits(values: Array, picture: Picture) -> tuple[float, float]:
    sample = values.reshape(-1)[:: max(1, values.size // CONTRAST_SAMPLE)]
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        sample = np.zeros(1)
    low, high = map(float, np.percentile(sample, (LOW_PERCENTILE, HIGH_PERCENTILE)))
    low = low if picture.minimum is None else picture.minimum
    high = high if picture.maximum is None else picture.maximum
    return low, max(low, high)


def colour_table(name: str) -> NDArray[np.uint8]:
    """The 256 colours of a map, shape (256, 3)."""
    nodes = np.array([list(bytes.fromhex(colour)) for colour in COLOURS[name].split()])
    places = np.linspace(0, len(nodes) - 1, 256)
    table = [np.interp(places, range(len(nodes)), channel) for channel in nodes.T]
    return np.array(table).T.round().astype(np.uint8)


FORMATS: Mapping[str, ArrayFormat] = {
    "octet-stream": ArrayFormat(media_types.OCTETS, "bin", prefix=lambda shape, dtype: b""),
    "npy": ArrayFormat(media_types.NPY, "npy", prefix=_npy_prefix),
    "json": ArrayFormat(media_types.JSON, "json", write=_write_json),
    "msgpack": ArrayFormat(media_types.MSGPACK, "msgpack", prefix=_msgpack_prefix),
    "arrow": ArrayFormat(media_types.ARROW_TENSOR, "arrow", prefix=_arrow_prefix),
    "h5": ArrayFormat(media_types.HDF5, "h5", write=_write_h5),
    "png": ArrayFormat(media_types.PNG, "png", write=_write_png, picture=True),
    "tiff": ArrayFormat(media_types.TIFF, "tiff", write=_write_tiff, picture=True),
}
