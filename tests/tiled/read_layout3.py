"""Read a run in the layout of Tiled's own writer; run in an environment of its own.

Prints a line of JSON. Arguments: address, user, password, uid.
"""

import json
import sys
import tempfile
import warnings
from pathlib import Path

from reader import plain, signed_in

warnings.simplefilter("ignore")
address, user, password, uid = sys.argv[1:5]
catalog = signed_in(address, user, password)["csx"]["v3"]
run = catalog.v3[uid]
stream = run["primary"]
table = stream.base["internal"]
first = next(iter(stream.metadata["data_keys"]))
with tempfile.TemporaryDirectory() as folder:
    table.export(f"{folder}/table.csv")
    size = Path(folder, "table.csv").stat().st_size
found = {
    "is_sql": catalog.is_sql,
    "by prefix": catalog[uid[:8]].start["uid"],
    "streams": list(run),
    "fields": list(stream.read().variables),
    "columns": list(table.columns),
    "timestamps": plain(stream[f"ts_{first}"].read()),
    "one": plain(run["primary", first].read()),
    "descriptors": [descriptor["uid"] for descriptor in run.descriptors],
    "documents": [name for name, _ in run.documents()],
    "v2": sorted(run.v2["primary"].read().variables),
    "v1": sorted(catalog.v1[uid].table().columns),
    "csv": size,
}
print(json.dumps(found))
