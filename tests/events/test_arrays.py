"""Arrays survive every wire format, read with what users read it with; sources are chosen."""

import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import h5py
import msgpack
import numpy as np
import pyarrow as pa
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from events.arrays.formats import (
    FORMATS,
    Picture,
    PictureError,
    UnsupportedArray,
    array_headers,
    colour_table,
    grey_levels,
)
from events.data_keys import bytes_per_event, shape_warning
from events.files.reader import ArrayData
from events.sources import (
    PAGE_EVENTS,
    EventSource,
    Route,
    choose,
)

Array = NDArray[Any]
Reader = Callable[[bytes], Array]


def read_h5(body: bytes) -> Array:
    with h5py.File(io.BytesIO(body)) as file:
        return np.asarray(file["data"][()])


def read_msgpack(body: bytes) -> Array:
    array = msgpack.unpackb(body)
    return np.frombuffer(array["data"], array["dtype"]).reshape(array["shape"])


def data_of(array: Array) -> ArrayData:
    return ArrayData(array.shape, array.dtype, iter([array]))


READERS: dict[str, Reader] = {
    "npy": lambda body: np.load(io.BytesIO(body), allow_pickle=False),
    "msgpack": read_msgpack,
    "arrow": lambda body: pa.ipc.read_tensor(pa.py_buffer(body)).to_numpy(),
    "h5": read_h5,
}

dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="="),
    hnp.unsigned_integer_dtypes(endianness="="),
    hnp.floating_dtypes(endianness="=", sizes=(16, 32, 64)),
    hnp.floating_dtypes(endianness=">", sizes=(32, 64)),
    hnp.unsigned_integer_dtypes(endianness=">"),
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))


def in_blocks(array: Array, draw: Callable[[st.SearchStrategy[int]], int]) -> ArrayData:
    """The array as a reader might send it: cut along any one axis, at any length."""
    little = array.astype(array.dtype.newbyteorder("<"))
    if not little.ndim:
        return ArrayData((), little.dtype, iter([little]))
    axis = draw(st.integers(0, little.ndim - 1))
    length = draw(st.integers(1, 3))

    def blocks() -> Iterator[Array]:
        for place in np.ndindex(little.shape[:axis]):
            for start in range(0, little.shape[axis], length):
                yield little[(*place, slice(start, start + length))]

    return ArrayData(little.shape, little.dtype, blocks())


@given(arrays, st.data())
def test_every_array_survives_every_binary_format(array: Array, data: st.DataObject) -> None:
    for name, read in READERS.items():
        body = b"".join(FORMATS[name].encode(in_blocks(array, data.draw)))
        np.testing.assert_array_equal(read(body), array, err_msg=name)
        little = array.dtype.newbyteorder("<")
        assert FORMATS[name].length(array.shape, little) in (None, len(body))


@given(arrays, st.data())
def test_raw_values_are_described_by_the_headers(array: Array, data: st.DataObject) -> None:
    whole = in_blocks(array, data.draw)
    headers = array_headers(whole.shape, whole.dtype)
    body = b"".join(FORMATS["octet-stream"].encode(whole))
    shape = [int(length) for length in headers["X-Array-Shape"].split(",") if length]
    read = np.frombuffer(body, headers["X-Array-Dtype"]).reshape(shape)
    np.testing.assert_array_equal(read, array)
    assert not headers["X-Array-Dtype"].startswith(">")


@given(arrays, st.data())
def test_abuse_case_12_json_is_valid_json_and_has_null_for_nan(
    array: Array, data: st.DataObject
) -> None:
    body = b"".join(FORMATS["json"].encode(in_blocks(array, data.draw)))

    def no_constants(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    read = json.loads(body, parse_constant=no_constants)
    if not array.size:
        assert read == array.tolist()  # the lists are there, without numbers
        return
    if array.dtype.kind == "f":
        expected = np.where(np.isfinite(array), array, np.nan)
        found = np.array(read, float).astype(array.dtype.newbyteorder("="))
        np.testing.assert_array_equal(found, expected)
    else:
        assert read == array.tolist()


def test_json_keeps_integers_of_64_bits() -> None:
    body = b"".join(FORMATS["json"].encode(data_of(np.array([2**64 - 1, 0], np.uint64))))
    assert json.loads(body) == [2**64 - 1, 0]


@pytest.mark.parametrize("name", FORMATS)
def test_abuse_case_12_no_format_takes_objects(name: str) -> None:
    with pytest.raises(UnsupportedArray, match="object"):
        FORMATS[name].check((2, 2), np.dtype(object))


@pytest.mark.parametrize("name", ["png", "tiff"])
def test_a_picture_has_two_axes_and_a_limit(name: str) -> None:
    for shape in ((), (3,), (1, 2, 3), (0, 3)):
        with pytest.raises(UnsupportedArray, match="two axes"):
            FORMATS[name].check(shape, np.dtype("u2"))
    with pytest.raises(UnsupportedArray, match="pixels"):
        FORMATS[name].check((2**14, 2**13), np.dtype("u1"))
    FORMATS[name].check((512, 512), np.dtype("u2"))


@pytest.mark.parametrize("dtype", ["?", "u1", "u2", "<i4", ">f4", "f8", "f2"])
def test_tiff_holds_the_values(dtype: str) -> None:
    frame = (np.arange(35).reshape(5, 7) % 2).astype(dtype)
    body = b"".join(FORMATS["tiff"].encode(data_of(frame)))
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(body)), frame)


