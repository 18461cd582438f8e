"""Documents as msgpack and BSON; `broker_site.encoding` has them as JSON.

A filled array is a nested list in JSON, and in msgpack and BSON the map
``{"shape": [...], "dtype": "<u2", "data": <the values: little-endian, C order>}``.
"""

from datetime import datetime
from typing import Any

import numpy as np
import ormsgpack


def to_msgpack(value: Any) -> bytes:
    """What msgpack does not know of BSON becomes text, as in JSON; NaN and ±Infinity stay."""
    return ormsgpack.packb(value, default=_known, option=ormsgpack.OPT_PASSTHROUGH_DATETIME)


def array_map(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """An array as shape, type and bytes."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"shape": list(array.shape), "dtype": little.dtype.str, "data": little.tobytes()}


def _known(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return array_map(value)
    if isinstance(value, datetime):
        return value.isoformat()
    # Other bytes of BSON (a UUID, an old binary) are a subclass, which msgpack does not take.
    if isinstance(value, bytes):
        return bytes(value)
    return float(value) if isinstance(value, float) else str(value)
