"""`python -m bench.wire_formats [FOLDER]`: measures anew for docs/wire-formats.md."""

import os
import platform
import re
import sys
from importlib.util import find_spec
from pathlib import Path

from bench.wire_study import CODECS, as_markdown, as_svg, inline_limit, of_payload, study
from events.sources import PAGE_EVENTS, SMALL_ARRAY_BYTES

TEXT = """# What the wire formats cost

Measured by `python -m bench.wire_formats` on {machine}: encode in Python, fetch over
HTTP on loopback from another process, decode in Python; medians. Loopback flatters what is large:
on a network of 1 Gbit/s a megabyte takes 8 ms more.

What follows from it, in `events/sources.py`:

- `SMALL_ARRAY_BYTES` = {small:,}: up to here an array travels inside its event document. {limit:,}
  bytes of float64 take 1 ms as JSON, written by orjson and read by Python's own `json`; an array
  fetched by itself costs a request of several. Beyond the limit, every event of a page would add
  more than a few milliseconds that nobody may have asked for.
- `PAGE_EVENTS` = {page:,}: longer columns are read as tables. The table of 10,000 rows shows what
  columns save over text; of fewer rows either takes a few milliseconds.
- The array route answers `octet-stream` to who accepts anything: nothing is as fast and as small;
  a frame as JSON takes a hundred times as long. The table route answers JSON, which needs no
  library; Arrow is what scripts should ask for.
{protobuf}
{tables}"""
WITH_PROTOBUF = """- protobuf packs numbers one by one and needs a schema and a library on both
  sides: not offered.
"""


def write(folder: Path) -> None:
    """The document and its pictures, into a folder."""
    codecs = dict(CODECS)
    if find_spec("google.protobuf"):
        from bench.wire_protobuf import CODEC

        codecs["protobuf, packed"] = CODEC
    costs = []
    for cost in study(codecs):
        print(f"{cost.payload}: {cost.format} {cost.total:.2f} ms, {cost.size} B")
        costs.append(cost)
    tables = as_markdown(costs)
    for payload in dict.fromkeys(cost.payload for cost in costs):
        name = f"wire-{re.sub('[^a-z0-9]+', '-', payload.lower()).strip('-')}.svg"
        (folder / name).write_text(as_svg(of_payload(costs, payload)))
        heading = f"## {payload[0].upper()}{payload[1:]}\n"
        tables = tables.replace(heading, f"{heading}\n![{payload}]({name})\n")
    text = TEXT.format(
        machine=f"{os.cpu_count()} cores of {platform.machine()}",
        small=SMALL_ARRAY_BYTES,
        page=PAGE_EVENTS,
        limit=inline_limit(),
        protobuf=WITH_PROTOBUF if "protobuf, packed" in codecs else "",
        tables=tables,
    )
    (folder / "wire-formats.md").write_text(text)


if __name__ == "__main__":
    write(
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "docs"
    )
