"""Columns of a table as numpy arrays: numbers, and lists of lists of numbers that are alike."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Array = NDArray[Any]
Dtype = np.dtype[Any]
Shape = tuple[int, ...]


def leaves(values: pa.Array) -> pa.Array:
    """The items of lists in lists, one after the other; the values themselves if none is a list."""
    while pa.types.is_list(values.type):
        values = values.flatten()
    return values


def row_shape(values: pa.Array) -> Shape | None:
    """The shape of every value; None if shapes differ, or a list is missing.

    ``[[1, 2, 3], [4, 5, 6]]`` are two values of shape (3,), ``[1, 2]`` two of shape ().
    """
    shape: list[int] = []
    while pa.types.is_list(values.type):
        lengths = pc.unique(pc.list_value_length(values)).to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            return None
        shape += lengths
        values = values.flatten()
    return tuple(shape)


def is_numeric(kind: pa.DataType) -> bool:
    """Whether these are booleans, integers or floats."""
    checks = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean)
    return any(check(kind) for check in checks)


def holds(dtype: Dtype, values: Array) -> bool:
    """Whether a type has each of these values as it is."""
    if values.dtype == dtype:
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        return np.array_equal(values.astype(dtype), values, equal_nan=True)


def stacked(values: pa.Array, shape: Shape, dtype: Dtype) -> Array:
    """Values of one shape, as an array (rows, *shape); those that are missing are NaN.

    A type without NaN must have none that are missing.
    """
    present = np.asarray(values.is_valid())
    out = np.full((len(values), *shape), np.nan if dtype.kind == "f" else 0, dtype)
    found = leaves(values.drop_null()).to_numpy(zero_copy_only=False)
    out[present] = found.reshape(np.count_nonzero(present), *shape)
    return out
