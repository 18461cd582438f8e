"""Read all of a service with the stock client; run in an environment of its own.

Prints a line of JSON for each run. Arguments: address, user ("" for nobody), password.
"""

import hashlib
import json
import sys
import warnings
from collections import Counter
from typing import Any

import numpy as np
from tiled.client.constructors import from_context
from tiled.client.context import Context, password_grant

warnings.simplefilter("ignore")


def signed_in(address: str, user: str, password: str) -> Context:
    context, _ = Context.from_any_uri(address)
    if user:
        provider = context.server_info.authentication.providers[0]
        link = provider.links["auth_endpoint"]
        tokens = password_grant(context.http_client, link, provider.provider, user, password)
        context.configure_auth(tokens, remember_me=False)
    return context


def told(values: Any) -> list[Any]:
    array = np.asarray(values)
    if array.dtype.kind == "U":
        return ["text", list(array.shape), array.tolist()]
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return [array.dtype.str, list(array.shape), digest]


def streams(run: Any) -> dict[str, Any]:
    read = {name: run[name].read().variables for name in run}
    return {name: {key: told(found[key]) for key in found} for name, found in read.items()}


def documents(run: Any) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, document in run.documents():
        found[name.removesuffix("_page")] += (
            len(document["seq_num" if name == "event_page" else "datum_id"])
            if name.endswith("_page")
            else 1
        )
    return found


client = from_context(signed_in(*sys.argv[1:4]))
for uid, run in client["all"].items():
    print(json.dumps({"uid": uid, "streams": streams(run), "documents": documents(run)}))
