"""Read as scripts do, with the stock clients; run in an environment of their own.

Prints JSON: what was found, by habit. Arguments: address, user ("" for nobody), password, uid.
"""

import json
import sys
import traceback

address, user, password, uid = sys.argv[1:5]

from tiled.client.context import Context  # noqa: E402

context, _ = Context.from_any_uri(address), None
context = context[0] if isinstance(context, tuple) else context
if user:
    from tiled.client.context import password_grant

    provider = context.server_info.authentication.providers[0]
    tokens = password_grant(
        context.http_client, provider.links["auth_endpoint"], provider.provider, user, password
    )
    context.configure_auth(tokens, remember_me=True)
from tiled.client.constructors import from_context  # noqa: E402

client = from_context(context)
catalog = client["all"] if "all" in list(client) else client

HABITS = {
    "length": lambda: len(catalog),
    "newest": lambda: catalog[-1].start["uid"],
    "uids": lambda: sorted(catalog),
    "by uid": lambda: catalog[uid].start["uid"],
    "by prefix": lambda: catalog[uid[:8]].start["uid"],
    "by scan id": lambda: catalog[catalog[uid].start["scan_id"]].start["uid"],
    "repr": lambda: bool(repr(catalog)),
    "tail": lambda: [run.start["uid"] for run in catalog.values().tail(2)],
    "streams": lambda: list(catalog[uid]),
    "stop": lambda: catalog[uid].stop,
    "fields": lambda: list(catalog[uid]["primary"]["data"]),
    "read": lambda: {
        name: [
            str(array.dtype),
            list(array.shape),
            float(array.sum()) if array.dtype.kind in "iufb" else 0,
        ]
        for name, array in catalog[uid]["primary"].read().variables.items()
    },
    "documents": lambda: [name for name, _ in catalog[uid].documents()],
    "config": lambda: list(catalog[uid]["primary"]["config"]),
    "whoami": lambda: context.whoami()["identities"][0]["id"],
    "api key": lambda: bool(context.create_api_key()["secret"]),
    "descriptors": lambda: len(catalog[uid].descriptors),
    "distinct": lambda: catalog.distinct("plan_name", counts=True)["metadata"],
    "table": lambda: list(catalog.v1[uid].table().columns),
}
found = {}
for name, habit in HABITS.items():
    try:
        found[name] = habit()  # type: ignore[no-untyped-call]
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
        traceback.print_exc()
print(json.dumps(found, default=str))
