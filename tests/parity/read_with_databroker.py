"""Reads a catalog with databroker 1.2, in its own environment, and prints what it read as JSON.

Usage: read_with_databroker.py METADATA_URI ASSETS_URI RECORDED_ROOT MOUNTED_ROOT

One line per run: {"uid", "documents", "filled", "tables"}. An array is told by its shape, its
type and the hash of its bytes; NaN is null.
"""

import hashlib
import json
import math
import sys
from typing import Any

import numpy as np
from databroker._drivers.mongo_normalized import BlueskyMongoCatalog


def plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "compute"):
        value = value.compute()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return array(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def array(value: np.ndarray) -> dict[str, Any]:
    data = np.ascontiguousarray(value)
    return {
        "shape": list(data.shape),
        "dtype": data.dtype.newbyteorder("<").str,
        "sha256": hashlib.sha256(data.astype(data.dtype.newbyteorder("<")).tobytes()).hexdigest(),
    }


def main() -> None:
    metadata, assets, recorded, mounted = sys.argv[1:]
    catalog = BlueskyMongoCatalog(metadata, assets, root_map={recorded: mounted})
    for uid in catalog:
        header = catalog.v1[uid]
        tables = {name: header.table(name, fill=False) for name in header.stream_names}
        run = {
            "uid": uid,
            "documents": [[name, plain(doc)] for name, doc in header.documents(fill=False)],
            "filled": [[name, plain(doc)] for name, doc in header.documents(fill=True)],
            "tables": {
                name: plain({key: list(table[key]) for key in table if key != "time"})
                for name, table in tables.items()
            },
        }
        print(json.dumps(run))


if __name__ == "__main__":
    main()
