"""Read a run of whose arrays the files are gone; run in an environment of its own.

Prints a line of JSON. Arguments: address, user, password, uid.
"""

import json
import sys
import time
import warnings

from reader import plain, signed_in

warnings.simplefilter("ignore")
address, user, password, uid = sys.argv[1:5]
client = signed_in(address, user, password)
run = client["all"][uid]
keys = run["primary"].descriptors[0]["data_keys"]
external = sorted(name for name, key in keys.items() if key.get("external"))
scalars = [name for name in keys if name not in external]
errors, begin = {}, time.monotonic()
for name in external:
    try:
        run["primary"]["data"][name].read()
    except Exception as error:
        errors[name] = f"{type(error).__name__}: {error}"
try:
    run["primary"].read()
except Exception as error:
    errors["all"] = f"{type(error).__name__}: {error}"
read = run["primary"].read(scalars)
documents = list(run.documents())
found = {
    "external": external,
    "scalars": {name: plain(read[name].values) for name in scalars},
    "table": sorted(client["all"].v1[uid].table().columns),
    "documents": sum(len(doc["uid"]) for name, doc in documents if name == "event_page"),
    "shapes": {name: run["primary"]["data"][name].shape for name in external},
    "errors": errors,
    "seconds": time.monotonic() - begin,
}
print(json.dumps(found))
