"""What a data key declares of the values of its field, before any of them is read."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from events.files.assets import is_served

DataKey = Mapping[str, Any]
Shape = tuple[int, ...]
DTYPES = {"number": np.dtype("<f8"), "integer": np.dtype("<i8"), "boolean": np.dtype("?")}
DEFAULT_ITEMSIZE = {"number": 8, "integer": 8, "boolean": 1, "string": 32, "array": 8}


def is_array(data_key: DataKey) -> bool:
    """Whether an event holds an array of the field, and not one number or text."""
    return data_key.get("dtype") == "array"


def shape_of(data_key: DataKey) -> Shape:
    """The shape a data key declares; what is no length (null, text) counts as 0."""
    declared = data_key.get("shape")
    if not isinstance(declared, list | tuple):
        return ()
    return tuple(length if isinstance(length, int) and length >= 0 else 0 for length in declared)


def value_shape(data_key: DataKey) -> Shape:
    """The declared shape of one value; a number has none, whatever its data key says."""
    return shape_of(data_key) if is_array(data_key) else ()


def declared_dtype(data_key: DataKey) -> np.dtype[Any]:
    """The type of a field as it is served, little-endian: `dtype_numpy`, or what `dtype` means."""
    with suppress(TypeError, ValueError, SyntaxError):
        if isinstance(declared := data_key.get("dtype_numpy"), str):
            dtype = np.dtype(declared).newbyteorder("<")
            if is_served(dtype):
                return dtype
    return DTYPES.get(str(data_key.get("dtype")), np.dtype("<f8"))


def bytes_per_event(data_key: DataKey) -> int:
    """shape x itemsize as declared: an estimate.

    Old descriptors end a shape with a wrong 0; no array has one, so it is left out.
    """
    lengths = [length for length in shape_of(data_key) if length]
    return math.prod(lengths) * _itemsize(data_key)


def _itemsize(data_key: DataKey) -> int:
    default = DEFAULT_ITEMSIZE.get(str(data_key.get("dtype")), 8)
    declared = data_key.get("dtype_numpy")
    if not isinstance(declared, str):
        return default
    try:
        return np.dtype(declared).itemsize or default
    except (TypeError, ValueError, SyntaxError):
        return default


def shape_warning(data_key: DataKey, found: Shape) -> str | None:
    """Text for a ``Warning`` header if an event has another shape than its data key declares."""
    declared = shape_of(data_key)
    if declared == found:
        return None
    text = f"an event has shape {list(found)}, its descriptor says {list(declared)}"
    return f'199 - "{text}"'
