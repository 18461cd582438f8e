"""What is long is streamed: a worker's memory hardly grows, measured in a process of its own."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import bson
from bson.raw_bson import RawBSONDocument

from events.columns.formats import ENCODERS
from headers.mongo import database
from tests.documents import Recorder
from tests.frames import SIDE, record_frames
from tests.running import Installation

EVENTS = 100_000
GROWTH = 64 * 2**20
WORKER_BYTES = 215 * 2**20
"""of a gunicorn worker after long answers; 250 MB are promised"""
SERVED_EVENTS = int(os.environ.get("BROKER_TEST_EVENTS", "40000"))
"""more than a table holds in memory at a time; `make faults` takes 100,000"""
FRAMES = 200
"""105 MB"""

# Run by another process: this one has grown for its own reasons. The events come in batches as the
# database sends them, made beforehand, so that neither the database nor they are measured.
PROGRAM = f"""
import json
from pathlib import Path
import bson
from events.columns.columns import Field, read_columns
from events.columns.formats import ENCODERS

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024

def event(n):
    data = {{"det": n * 0.5, "motor": n * 0.25, "i0": 1.0, "note": "n%d" % (n % 99)}}
    return bson.encode({{
        "_id": bson.ObjectId(), "uid": "%036d" % n, "descriptor": "d" * 36, "seq_num": n,
        "time": 1.7e9 + n, "data": data, "timestamps": dict.fromkeys(data, 1.7e9), "filled": {{}},
    }})

batches = [
    b"".join(event(n) for n in range(begin, begin + 2000)) for begin in range(0, {EVENTS}, 2000)
]
fields = [Field("det"), Field("motor"), Field("i0"), Field("note", "string")]

def size(kind, batches):
    columns = read_columns(iter(batches), fields, timestamps=True)
    return sum(map(len, ENCODERS[kind].encode(columns)))

growths = {{}}
for kind in ENCODERS:
    assert size(kind, batches[:2]) > 1000  # libraries are loaded, pools are made
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = peak()
    assert size(kind, batches) > 300_000
    growths[kind] = peak() - before
print(json.dumps(growths))
"""


def test_tables_of_100_000_events_need_little_memory() -> None:
    root = Path(__file__).resolve().parent.parent
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, cwd=root, capture_output=True, text=True, check=True)
    growths = json.loads(done.stdout)
    assert len(growths) == 6
    assert max(growths.values()) < GROWTH, growths


def test_a_worker_gives_back_what_long_answers_needed(recorder: Recorder, tmp_path: Path) -> None:
    events = many_events(recorder)
    frames = f"/api/v1/headers/{record_frames(recorder, 'memory', FRAMES)}/"
    table, image = f"{events}streams/primary/table/", f"{frames}streams/primary/data/image/"
    paths = [
        *(f"{table}?format={kind}&timestamps=true" for kind in ENCODERS),
        *(f"{events}documents/?format={kind}" for kind in ("ndjson", "msgpack", "bson")),
        f"{events}export/?format=h5",
        f"{frames}documents/?fill=true",
        f"{frames}export/?format=h5",
        f"{image}?format=octet-stream",
    ]
    installation = Installation.make(tmp_path, BROKER_WORKERS="1", BROKER_QUERY_SECONDS="120")
    with installation.instance() as instance:
        sizes = {path: size_of(instance.address + path) for path in paths}
        children = Path(f"/proc/{instance.process.pid}/task/{instance.process.pid}/children")
        resident = [resident_bytes(int(worker)) for worker in children.read_text().split()]
    assert min(sizes.values()) > 100_000, sizes
    assert sizes[paths[-1]] == FRAMES * SIDE * SIDE * 2
    assert len(resident) == 1
    assert 2**26 < resident[0] < WORKER_BYTES


def size_of(address: str) -> int:
    with urllib.request.urlopen(address, timeout=120) as response:
        assert response.status == 200
        return sum(map(len, iter(lambda: response.read(2**20), b"")))


def resident_bytes(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def many_events(recorder: Recorder) -> str:
    """The address of a public run."""
    run = recorder.run("312000", events=0)
    descriptor = recorder.descriptor(run)
    collection = database(recorder.catalogs["csx"].metadata).event
    for begin in range(0, SERVED_EVENTS, 10_000):
        made = range(begin, begin + 10_000)
        collection.insert_many([RawBSONDocument(event(descriptor, n)) for n in made], ordered=False)
    return f"/api/v1/headers/{run}/"


def event(descriptor: str, n: int) -> bytes:
    data, when = {"det": n * 0.5, "motor": n * 0.25}, 1.75e9 + n
    document = {"_id": bson.ObjectId(), "uid": f"{n:036d}", "descriptor": descriptor}
    document |= {"seq_num": n + 1, "time": when, "data": data, "filled": {}}
    return bson.encode(document | {"timestamps": dict.fromkeys(data, when)})
