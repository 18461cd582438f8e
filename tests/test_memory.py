"""What is long is streamed: a worker's memory hardly grows, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

EVENTS = 100_000
GROWTH = 64 * 2**20

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