def test_a_png_shows_faint_features_beside_hot_pixels() -> None:
    frame = np.random.default_rng(1).poisson(5, (100, 100)).astype("u4")
    frame[0, 0] = 2**32 - 1
    with Image.open(io.BytesIO(b"".join(FORMATS["png"].encode(data_of(frame))))) as image:
        assert image.mode == "L"
        levels = np.asarray(image)
    assert levels.shape == frame.shape
    assert levels.std() > 40
    assert levels[0, 0] == 255


def test_a_png_has_the_colours_of_its_map() -> None:
    frame = np.array([[0.0, 1.0], [0.5, math.nan]])
    body = b"".join(FORMATS["png"].encode(data_of(frame), Picture(0, 1, "viridis")))
    with Image.open(io.BytesIO(body)) as image:
        colours = np.asarray(image.convert("RGB"))
    assert colours[0, 0].tolist() == [0x44, 0x01, 0x54]
    assert colours[0, 1].tolist() == [0xFD, 0xE7, 0x25]
    assert colours[1, 1].tolist() == colours[0, 0].tolist()
    assert colour_table("gray").tolist() == [[level] * 3 for level in range(256)]


def test_limits_and_log_scale_decide_the_grey_levels() -> None:
    frame = np.array([[0, 10, 100, 1000]], dtype="u2")
    assert grey_levels(frame, Picture(10, 100)).tolist() == [[0, 0, 255, 255]]
    logarithmic = grey_levels(frame, Picture(0, 1000, log=True))[0]
    assert logarithmic[1] > 80 > 255 * 10 / 1000


@given(
    hnp.arrays(dtypes, hnp.array_shapes(min_dims=2, max_dims=2, max_side=5)),
    st.booleans(),
)
def test_any_frame_has_a_picture(frame: Array, log: bool) -> None:
    levels = grey_levels(frame, Picture(log=log))
    assert (levels.shape, levels.dtype) == (frame.shape, np.dtype("u1"))


@pytest.mark.parametrize(
    "options",
    [{"cmap": "<script>"}, {"minimum": 2.0, "maximum": 1.0}, {"maximum": math.inf}],
)
def test_senseless_picture_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PictureError):
        Picture(**options)


def test_writing_a_large_array_takes_the_memory_of_a_block() -> None:
    script = """
import resource, numpy as np
from events.arrays.formats import FORMATS
from events.files.reader import ArrayData
def memory(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
def encode(name, blocks):
    block = np.ones((8, 512, 512), "<u2")
    data = ArrayData((8 * blocks, 512, 512), block.dtype, (block for _ in range(blocks)))
    return sum(map(len, FORMATS[name].encode(data)))
for name in ("octet-stream", "npy", "msgpack", "arrow", "h5", "json"):
    encode(name, 1)
before = memory()
for name in ("octet-stream", "npy", "msgpack", "arrow", "h5"):
    assert encode(name, 100) >= 8 * 100 * 512 * 512 * 2
encode("json", 10)
print(memory() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 48  # of 420 MB each


FILES = frozenset({"AD_HDF5"})


@pytest.mark.parametrize(
    ("data_key", "spec", "events", "source", "route"),
    [
        ({"dtype": "number", "shape": []}, None, 10, EventSource.SCALAR, Route.INLINE),
        ({"dtype": "number", "shape": []}, None, PAGE_EVENTS + 1, EventSource.SCALAR, Route.TABLE),
        ({"dtype": "array", "shape": [1024]}, None, 1, EventSource.ARRAY, Route.INLINE),
        ({"dtype": "array", "shape": [4096]}, None, 1, EventSource.ARRAY, Route.ARRAY),
        (
            {"dtype": "array", "shape": [512, 512], "external": "FILESTORE:"},
            "AD_HDF5", 1, EventSource.FILE, Route.ARRAY,
        ),
        (
            {"dtype": "array", "shape": [512, 512], "external": "FILESTORE:"},
            "AD_TIFF", 1, EventSource.UNAVAILABLE, Route.NONE,
        ),
        (
            {"dtype": "array", "shape": [512, 512], "external": "STREAM:"},
            None, 1, EventSource.STREAM, Route.NONE,
        ),
        ({}, None, 1, EventSource.SCALAR, Route.INLINE),
    ],
)  # fmt: skip
def test_the_source_and_route_follow_from_the_data_key(
    data_key: dict[str, Any], spec: str | None, events: int, source: EventSource, route: Route
) -> None:
    choice = choose(data_key, spec=spec, handlers=FILES, events=events)
    assert (choice.source, choice.route) == (source, route)


@pytest.mark.parametrize(
    ("data_key", "nbytes"),
    [
        ({"dtype": "array", "shape": [512, 512, 0]}, 512 * 512 * 8),
        ({"dtype": "array", "shape": [512, 512], "dtype_numpy": "<u2"}, 512 * 512 * 2),
        ({"dtype": "array", "shape": [2, None], "dtype_numpy": "nonsense("}, 16),
        ({"dtype": "array", "shape": "odd", "dtype_numpy": 7}, 8),
        ({"dtype": "boolean", "shape": []}, 1),
    ],
)
def test_bytes_are_estimated_from_odd_data_keys(data_key: dict[str, Any], nbytes: int) -> None:
    assert bytes_per_event(data_key) == nbytes


def test_a_wrong_descriptor_is_told_in_a_warning() -> None:
    assert shape_warning({"shape": [1, 4, 5]}, (1, 4, 5)) is None
    warning = shape_warning({"shape": [4, 5, 0]}, (1, 4, 5))
    assert warning == '199 - "an event has shape [1, 4, 5], its descriptor says [4, 5, 0]"'
