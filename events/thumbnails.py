"""A run at a glance, as a small SVG: its map, its first curve, or its first frame.

Of long runs the first events are drawn, and of big frames every so many-th pixel: what a
thumbnail costs is bounded.
"""

import io
import math
from base64 import b64encode
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from broker_site import media_types
from events.arrays.fields import NoValue, Unrecorded, field_of
from events.arrays.formats import FORMATS, Picture, UnsupportedArray, colour_table
from events.arrays.rows import Rows
from events.columns.columns import read_columns
from events.files.assets import AssetError, OutsideDatabase
from events.files.slices import OverBudget, SliceError, parse
from events.left_out import DatumMissing
from events.repositories import Events
from events.stream import NoSuchName, Stream
from headers.plotting import BASELINE, field_kind, plot_plan
from headers.repositories import Run
from headers.views import streams

MEDIA_TYPE = media_types.SVG
WIDTH, HEIGHT, MARGIN = 144, 80, 4
READ_BYTES = 4 * 2**20
"""of events; the batch that goes beyond is the last one"""
FRAME_BYTES = 64 * 2**20
PIXELS = 2 * WIDTH
MOST_CELLS = 128
"""of a map, along each side"""
Numbers = NDArray[np.float64]
NOTHING_TO_DRAW = (
    *(AssetError, OutsideDatabase, DatumMissing, NoValue, Unrecorded, UnsupportedArray),
    *(SliceError, OverBudget, NoSuchName),
)
"""what a frame may not be there for"""


def thumbnail(run: Run) -> str:
    """An SVG; an empty one for a run that has nothing to draw."""
    kind, content = _drawn(run)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" data-kind="{kind}">{content}</svg>'
    )


def _drawn(run: Run) -> tuple[str, str]:
    described = [stream for stream in streams(run) if stream["name"] != BASELINE]
    for stream in sorted(described, key=lambda stream: stream["name"] != "primary"):
        plan = plot_plan(run, stream)
        image = _image_field(stream)
        scanned = plan is not None and (plan["kind"] == "map" or plan["x"] != "time")
        if (
            plan
            and (scanned or image is None)
            and (drawn := _of_numbers(run, stream["name"], plan))
        ):
            return drawn
        if image is not None and (frame := _frame(run, stream["name"], image)):
            return "frame", frame
    return "none", ""


def _image_field(stream: Mapping[str, Any]) -> str | None:
    fields = stream["fields"].items()
    return next((name for name, field in fields if field_kind(field) == "image"), None)


# -- numbers ---------------------------------------------------------------------------------


def _of_numbers(run: Run, name: str, plan: Mapping[str, Any]) -> tuple[str, str] | None:
    signal = plan["signals"][0]
    if plan["kind"] == "map" and plan["shape"]:
        slow, fast, values = _columns(run, name, [plan["slow"], plan["fast"], signal])
        if drawn := map_picture(slow, fast, values, plan["shape"]):
            return "map", drawn
    x, values = _columns(run, name, [plan["x"], signal])
    return ("curve", drawn) if (drawn := curve(x, values)) else None


def _columns(run: Run, name: str, names: Sequence[str]) -> list[Numbers]:
    """Columns of the first rows, as floats; what is no number is NaN."""
    stream = Stream.of(run, name)
    fields = [stream.field(name) for name in dict.fromkeys(names) if name != "time"]
    with closing(Events(run).stream_batches(stream.uids)) as batches:
        columns = read_columns(_first(batches), fields, groups=stream.groups)
    with columns:
        return [_floats(columns, "time" if name == "time" else _column(name)) for name in names]


def _column(field: str) -> str:
    return f"_{field}" if field in ("time", "seq_num") else field


def _floats(columns: Any, name: str) -> Numbers:
    found = [array.to_pylist() for array in columns.column(name)]
    values = [value for some in found for value in some]
    numbers = (float(v) if isinstance(v, int | float) else math.nan for v in values)
    return np.fromiter(numbers, np.float64, len(values))


def _first(batches: Generator[bytes, None, None]) -> Iterator[bytes]:
    size = 0
    for batch in batches:
        yield batch
        size += len(batch)
        if size >= READ_BYTES:
            return


