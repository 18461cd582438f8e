"""Read all of a service with a stock client; run in an environment of its own.

Prints a line of JSON for each run. Arguments: address, user ("" for nobody), password, node.
"""

import json
import sys
import warnings
from typing import Any

import numpy as np
from reader import plain, signed_in

warnings.simplefilter("ignore")
address, user, password, node = sys.argv[1:5]
MAPS = ("data", "timestamps", "filled")


def streams(run: Any) -> dict[str, Any]:
    return {name: {key: rows(found) for key, found in read(run[name])} for name in run}


def read(stream: Any) -> Any:
    return stream.read().variables.items()


def rows(variable: Any) -> list[Any]:
    """What stands in each event."""
    return [plain(row) for row in np.asarray(variable.values)]


def documents(run: Any) -> list[Any]:
    """As they were emitted: pages are taken apart."""
    found: list[Any] = []
    for name, document in run.documents():
        take_apart = {"event_page": events, "datum_page": datums}.get(name)
        if take_apart is None:
            found.append((name, plain(dict(document))))
        else:
            found += [(name.removesuffix("_page"), plain(doc)) for doc in take_apart(document)]
    return found


def events(page: Any) -> list[Any]:
    return [
        {"descriptor": page["descriptor"]}
        | {name: page[name][at] for name in ("seq_num", "time", "uid")}
        | {name: {key: page[name][key][at] for key in page[name]} for name in MAPS}
        for at in range(len(page["uid"]))
    ]


def datums(page: Any) -> list[Any]:
    arguments = page["datum_kwargs"]
    return [
        {
            "resource": page["resource"],
            "datum_id": datum_id,
            "datum_kwargs": {key: arguments[key][at] for key in arguments},
        }
        for at, datum_id in enumerate(page["datum_id"])
    ]


client = signed_in(address, user, password)
for uid, run in client[node].items():
    print(json.dumps({"uid": uid, "streams": streams(run), "documents": documents(run)}))
