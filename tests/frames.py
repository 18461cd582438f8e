"""A run of detector frames in a real file."""

import h5py
import numpy as np

from tests import settings as test_settings
from tests.documents import Recorder

SIDE = 512
"""pixels"""


def record_frames(recorder: Recorder, name: str, count: int) -> str:
    """The uid of a public run of frames of SIDE × SIDE pixels of 16 bit in the file `{name}.h5`."""
    run = recorder.run("312000", events=0)
    image = {"dtype": "array", "shape": [1, SIDE, SIDE], "source": "SIM", "external": "FILESTORE:"}
    descriptor = recorder.descriptor(run, data_keys={"image": image})
    folder = test_settings.FOLDER / "data"
    folder.mkdir(exist_ok=True)
    with h5py.File(folder / f"{name}.h5", "w") as file:
        values = np.arange(count, dtype="<u2").repeat(SIDE * SIDE).reshape(count, SIDE, SIDE)
        file.create_dataset("/entry/data/data", data=values, chunks=(1, SIDE, SIDE))
    place = {"root": "/facility/data", "resource_path": f"{name}.h5", "spec": "AD_HDF5"}
    resource = {"uid": name, "run_start": run, "resource_kwargs": {"frame_per_point": 1}}
    recorder.insert("csx", "resource", {**place, **resource, "path_semantics": "posix"})
    for n in range(count):
        datum, when = f"{name}/{n}", 1.75e9 + n
        kwargs = {"datum_kwargs": {"point_number": n}}
        recorder.insert("csx", "datum", {"datum_id": datum, "resource": name, **kwargs})
        taken = {"data": {"image": datum}, "timestamps": {"image": when}, "filled": {}}
        numbered = {"uid": f"{name}-{n}", "descriptor": descriptor, "seq_num": n + 1, "time": when}
        recorder.insert("csx", "event", numbered | taken)
    return run
