"""What was read, as JSON holds it: of more than one axis by shape, type and hash of the bytes."""

import hashlib
import math
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    if hasattr(value, "variables"):
        return {str(name): plain(found.values) for name, found in value.variables.items()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return array(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def array(value: np.ndarray) -> Any:
    if value.ndim < 2 or value.dtype.kind in "UO":
        return plain(value.tolist())
    little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
    digest = hashlib.sha256(little.tobytes()).hexdigest()
    return {"shape": list(value.shape), "dtype": little.dtype.str, "sha256": digest}
