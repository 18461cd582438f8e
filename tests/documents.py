"""Writes realistic bluesky documents into the catalogs of the tests."""

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headers.catalogs import Catalog
from headers.mongo import database

Doc = dict[str, Any]
EPOCH = 1_750_000_000.0


def proposal_fields(catalog: str, proposal: str | None) -> Doc:
    """How the runs of a catalog name their proposal."""
    if proposal is None:
        return {}
    if catalog == "csx":
        return {"data_session": f"pass-{proposal}"}
    return {"proposal": {"proposal_id": int(proposal)}}


@dataclass
class Recorder:
    catalogs: Mapping[str, Catalog]

    def __post_init__(self) -> None:
        self._clock = itertools.count()

    def run(
        self,
        proposal: str | None = "310000",
        catalog: str = "csx",
        *,
        exit_status: str | None = "success",
        events: int = 3,
        **fields: Any,
    ) -> str:
        """A run with one stream, primary, of the fields det and motor. Returns its uid.

        `exit_status` None leaves it without stop document. `fields` go into the start document.
        """
        uid = str(uuid.uuid4())
        start = {
            "uid": uid,
            "time": EPOCH + next(self._clock),
            "scan_id": 1,
            "plan_name": "scan",
            "sample": {"name": "gold"},
            **proposal_fields(catalog, proposal),
            **fields,
        }
        self.insert(catalog, "run_start", start)
        uid = start["uid"]
        descriptor = self.descriptor(uid, catalog, time=start["time"])
        self.events(descriptor, events, catalog, time=start["time"])
        if exit_status is not None:
            stop = {"exit_status": exit_status, "num_events": {"primary": events}}
            self.stop(uid, catalog, time=start["time"] + 10, **stop)
        return str(uid)

    def stop(self, run: str, catalog: str = "csx", **fields: Any) -> None:
        stop = {"uid": str(uuid.uuid4()), "run_start": run, "time": EPOCH, "reason": ""}
        self.insert(catalog, "run_stop", stop | fields)

    def descriptor(self, run: str, catalog: str = "csx", **fields: Any) -> str:
        number = {"dtype": "number", "shape": [], "source": "SIM:x", "units": "mm"}
        descriptor = {
            "uid": str(uuid.uuid4()),
            "run_start": run,
            "time": EPOCH,
            "name": "primary",
            "data_keys": {"det": number, "motor": number},
            "configuration": {},
            "hints": {"det": {"fields": ["det"]}},
            "object_keys": {"det": ["det"], "motor": ["motor"]},
        } | fields
        self.insert(catalog, "event_descriptor", descriptor)
        return str(descriptor["uid"])

    def events(
        self, descriptor: str, count: int, catalog: str = "csx", time: float = EPOCH
    ) -> list[Doc]:
        """Events with seq_num 1, 2, … a second apart; det is seq_num squared, motor -seq_num."""
        documents = [
            {
                "uid": str(uuid.uuid4()),
                "descriptor": descriptor,
                "seq_num": n,
                "time": time + n,
                "data": {"det": float(n * n), "motor": -float(n)},
                "timestamps": {"det": time + n, "motor": time + n},
                "filled": {},
            }
            for n in range(1, count + 1)
        ]
        if documents:
            database(self.catalogs[catalog].metadata).event.insert_many(
                [dict(document) for document in documents]
            )
        return documents

    def insert(self, catalog: str, collection: str, document: Mapping[str, Any]) -> None:
        """Any document, malformed ones included; `document` itself stays without `_id`."""
        kind = "assets" if collection in ("resource", "datum") else "metadata"
        database(getattr(self.catalogs[catalog], kind))[collection].insert_one(dict(document))
