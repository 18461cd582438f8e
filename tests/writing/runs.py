"""Runs as a RunEngine emits them."""

import math
import uuid
from typing import Any

Doc = dict[str, Any]
Documents = list[tuple[str, Doc]]
TIME = 1_750_000_000.0


def a_run(
    events: int = 3, proposal: str = "310000", *, files: bool = False, stop: bool = True
) -> Documents:
    """One stream, primary, of det and motor; with `files`, of a camera whose frames are in files
    of areaDetector (`cam`) and of ophyd-async (`fast`), too.
    """
    run, descriptor = str(uuid.uuid4()), str(uuid.uuid4())
    number = {"dtype": "number", "shape": [], "source": "SIM:x"}
    frame = {"dtype": "array", "shape": [4, 5], "source": "SIM:c"}
    keys: Doc = {"det": number, "motor": number}
    documents: Documents = [
        ("start", {"uid": run, "time": TIME, "scan_id": 1, "data_session": f"pass-{proposal}"})
    ]
    if files:
        keys |= {"cam": frame | {"external": "FILESTORE:"}, "fast": frame | {"external": "STREAM:"}}
    described: Doc = {"uid": descriptor, "run_start": run, "time": TIME, "name": "primary"}
    objects = {"det": list(keys)}
    rest = {"configuration": {}, "hints": {}, "object_keys": objects, "data_keys": keys}
    documents.append(("descriptor", described | rest))
    resources = _resources(run) if files else []
    documents += resources
    for number_of in range(1, events + 1):
        documents += _event(descriptor, number_of, resources)
    if stop:
        documents.append(("stop", a_stop(run, events)))
    return documents


def a_stop(run: str, events: int = 3) -> Doc:
    stop: Doc = {"uid": str(uuid.uuid4()), "run_start": run, "time": TIME + 100}
    return stop | {"exit_status": "success", "reason": "", "num_events": {"primary": events}}


def an_event(descriptor: str, n: int, **data: Any) -> Doc:
    values = {"det": math.nan if n == 2 else float(n * n), "motor": -float(n)} | data
    event: Doc = {
        "uid": str(uuid.uuid4()),
        "descriptor": descriptor,
        "seq_num": n,
        "time": TIME + n,
    }
    return event | {"data": values, "timestamps": dict.fromkeys(values, TIME + n), "filled": {}}


def _resources(run: str) -> Documents:
    old: Doc = {
        "uid": str(uuid.uuid4()),
        "run_start": run,
        "spec": "AD_HDF5",
        "root": "/facility/data",
    }
    old |= {"resource_path": "cam.h5", "resource_kwargs": {"frame_per_point": 1}}
    old |= {"path_semantics": "posix"}
    new: Doc = {"uid": str(uuid.uuid4()), "run_start": run, "data_key": "fast"}
    new |= {"mimetype": "application/x-hdf5", "uri": "file://localhost/facility/data/fast.h5"}
    new |= {"parameters": {"dataset": "/entry/data/data", "chunk_shape": [1, 4, 5]}}
    return [("resource", old), ("stream_resource", new)]


def _event(descriptor: str, n: int, resources: Documents) -> Documents:
    if not resources:
        return [("event", an_event(descriptor, n))]
    (_, old), (_, new) = resources
    datum = f"{old['uid']}/{n - 1}"
    event = an_event(descriptor, n, cam=datum) | {"filled": {"cam": False}}
    stream: Doc = {"uid": f"{new['uid']}/{n - 1}", "stream_resource": new["uid"]}
    stream |= {"descriptor": descriptor, "seq_nums": {"start": n, "stop": n + 1}}
    return [
        (
            "datum",
            {"datum_id": datum, "resource": old["uid"], "datum_kwargs": {"point_number": n - 1}},
        ),
        ("event", event),
        ("stream_datum", stream | {"indices": {"start": n - 1, "stop": n}}),
    ]