def curve(x: Numbers, y: Numbers) -> str:
    """The points in the order recorded, joined; empty for fewer than two of them."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 2:
        return ""
    kept = _telling(y, 2 * WIDTH)
    across = _scaled(x[kept], WIDTH)
    up = HEIGHT - _scaled(y[kept], HEIGHT)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, up, strict=True))
    return (
        f'<polyline points="{points}" fill="none" stroke="#3b86d6" stroke-width="2" '
        'stroke-linejoin="round"/>'
    )


def _telling(y: Numbers, most: int) -> NDArray[np.intp]:
    """Where at most so many points are, with the least and the greatest of each stretch."""
    if len(y) <= most:
        return np.arange(len(y))
    parts = np.array_split(np.arange(len(y)), most // 2)
    ends = ((part[np.argmin(y[part])], part[np.argmax(y[part])]) for part in parts)
    return np.unique(np.fromiter((place for two in ends for place in two), np.intp))


def _scaled(values: Numbers, length: int) -> Numbers:
    low, high = float(values.min()), float(values.max())
    # Halved first: the difference of very large numbers is more than a float holds.
    part = (values / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else values * 0 + 0.5
    return MARGIN + np.nan_to_num(part) * (length - 2 * MARGIN)


def map_picture(slow: Numbers, fast: Numbers, values: Numbers, shape: Sequence[int]) -> str:
    """A map of the values where they were measured; empty where positions do not differ.

    shape: how many positions there were to be along each motor.
    """
    known = np.isfinite(slow) & np.isfinite(fast) & np.isfinite(values)
    begun = -(-len(slow) // max(1, shape[1]))  # of an open or aborted run
    rows = _cells(slow[known], min(shape[0], begun))
    columns = _cells(fast[known], shape[1])
    if rows is None or columns is None:
        return ""
    levels = np.zeros((int(rows.max()) + 1, int(columns.max()) + 1, 4), np.uint8)
    shade = _scaled(values[known], 255 + 2 * MARGIN) - MARGIN
    levels[rows, columns, :3] = colour_table("viridis")[shade.round().astype(int)]
    levels[rows, columns, 3] = 255
    return _picture(Image.fromarray(levels).transpose(Image.Transpose.FLIP_TOP_BOTTOM))


def _cells(positions: Numbers, count: int) -> NDArray[np.intp] | None:
    """Which of so many equal cells each position is in; None where they do not differ."""
    if len(positions) < 2:
        return None
    low, high = float(positions.min()), float(positions.max())
    span = high / 2 - low / 2
    if not span > 0:
        return None
    part = np.nan_to_num((positions / 2 - low / 2) / span)
    return (part * (min(count, MOST_CELLS) - 1)).round().astype(np.intp)


# -- frames ----------------------------------------------------------------------------------


def _frame(run: Run, name: str, field: str) -> str:
    """The first frame; empty where there is none to be had."""
    try:
        stream = Stream.of(run, name)
        with closing(Rows(stream, field)) as rows:
            if not len(rows):
                return ""
            shape = field_of(rows, parse("0"), FRAME_BYTES, head=True).layout().shape
        if len(shape) < 2 or not all(shape):
            return ""
        steps = [f"::{-(-length // PIXELS)}" for length in shape[-2:]]
        cut = ",".join(["0", *["0"] * (len(shape) - 2), *steps])
        with ExitStack() as opened:
            rows = Rows(stream, field)
            opened.callback(rows.close)
            frame = field_of(rows, parse(cut), FRAME_BYTES)
            png = b"".join(frame.encoded(FORMATS["png"], opened.pop_all(), Picture(cmap="gray")))
    except NOTHING_TO_DRAW:
        return ""
    return _embedded(png)


def _picture(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "PNG")
    return _embedded(out.getvalue())


def _embedded(png: bytes) -> str:
    source = f"data:image/png;base64,{b64encode(png).decode()}"
    return (
        f'<image href="{source}" width="{WIDTH}" height="{HEIGHT}" '
        'preserveAspectRatio="xMidYMid meet" image-rendering="optimizeSpeed"/>'
    )
